"""The settings that the desk adds to an agent's: where the handbook is, and where its pages can be read."""

from pathlib import Path

from agent_runtime.settings import AgentSettings
from pydantic import Field, field_validator

from support_desk.handbook import handbook_folder

DEFAULT_HANDBOOK_URL = "https://handbook.northpeak.example/"


class SupportDeskSettings(AgentSettings):
    """`AgentSettings` with the desk's own variables. An agent that uses the desk derives its settings from this."""

    handbook_dir: Path = Field(default_factory=handbook_folder, validation_alias="HANDBOOK_DIR")
    """The folder with the handbook's markdown, read at each start. Default: the handbook of the package."""
    handbook_base_url: str = Field(DEFAULT_HANDBOOK_URL, validation_alias="HANDBOOK_BASE_URL")
    """What the links of cited passages start with."""

    @field_validator("handbook_dir")
    @classmethod
    def _is_folder(cls, value: Path) -> Path:
        value = value.expanduser()
        if not value.is_dir():
            raise ValueError("must be a folder with the handbook's markdown files")
        return value

    @field_validator("handbook_base_url")
    @classmethod
    def _ends_with_slash(cls, value: str) -> str:
        if not value.startswith(("https://", "http://")):
            raise ValueError("must be a URL that starts with https:// or http://")
        return value.rstrip("/") + "/"
