"""This agent's own settings: the secrets of its sources, how long callers and jobs may take, and how long records stay.

Each source has two secrets so that one can be rotated without losing a delivery: set the new one as `…_NEXT`, change
the sender, then move it to the first variable. A source without a secret is off. Secrets are checked at start. Those
that are not in the environment may come from Azure Key Vault (`key_vault.py`).
"""

import base64
import binascii
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from support_desk.settings import SupportDeskSettings

from webhook_extractor.entra_tokens import TokenRules

SECRETS = {
    "github_secret": "GITHUB_WEBHOOK_SECRET",
    "stripe_secret": "STRIPE_WEBHOOK_SECRET",
    "standard_webhooks_secret": "STANDARD_WEBHOOKS_SECRET",
}
"""Each source's first secret and its variable. The second has `_next` and `_NEXT` at the end."""


class WebhookExtractorSettings(SupportDeskSettings):
    local_name: ClassVar[str] = "webhook-extractor"

    github_secret: SecretStr | None = Field(None, validation_alias="GITHUB_WEBHOOK_SECRET")
    github_secret_next: SecretStr | None = Field(None, validation_alias="GITHUB_WEBHOOK_SECRET_NEXT")
    stripe_secret: SecretStr | None = Field(None, validation_alias="STRIPE_WEBHOOK_SECRET")
    stripe_secret_next: SecretStr | None = Field(None, validation_alias="STRIPE_WEBHOOK_SECRET_NEXT")
    standard_webhooks_secret: SecretStr | None = Field(None, validation_alias="STANDARD_WEBHOOKS_SECRET")
    standard_webhooks_secret_next: SecretStr | None = Field(None, validation_alias="STANDARD_WEBHOOKS_SECRET_NEXT")
    key_vault_endpoint: str = Field("", validation_alias="AZURE_KEY_VAULT_ENDPOINT")
    """The vault that holds the secrets of sources whose variable is not set. Empty: there is none."""
    key_vault_refresh_seconds: float = Field(300.0, gt=0, le=86400, validation_alias="KEY_VAULT_REFRESH_SECONDS")
    event_grid_audience: str = Field("", validation_alias="EVENT_GRID_AUDIENCE")
    """The application that Event Grid's tokens are for: its client id, its URI, or both with a comma between."""
    event_grid_tenant: str = Field("", pattern=r"^[A-Za-z0-9.-]*$", validation_alias="EVENT_GRID_TENANT_ID")
    event_grid_sender: str = Field(
        "4962773b-9cdb-44cf-a8bf-237846a00ab7", min_length=1, validation_alias="EVENT_GRID_SENDER_APP_ID"
    )
    """Whose tokens are accepted. Event Grid's own application, the same in every tenant of the public cloud."""
    event_grid_metadata_url: str = Field("", validation_alias="EVENT_GRID_OIDC_METADATA_URL")
    event_grid_origin: str = Field("eventgrid.azure.net", validation_alias="EVENT_GRID_ORIGIN")
    """Who may ask for permission to deliver, as it names itself in `WebHook-Request-Origin`."""
    signature_tolerance_seconds: int = Field(300, ge=1, le=3600, validation_alias="SIGNATURE_TOLERANCE_SECONDS")
    """How far a signed timestamp may be from our clock. Five minutes is what the Standard Webhooks libraries use."""

    max_wait_seconds: float = Field(25.0, gt=0, le=100, validation_alias="MAX_WAIT_SECONDS")
    """Longest wait for a result within one request. The platform's front end drops silent answers after about 120 s."""
    workers: int = Field(4, ge=1, le=64, validation_alias="WORKERS")
    """Deliveries processed at once."""
    job_timeout_seconds: float = Field(120.0, gt=0, validation_alias="JOB_TIMEOUT_SECONDS")
    max_attempts: int = Field(8, ge=1, le=50, validation_alias="MAX_ATTEMPTS")
    direct_max_attempts: int = Field(3, ge=1, le=50, validation_alias="DIRECT_MAX_ATTEMPTS")
    """Fewer for direct calls: someone is waiting."""
    first_retry_seconds: float = Field(1.0, gt=0, validation_alias="FIRST_RETRY_SECONDS")
    """Wait before the second attempt; each later wait is four times as long, with jitter."""
    longest_retry_seconds: float = Field(900.0, gt=0, validation_alias="LONGEST_RETRY_SECONDS")
    record_days: float = Field(30.0, gt=0, validation_alias="RECORD_DAYS")
    """How long an ended record stays. It is the dedupe as well, so keep it beyond the senders' redelivery windows."""

    @field_validator(*SECRETS, *(f"{field}_next" for field in SECRETS))
    @classmethod
    def _is_usable(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is not None:
            check_secret(info.field_name or "", value.get_secret_value())
        return value

    @field_validator("key_vault_endpoint")
    @classmethod
    def _is_a_vault(cls, value: str) -> str:
        if value:
            try:
                parts = urlsplit(value)
                complete = bool(parts.hostname) and parts.port != 0
            except ValueError:
                complete = False
            if not complete or parts.scheme != "https" or parts.path.strip("/") or parts.query or parts.fragment:
                raise ValueError("must be the address of a vault, such as https://NAME.vault.azure.net")
            if parts.username is not None:
                raise ValueError("must hold no user or password, because the agent signs in with its identity")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _next_has_a_first(self) -> "WebhookExtractorSettings":
        for field, variable in SECRETS.items():
            if getattr(self, f"{field}_next") is not None and getattr(self, field) is None:
                raise ValueError(f"{variable}_NEXT is set and {variable} is not. Move the secret to {variable}.")
        return self

    @model_validator(mode="after")
    def _audience_has_a_tenant(self) -> "WebhookExtractorSettings":
        if bool(self.event_grid_audience) != bool(self.event_grid_tenant):
            raise ValueError("EVENT_GRID_AUDIENCE and EVENT_GRID_TENANT_ID go together. Set both, or neither.")
        if self.event_grid_metadata_url and not _is_safe(self.event_grid_metadata_url):
            raise ValueError("EVENT_GRID_OIDC_METADATA_URL must be https, since the keys come from there.")
        return self

    @property
    def event_grid_rules(self) -> TokenRules | None:
        """What a token must be; None without configuration, and then the source is off."""
        audiences = tuple(part.strip() for part in self.event_grid_audience.split(",") if part.strip())
        if not audiences:
            return None
        tenant = self.event_grid_tenant
        metadata = f"https://login.microsoftonline.com/{tenant}/v2.0/.well-known/openid-configuration"
        return TokenRules(audiences, tenant, self.event_grid_sender, self.event_grid_metadata_url or metadata)

    @property
    def github_secrets(self) -> tuple[str, ...]:
        return _present(self.github_secret, self.github_secret_next)

    @property
    def stripe_secrets(self) -> tuple[str, ...]:
        return _present(self.stripe_secret, self.stripe_secret_next)

    @property
    def standard_webhooks_secrets(self) -> tuple[str, ...]:
        return _present(self.standard_webhooks_secret, self.standard_webhooks_secret_next)

    @property
    def inbox_file(self) -> Path:
        return self.state_directory / "inbox.sqlite"

    @property
    def sweep_seconds(self) -> float:
        """How late work is noticed that another process queued: a replayed dead letter, an expired lease."""
        return 60.0 if self.hosted else 2.0

    @property
    def lease_seconds(self) -> float:
        """After this long, whoever holds a delivery is taken to be dead."""
        return self.job_timeout_seconds + 30.0


def _is_safe(url: str) -> bool:
    """https, or this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in {"127.0.0.1", "localhost"})


def _present(*secrets: SecretStr | None) -> tuple[str, ...]:
    return tuple(secret.get_secret_value() for secret in secrets if secret is not None)


def check_secret(field: str, value: str) -> None:
    """Whether signatures can be checked with a secret of the settings.

    Raises:
        ValueError: with what is wrong, and without the secret.
    """
    if not value.strip():
        raise ValueError("is blank, and a blank secret would let anyone sign")
    if field.startswith("standard_webhooks"):
        standard_webhooks_key(value)


def standard_webhooks_key(secret: str) -> bytes:
    """The signing key inside a Standard Webhooks secret: base64 after `whsec_`, padded or not.

    Raises:
        ValueError: when it is not base64, or empty.
    """
    encoded = secret.strip().removeprefix("whsec_").rstrip("=")
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not base64 after whsec_, so no signature can be checked with it") from None
    if not key:
        raise ValueError("holds an empty key, and an empty key would let anyone sign")
    return key
