"""What this agent reads from the environment, beyond what the desk and every agent read."""

from pathlib import Path
from typing import ClassVar

from agent_runtime.retrieval import RetrievalSettings
from pydantic import Field, field_validator
from support_desk.settings import SupportDeskSettings


class RagChatSettings(SupportDeskSettings, RetrievalSettings):
    local_name: ClassVar[str] = "rag-chat"

    documents_dir: Path | None = Field(None, validation_alias="DOCUMENTS_DIR")
    """The folder with the user's own documents as markdown, read at each start beside the handbook. Default: where
    `make ingest` puts them, in the agent's state folder; it need not exist there."""
    documents_base_url: str = Field("", validation_alias="DOCUMENTS_BASE_URL")
    """What the links of cited passages of the user's own documents start with. Default: `documents/` below
    `HANDBOOK_BASE_URL`."""
    passages_per_search: int = Field(5, ge=1, le=20, validation_alias="PASSAGES_PER_SEARCH")
    """Passages that the model is given for one search."""
    history_items: int = Field(40, ge=24, le=1000, validation_alias="HISTORY_ITEMS")
    """Stored items (messages, tool calls, tool outputs) of the conversation that the model sees; older ones are left
    out. 24 holds one turn with ten searches: with less, one turn could fill it and nothing would be left."""
    history_tokens: int = Field(8000, ge=500, validation_alias="HISTORY_TOKENS")
    """Tokens (estimated) of the conversation that the model sees, in whole turns; the one being answered counts, and
    is always whole. A turn with one search of five passages has about a thousand."""
    max_model_calls: int = Field(6, ge=2, le=32, validation_alias="MAX_MODEL_CALLS")
    """Model calls in one turn, the last of which must answer."""
    max_output_tokens: int = Field(2048, ge=16, validation_alias="MAX_OUTPUT_TOKENS")
    """The most that a caller can ask for by `max_output_tokens`."""

    @field_validator("documents_dir")
    @classmethod
    def _exists(cls, value: Path | None) -> Path | None:
        value = value.expanduser() if value else None
        if value and not value.is_dir():
            raise ValueError("must be a folder with markdown documents; make ingest makes them")
        return value

    @field_validator("documents_base_url")
    @classmethod
    def _is_documents_address(cls, value: str) -> str:
        if value and not value.startswith(("https://", "http://")):
            raise ValueError("must be a URL that starts with https:// or http://")
        return value.rstrip("/") + "/" if value else ""

    @property
    def documents_folder(self) -> Path:
        return self.documents_dir or self.state_directory / "documents"
