"""What is known here about Azure without asking it: the values of the azd environment, and who is signed in.

The doctor's --cloud and the verb `deploy` use it. Nothing is fetched until a token is asked for.
"""

import json
import logging
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dotenv import dotenv_values

FOUNDRY_SCOPE = "https://ai.azure.com/.default"
FOUNDRY_USER = "53ca6127-db72-4b80-b1b0-d745d6d5456d"
"""The role that deploying and invoking needs (Azure/azure-dev, azure.ai.agents, developer_rbac_check.go)."""
LOGIN = "run `azd auth login` or `az login`"
_FOUNDRY_HOST = ".services.ai.azure.com"


class NotSignedIn(Exception):
    """No token could be fetched; the message is the first line of the reason."""


def environment_values(root: Path, name: str | None = None) -> dict[str, str]:
    """The values of azd's environment `name` (default: AZURE_ENV_NAME, else the selected one); the shell's AZURE_*,
    FOUNDRY_* and SERVICE_* go before them. Empty where there is neither."""
    folder = root / ".azure"
    try:
        selected = json.loads((folder / "config.json").read_text(encoding="utf-8"))["defaultEnvironment"]
    except (OSError, ValueError, KeyError, TypeError):
        selected = ""
    chosen = name or os.environ.get("AZURE_ENV_NAME") or str(selected)
    file = folder / chosen / ".env" if chosen and "/" not in chosen and "\\" not in chosen else None
    # Not interpolated: a value of that file must not read variables of the shell.
    values = {key: value for key, value in dotenv_values(file, interpolate=False).items() if value} if file else {}
    ours = ("AZURE_", "FOUNDRY_", "SERVICE_")
    return {**values, **{key: value for key, value in os.environ.items() if key.startswith(ours) and value}}


def project_endpoint(value: str) -> str:
    """The address of a Foundry project, without a slash at its end.

    Raises:
        ValueError: it is not one. Tokens go to Azure's own hosts only: the address may come from a stranger's file.
    """
    endpoint = value.rstrip("/")
    # The host alone, without user or port: what urlsplit calls netloc.
    netloc = urlsplit(endpoint).netloc
    if not endpoint.startswith("https://") or not re.fullmatch(r"[\w-]+" + re.escape(_FOUNDRY_HOST), netloc):
        raise ValueError(f"FOUNDRY_PROJECT_ENDPOINT is not https://<account>{_FOUNDRY_HOST}/api/projects/<project>")
    return endpoint


def sign_in() -> Any:
    """The login of azd, else that of the Azure CLI, as a credential of azure-identity."""
    from azure.identity import AzureCliCredential, AzureDeveloperCliCredential, ChainedTokenCredential  # noqa: PLC0415

    # Each failed attempt is logged, and said again by the exception.
    logging.getLogger("azure.identity").setLevel(logging.ERROR)
    return ChainedTokenCredential(AzureDeveloperCliCredential(), AzureCliCredential())


def fetch_token(credential: Any, scope: str) -> str:
    """A token for `scope`, such as `https://ai.azure.com/.default`.

    Raises:
        NotSignedIn: there is none.
    """
    from azure.core.exceptions import ClientAuthenticationError  # noqa: PLC0415

    try:
        return str(credential.get_token(scope).token)
    except ClientAuthenticationError as error:
        raise NotSignedIn(str(error).splitlines()[0]) from error
