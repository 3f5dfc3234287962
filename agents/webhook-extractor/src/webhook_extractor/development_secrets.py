"""Secrets for a laptop with nothing configured, so that a signed delivery can be tried at once.

Made at random on the first start and kept beside the inbox, readable by their owner only. As soon as one source has a
configured secret, or the agent is hosted, none are made: then a source without a secret is off.
"""

import base64
import json
import os
import secrets
from pathlib import Path

from pydantic import SecretStr

from webhook_extractor.settings import WebhookExtractorSettings

_SECRETS = ("github_secret", "stripe_secret", "standard_webhooks_secret")


def with_development_secrets(
    settings: WebhookExtractorSettings, *, make: bool = True
) -> tuple[WebhookExtractorSettings, Path | None]:
    """The settings to run with, and the file of the development secrets if those are in use.

    Raises:
        FileNotFoundError: they would be in use, are not there, and `make` is False.
    """
    configured = (settings.github_secrets, settings.stripe_secrets, settings.standard_webhooks_secrets)
    if settings.hosted or settings.event_grid_audience or any(configured):
        return settings, None
    path = settings.state_directory / "development-secrets.json"
    values = _read(path)
    if values is None:
        if not make:
            raise FileNotFoundError(f"no secret is configured, and no agent has made development secrets in {path}")
        values = _write(path)
    found = {name: SecretStr(values[name]) for name in _SECRETS}
    return settings.model_copy(update=found), path


def _read(path: Path) -> dict[str, str] | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return {name: str(value) for name, value in values.items()}


def _write(path: Path) -> dict[str, str]:
    values = {
        "github_secret": secrets.token_urlsafe(24),
        "stripe_secret": "whsec_" + secrets.token_urlsafe(24),
        "standard_webhooks_secret": "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode(),
    }
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Complete under its name or not there at all: two processes may start at once, and the first one's stand.
    draft = path.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(values, file, indent=2)
    try:
        os.link(draft, path)
    except FileExistsError:
        values = _read(path) or values
    finally:
        draft.unlink()
    return values
