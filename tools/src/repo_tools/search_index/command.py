"""The verb `search-index`: create the index, push the documents that rag-chat answers from, delete the index."""

import argparse
import asyncio
import sys
from typing import Any

from agent_runtime.retrieval import Folder
from agent_runtime.retrieval.azure_search_index import has_vectors, index_definition
from agent_runtime.retrieval.embeddings import EmbeddingError, Embeddings
from agent_runtime.settings import SettingsError, load_settings
from dotenv import load_dotenv

from repo_tools.repository import ROOT
from repo_tools.search_index.pushing import push, read_passages

ROLES = (
    "Your account needs the roles Search Service Contributor (create, delete) and Search Index Data Contributor "
    "(push) on the search service; the agent's identity needs Search Index Data Reader."
)


def run(options: argparse.Namespace, *, credential: Any = None, transport: Any = None) -> int:
    """Returns the exit code: 0 when done, 1 when the service refused or documents failed, 2 when nothing was tried.

    `credential` and `transport` replace the sign-in and the network, for tests.
    """
    from azure.core.exceptions import AzureError, HttpResponseError  # noqa: PLC0415 - only this verb needs it
    from rag_chat.settings import RagChatSettings  # noqa: PLC0415

    load_dotenv(ROOT / ".env")
    try:
        settings = load_settings(RagChatSettings)
        if not settings.azure_search_endpoint or not settings.azure_search_index:
            raise ValueError("AZURE_SEARCH_ENDPOINT and AZURE_SEARCH_INDEX must be set.")
        if not settings.azure_search_endpoint.startswith("https://"):
            raise ValueError("AZURE_SEARCH_ENDPOINT must start with https://: the Entra token is sent there.")
        if options.docs and not options.docs.is_dir():
            raise ValueError(f"{options.docs} is not a folder.")
        return asyncio.run(_run(options, settings, credential, transport))
    except (SettingsError, ValueError) as error:
        print(f"search-index: {error}", file=sys.stderr)
        return 2
    except HttpResponseError as error:
        advice = f" {ROLES}" if error.status_code in (401, 403) else ""
        if error.status_code == 404:
            advice = " Make the index first: python -m repo_tools search-index create"
        print(
            f"search-index: the service answered {error.status_code}.{advice or ' ' + error.message}", file=sys.stderr
        )
        return 1
    except (AzureError, EmbeddingError) as error:
        print(f"search-index: {error}", file=sys.stderr)
        return 1


async def _run(options: argparse.Namespace, settings: Any, credential: Any, transport: Any) -> int:
    from azure.identity.aio import DefaultAzureCredential  # noqa: PLC0415
    from azure.search.documents.aio import SearchClient  # noqa: PLC0415
    from azure.search.documents.indexes.aio import SearchIndexClient  # noqa: PLC0415
    from rag_chat.documents import folders  # noqa: PLC0415

    endpoint, name = settings.azure_search_endpoint, settings.azure_search_index
    network = {"transport": transport} if transport else {}
    if options.action != "push":
        definition = index_definition(settings) if options.action == "create" else None
        if options.dry_run:
            print(f"would {options.action} the index {name}")
            return 0
        async with (
            credential or DefaultAzureCredential() as signed_in,
            SearchIndexClient(endpoint, signed_in, **network) as indexes,
        ):
            if definition is not None:
                await indexes.create_or_update_index(definition)
            else:
                await indexes.delete_index(name)
        print(f"{options.action}d the index {name}")
        return 0
    chosen: list[Folder] = [options.docs] if options.docs else folders(settings)
    passages = read_passages(chosen)
    if not passages:
        raise ValueError("no passages were found; nothing was changed.")
    embeddings = Embeddings(settings) if has_vectors(settings) and not options.dry_run else None
    try:
        async with (
            credential or DefaultAzureCredential() as signed_in,
            SearchClient(endpoint, name, signed_in, **network) as client,
        ):
            report = await push(client, passages, settings, embeddings=embeddings, dry_run=options.dry_run)
    finally:
        if embeddings is not None:
            await embeddings.aclose()
    print(f"would be: {report}" if options.dry_run else report)
    for failure in report.failures:
        print(f"search-index: {failure}", file=sys.stderr)
    return 1 if report.failures else 0
