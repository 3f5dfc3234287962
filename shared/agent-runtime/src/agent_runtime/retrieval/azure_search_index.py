"""The index that Azure AI Search keeps of our passages: its fields, and a passage as a document of it and back.

Names on the wire are those of `azure-search-documents` 12.0 (`azure.search.documents.indexes.models`). A key may hold
letters, digits, `_`, `-` and `=` only (learn.microsoft.com/rest/api/searchservice/naming-rules), a passage id has more.
"""

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agent_runtime.retrieval.passages import Passage
from agent_runtime.retrieval.settings import RetrievalSettings

if TYPE_CHECKING:
    from azure.search.documents.indexes.models import SearchIndex

SEMANTIC_CONFIGURATION = "passages"
VECTOR_FIELD = "vector"
PASSAGE_FIELDS = ["id", "document_id", "title", "heading_path", "text", "anchor"]
_PROFILE, _ALGORITHM, _VECTORIZER = "passages", "hnsw", "embeddings"


def key_of(passage_id: str) -> str:
    return base64.urlsafe_b64encode(passage_id.encode()).decode()


def has_vectors(settings: RetrievalSettings) -> bool:
    """The service embeds queries by a deployment of Azure OpenAI alone, so that is what documents are embedded by."""
    return settings.embeddings_from == "foundry" and bool(settings.embedding_deployment)


def as_document(passage: Passage, content_hash: str) -> dict[str, Any]:
    return {
        "key": key_of(passage.id),
        "id": passage.id,
        "document_id": passage.document_id,
        "title": passage.title,
        "heading_path": list(passage.heading_path),
        "text": passage.text,
        "anchor": passage.anchor,
        "hash": content_hash,
    }


def as_passage(document: Mapping[str, Any]) -> Passage:
    return Passage(
        id=document["id"],
        document_id=document["document_id"],
        title=document["title"],
        heading_path=tuple(document["heading_path"]),
        text=document["text"],
        anchor=document["anchor"],
    )


def index_definition(settings: RetrievalSettings, *, analyzer: str = "en.microsoft") -> "SearchIndex":
    """With a vector field where an embedding deployment is configured.

    Raises:
        ValueError: what the service must know of the embedding model is not set.
    """
    from azure.search.documents.indexes import models  # noqa: PLC0415 - only where this service is used

    def words(name: str, *, collection: bool = False) -> models.SearchField:
        kind = models.SearchFieldDataType.STRING
        return models.SearchField(
            name=name,
            type=f"Collection({kind.value})" if collection else kind,
            searchable=True,
            analyzer_name=analyzer,
        )

    def plain(name: str, **options: bool) -> models.SearchField:
        options = {"searchable": False, **options}
        return models.SearchField(name=name, type=models.SearchFieldDataType.STRING, **options)

    fields = [
        plain("key", key=True, filterable=True, sortable=True),
        plain("id"),
        plain("document_id", filterable=True),
        words("title"),
        words("heading_path", collection=True),
        words("text"),
        plain("anchor"),
        plain("hash", filterable=True),
    ]
    vector_search = None
    if has_vectors(settings):
        if not settings.embedding_model or not settings.embedding_dimensions:
            raise ValueError(
                "EMBEDDING_MODEL (the name of the deployed model, such as text-embedding-3-small) and "
                "EMBEDDING_DIMENSIONS must be set: the service needs them to embed queries."
            )
        fields.append(
            models.SearchField(
                name=VECTOR_FIELD,
                type="Collection(Edm.Single)",
                searchable=True,
                hidden=True,
                vector_search_dimensions=settings.embedding_dimensions,
                vector_search_profile_name=_PROFILE,
            )
        )
        project = urlsplit(settings.foundry_project_endpoint or "")
        vector_search = models.VectorSearch(
            algorithms=[models.HnswAlgorithmConfiguration(name=_ALGORITHM)],
            profiles=[
                models.VectorSearchProfile(
                    name=_PROFILE, algorithm_configuration_name=_ALGORITHM, vectorizer_name=_VECTORIZER
                )
            ],
            vectorizers=[
                models.AzureOpenAIVectorizer(  # without a key: it signs in as the search service's own identity
                    vectorizer_name=_VECTORIZER,
                    parameters=models.AzureOpenAIVectorizerParameters(
                        resource_url=f"{project.scheme}://{project.netloc}",
                        deployment_name=settings.embedding_deployment,
                        model_name=settings.embedding_model,
                    ),
                )
            ],
        )
    semantic = models.SemanticConfiguration(
        name=SEMANTIC_CONFIGURATION,
        prioritized_fields=models.SemanticPrioritizedFields(
            title_field=models.SemanticField(field_name="title"),
            content_fields=[models.SemanticField(field_name="text")],
            keywords_fields=[models.SemanticField(field_name="heading_path")],
        ),
    )
    return models.SearchIndex(
        name=settings.azure_search_index or "",
        fields=fields,
        vector_search=vector_search,
        semantic_search=models.SemanticSearch(configurations=[semantic]),
    )
