"""What this agent reads from the environment, beyond what every agent reads."""

from typing import ClassVar

from pydantic import Field, field_validator
from support_desk.settings import SupportDeskSettings


class AgUiSettings(SupportDeskSettings):
    local_name: ClassVar[str] = "ag-ui-streamer"

    max_tool_rounds: int = Field(6, ge=1, le=32, validation_alias="MAX_TOOL_ROUNDS")
    """Model calls in one run. A run that needs more ends with the error `too_many_tool_rounds`."""
    max_history_items: int = Field(60, ge=4, validation_alias="MAX_HISTORY_ITEMS")
    """Items of the conversation that the model sees; older ones are left out, from a user message on."""
    approval_hours: float = Field(default=168, gt=0, validation_alias="APPROVAL_HOURS")
    """How long a refund can be approved. Later it can only be cancelled, and nothing is done."""
    thread_days: int = Field(default=30, ge=1, validation_alias="THREAD_DAYS")
    """How long a thread is kept after its last run, and a run's events to be replayed."""
    planner_endpoint: str | None = Field(default=None, validation_alias="PLANNER_ENDPOINT")
    """Where langgraph-planner's `/responses` is. Without it nothing is handed over."""
    max_concurrent_requests: int = Field(default=256, ge=1, validation_alias="MAX_CONCURRENT_REQUESTS")
    """Requests served at once. More than other agents serve: a stream is open for as long as somebody reads it."""

    @field_validator("planner_endpoint")
    @classmethod
    def _is_endpoint(cls, value: str | None) -> str | None:
        return cls._keeps_tokens_private(cls._is_url(value))
