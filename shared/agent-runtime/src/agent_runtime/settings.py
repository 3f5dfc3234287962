"""Typed settings from the environment: one class for what every agent needs, which an agent subclasses for its own.

A missing or bad variable ends the start with one line for each that names it and the fix, never with a stack trace.
The platform's variables are read here and nowhere else in our code. `.env` files are the local runner's concern.
"""

from pathlib import Path
from typing import ClassVar, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

Provider = Literal["foundry", "openai", "offline"]

_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")

OFFLINE_MODEL = "offline-extractive"
"""The name that the offline model gives itself wherever a model name shows."""


class SettingsError(Exception):
    """The environment does not make a usable configuration. The text is one line for each problem, with its fix."""


class AgentSettings(BaseSettings):
    """What every agent reads from the environment. Empty variables count as unset."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=True)

    local_name: ClassVar[str] = "agent"
    """The agent's name where the platform does not give one. A subclass sets it to its folder's name."""

    agent_name: str = Field(default="", validation_alias="FOUNDRY_AGENT_NAME")
    bind_address: str = Field(default="0.0.0.0", validation_alias="BIND_ADDRESS")  # noqa: S104
    """Where to listen. The platform reaches a container from outside; the local runner sets 127.0.0.1, because nothing
    authenticates a caller on one machine."""
    port: int = Field(default=8088, ge=1, le=65535, validation_alias="PORT")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", validation_alias="LOG_LEVEL")
    state_root: Path = Field(default=Path("~/.agentserver"), validation_alias="AGENTSERVER_STATE_ROOT")
    hosting_environment: str = Field(default="", validation_alias="FOUNDRY_HOSTING_ENVIRONMENT")

    model_provider: Provider | None = Field(default=None, validation_alias="MODEL_PROVIDER")
    foundry_project_endpoint: str | None = Field(default=None, validation_alias="FOUNDRY_PROJECT_ENDPOINT")
    model_deployment: str | None = Field(default=None, validation_alias="AZURE_AI_MODEL_DEPLOYMENT_NAME")
    openai_base_url: str | None = Field(default=None, validation_alias="OPENAI_BASE_URL")
    openai_api_key: SecretStr | None = Field(default=None, validation_alias="OPENAI_API_KEY")
    openai_model: str | None = Field(default=None, validation_alias=AliasChoices("MODEL_NAME", "OPENAI_MODEL"))
    model_timeout_seconds: float = Field(default=60.0, gt=0, le=600, validation_alias="MODEL_TIMEOUT_SECONDS")
    """Longest wait for the model to send anything, per attempt."""
    model_max_retries: int = Field(default=2, ge=0, le=10, validation_alias="MODEL_MAX_RETRIES")

    max_request_bytes: int = Field(default=1_000_000, ge=1_000, validation_alias="MAX_REQUEST_BYTES")
    max_concurrent_requests: int = Field(default=64, ge=1, validation_alias="MAX_CONCURRENT_REQUESTS")
    """Requests served at once; one more is answered 503 with `Retry-After`."""
    sse_keepalive_seconds: int = Field(default=15, ge=0, le=60, validation_alias="SSE_KEEPALIVE_INTERVAL")
    """Pause after which a silent stream sends a comment, because the front end drops silent responses. 0 is never."""
    graceful_shutdown_seconds: int = Field(
        default=10, ge=0, le=300, validation_alias="AGENTSERVER_GRACEFUL_SHUTDOWN_TIMEOUT_SECONDS"
    )
    """How long requests in flight may take to end after SIGTERM or Ctrl-C."""
    responses_kept_days: int = Field(default=30, ge=1, validation_alias="RESPONSES_KEPT_DAYS")
    """Age at which stored responses and their items are deleted. Local only: the platform has its own rule."""

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("foundry_project_endpoint", "openai_base_url")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is None:
            return value
        if not value.startswith(("https://", "http://")):
            raise ValueError("must be a URL that starts with https:// or http://")
        try:
            parts = urlsplit(value)
            complete = bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port or an address in brackets that cannot be; the text may repeat the value
            complete = False
        if not complete:
            raise ValueError("must be a URL with a host, and a port from 1 to 65535 if any")
        if "?" in value or "#" in value:
            raise ValueError("must be a URL that paths can be appended to, without ? and #")
        return value.rstrip("/")

    @field_validator("foundry_project_endpoint")
    @classmethod
    def _keeps_tokens_private(cls, value: str | None) -> str | None:
        """Azure's own clients send no token without TLS either (`azure.core`, `BearerTokenCredentialPolicy`)."""
        if value and value.startswith("http://") and urlsplit(value).hostname not in _THIS_MACHINE:
            raise ValueError("must start with https://, because a token is sent there")
        return value

    @field_validator("openai_api_key")
    @classmethod
    def _fits_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        """A key read from a file may end with a line break. What else no header can carry would fail at the first
        question, with the key in the error's text."""
        if value is None:
            return value
        key = value.get_secret_value().strip()
        if not (key.isascii() and key.isprintable()):
            raise ValueError("must be one line of ASCII characters")
        return SecretStr(key) if key else None

    @field_validator("state_root")
    @classmethod
    def _expand(cls, value: Path) -> Path:
        return value.expanduser()

    @model_validator(mode="after")
    def _provider_is_complete(self) -> "AgentSettings":
        needs: dict[Provider, dict[str, object]] = {
            "foundry": {
                "FOUNDRY_PROJECT_ENDPOINT": self.foundry_project_endpoint,
                "AZURE_AI_MODEL_DEPLOYMENT_NAME": self.model_deployment,
            },
            "openai": {"OPENAI_BASE_URL": self.openai_base_url, "MODEL_NAME": self.openai_model},
            "offline": {},
        }
        missing = [name for name, value in needs[self.provider].items() if not value]
        if missing:
            raise ValueError(
                f"{' and '.join(missing)} must be set for the model provider '{self.provider}'. "
                f"Set {'it' if len(missing) == 1 else 'them'}, or set MODEL_PROVIDER=offline to run without a model."
            )
        return self

    @property
    def provider(self) -> Provider:
        """`MODEL_PROVIDER` if set, else what the other variables describe, else offline."""
        if self.model_provider:
            return self.model_provider
        if self.foundry_project_endpoint and self.model_deployment:
            return "foundry"
        if self.openai_base_url:
            return "openai"
        # Inside Foundry the endpoint is always there: a missing deployment name must not fall back to offline silently.
        return "foundry" if self.hosted else "offline"

    @property
    def model(self) -> str:
        """The model name to send: the deployment's, the server's, or the offline model's."""
        names = {"foundry": self.model_deployment, "openai": self.openai_model, "offline": OFFLINE_MODEL}
        return names[self.provider] or OFFLINE_MODEL

    @property
    def name(self) -> str:
        return self.agent_name or self.local_name

    @property
    def hosted(self) -> bool:
        """Whether the process runs in Foundry: the SDK's own test (`azure.ai.agentserver.core`, `_config.py`)."""
        return bool(self.hosting_environment)

    @property
    def state_directory(self) -> Path:
        """This agent's own folder below the state root."""
        return self.state_root / self.name


Settings = TypeVar("Settings", bound=AgentSettings)


def load_settings(settings_class: type[Settings]) -> Settings:
    """Read the environment into `settings_class`.

    Raises:
        SettingsError: with one line for each bad or missing variable. Values are not repeated: they may be secrets.
    """
    try:
        return settings_class()
    except ValidationError as error:
        lines = [_line(settings_class, problem["loc"], problem["msg"]) for problem in error.errors()]
        raise SettingsError("\n".join(lines)) from None


def _line(settings_class: type[AgentSettings], location: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    if not location:
        return message
    name = str(location[0])
    field = settings_class.model_fields.get(name)
    if field is not None:
        alias = field.validation_alias
        name = str(alias.choices[0] if isinstance(alias, AliasChoices) else alias or name.upper())
    return f"{name}: {message[:1].lower()}{message[1:]}. Correct it or unset it."
