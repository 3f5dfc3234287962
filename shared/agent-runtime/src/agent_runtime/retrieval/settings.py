"""What a retriever reads from the environment: which one it is, and what it needs."""

from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from agent_runtime.settings import AgentSettings

RetrieverKind = Literal["fts", "hybrid", "azure-search"]


class RetrievalSettings(AgentSettings):
    """`AgentSettings` with those of a retriever. An agent that chooses its retriever derives its settings from this."""

    retriever: RetrieverKind = Field(default="fts", validation_alias="RETRIEVER")
    """`fts`: full text, in SQLite. `hybrid`: with embeddings beside it. `azure-search`: an index of Azure AI Search."""
    fts_weight: float = Field(default=1.0, ge=0, le=100, validation_alias="FTS_WEIGHT")
    embedding_weight: float = Field(default=1.0, ge=0, le=100, validation_alias="EMBEDDING_WEIGHT")
    rank_constant: int = Field(default=60, ge=1, le=1000, validation_alias="RANK_CONSTANT")
    """Of reciprocal rank fusion, score = sum of weight / (constant + rank); 60 as in Cormack, Clarke and Buettcher,
    "Reciprocal rank fusion outperforms Condorcet and individual rank learning methods" (SIGIR 2009)."""

    embedding_model: str | None = Field(default=None, validation_alias="EMBEDDING_MODEL")
    embedding_base_url: str | None = Field(default=None, validation_alias="EMBEDDING_BASE_URL")
    """Where another server than the chat model's makes the embeddings."""
    embedding_api_key: SecretStr | None = Field(default=None, validation_alias="EMBEDDING_API_KEY")
    embedding_deployment: str | None = Field(default=None, validation_alias="AZURE_AI_EMBEDDING_DEPLOYMENT_NAME")
    embedding_dimensions: int | None = Field(default=None, ge=8, le=4096, validation_alias="EMBEDDING_DIMENSIONS")
    """Where the model can be asked for shorter vectors than its own."""

    azure_search_endpoint: str | None = Field(default=None, validation_alias="AZURE_SEARCH_ENDPOINT")
    azure_search_index: str | None = Field(default=None, validation_alias="AZURE_SEARCH_INDEX")
    azure_search_semantic: bool = Field(default=True, validation_alias="AZURE_SEARCH_SEMANTIC")
    """Off for a service whose tier has no semantic ranker."""

    @field_validator("azure_search_endpoint")
    @classmethod
    def _is_secure(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("https://"):
            raise ValueError("must be a URL that starts with https://: the agent's token goes there")
        return value.rstrip("/") if value else value

    @field_validator("embedding_base_url")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("https://", "http://")):
            raise ValueError("must be a URL that starts with https:// or http://")
        return value.rstrip("/") if value else value

    @model_validator(mode="after")
    def _retriever_is_complete(self) -> "RetrievalSettings":
        missing: list[str] = []
        if self.retriever == "azure-search":
            needs = {"AZURE_SEARCH_ENDPOINT": self.azure_search_endpoint, "AZURE_SEARCH_INDEX": self.azure_search_index}
            missing = [name for name, value in needs.items() if not value]
        elif self.retriever == "hybrid":
            if not self.fts_weight and not self.embedding_weight:
                raise ValueError("FTS_WEIGHT and EMBEDDING_WEIGHT are both 0: give one of them more.")
            if self.embeddings_from == "offline":
                missing = ["EMBEDDING_BASE_URL", "EMBEDDING_MODEL"]
            elif not self.embedding_name:
                missing = [
                    "AZURE_AI_EMBEDDING_DEPLOYMENT_NAME" if self.embeddings_from == "foundry" else "EMBEDDING_MODEL"
                ]
        if missing:
            note = " The offline model makes no embeddings." if self.embeddings_from == "offline" else ""
            note = note if self.retriever == "hybrid" else ""
            raise ValueError(
                f"{' and '.join(missing)} must be set for RETRIEVER={self.retriever}.{note} "
                f"Set {'it' if len(missing) == 1 else 'them'}, or set RETRIEVER=fts for full text alone."
            )
        return self

    @property
    def embeddings_from(self) -> Literal["foundry", "openai", "offline"]:
        """The provider of the embeddings: the server of `EMBEDDING_BASE_URL`, else that of the chat model."""
        return "openai" if self.embedding_base_url else self.provider

    @property
    def embedding_name(self) -> str:
        """The model or deployment that makes the embeddings."""
        return (self.embedding_deployment if self.embeddings_from == "foundry" else self.embedding_model) or ""
