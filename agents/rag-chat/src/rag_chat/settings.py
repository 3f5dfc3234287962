"""What this agent reads from the environment, beyond what the desk and every agent read."""

from typing import ClassVar

from pydantic import Field
from support_desk.settings import SupportDeskSettings


class RagChatSettings(SupportDeskSettings):
    local_name: ClassVar[str] = "rag-chat"

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
