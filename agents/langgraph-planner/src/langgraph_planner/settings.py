"""What this agent reads from the environment, beyond what the desk and every agent read."""

from typing import ClassVar

from pydantic import Field, model_validator
from support_desk.settings import SupportDeskSettings


class PlannerSettings(SupportDeskSettings):
    local_name: ClassVar[str] = "langgraph-planner"

    max_steps: int = Field(default=12, ge=1, le=50, validation_alias="MAX_STEPS")
    """Steps of a plan. A longer plan is not begun: the response ends as `incomplete`, and nothing was done."""
    max_replans: int = Field(default=3, ge=0, le=20, validation_alias="MAX_REPLANS")
    """How often a run may plan its rest anew, after a failed step or a rejection. Needing more ends the response as
    `incomplete`; 0 switches it off, and the plan goes on without what is lost."""
    run_days: int = Field(default=30, ge=1, le=3650, validation_alias="RUN_DAYS")
    """How long a run's records are kept after they were last written: checkpoints, approvals, answers. A run that
    waits longer for an answer is forgotten."""
    prune_checkpoints: bool = Field(default=True, validation_alias="PRUNE_CHECKPOINTS")
    """Whether only a run's newest checkpoint is kept when a turn has ended. false keeps all, to look at how it came."""
    approval_hours: float = Field(default=168, gt=0, validation_alias="APPROVAL_HOURS")
    """How long an approval can be given or refused. Later answers fail with `approval_expired`, and do nothing. At most
    `RUN_DAYS`, after which nobody knows of it any more."""
    max_tool_retries: int = Field(default=2, ge=0, le=10, validation_alias="MAX_TOOL_RETRIES")
    """How often a step is tried again while the desk's records cannot be reached, before it counts as failed."""
    max_model_calls: int = Field(default=40, ge=1, validation_alias="MAX_MODEL_CALLS")
    """Model calls of one run, over all its turns. Reaching it ends the response as `incomplete`."""
    max_model_tokens: int = Field(default=200_000, ge=1, validation_alias="MAX_MODEL_TOKENS")
    """Tokens of one run, in and out, over all its turns. No model call begins once they are used: the response ends as
    `incomplete`. The call that crosses the line is paid in full, because its size is known only afterwards."""
    max_run_seconds: float = Field(default=300, gt=0, validation_alias="MAX_RUN_SECONDS")
    """Time for one turn, the model's and the tools' included. Reaching it ends the response as `incomplete`."""

    @model_validator(mode="after")
    def _approvals_end_before_their_run(self) -> "PlannerSettings":
        if self.approval_hours > self.run_days * 24:
            raise ValueError(
                f"APPROVAL_HOURS={self.approval_hours:g} is longer than RUN_DAYS={self.run_days}: an approval cannot"
                " outlive its run. Shorten the one or lengthen the other."
            )
        return self
