"""Signs a payload as its sender would, to try the agent by hand: `python -m webhook_extractor.sign github --file …`.

Prints a curl command with the signed headers. Needs no running agent and sends nothing itself.
"""

import argparse
import base64
import contextlib
import hashlib
import hmac
import shlex
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from agent_runtime.settings import SettingsError, load_settings

from webhook_extractor.development_secrets import with_development_secrets
from webhook_extractor.key_vault import open_key_vault
from webhook_extractor.settings import WebhookExtractorSettings, standard_webhooks_key

SOURCES = ("github", "stripe", "standard-webhooks")


def github_headers(secret: str, body: bytes, *, delivery_id: str, event: str = "issues") -> dict[str, str]:
    return {
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery_id,
        "X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
    }


def stripe_headers(secret: str, body: bytes, *, timestamp: int) -> dict[str, str]:
    signature = hmac.new(secret.encode(), b".".join((str(timestamp).encode(), body)), hashlib.sha256).hexdigest()
    return {"Stripe-Signature": f"t={timestamp},v1={signature}"}


def standard_webhooks_headers(secret: str, body: bytes, *, delivery_id: str, timestamp: int) -> dict[str, str]:
    signed = b".".join((delivery_id.encode(), str(timestamp).encode(), body))
    signature = hmac.new(standard_webhooks_key(secret), signed, hashlib.sha256).digest()
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": "v1," + base64.b64encode(signature).decode(),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        secret = options.secret or _configured_secret(options.source)
        # Read once: what is signed and what curl sends must be the same bytes.
        body = options.file.read_bytes()
        delivery_id = options.id or str(uuid.uuid4())
        if options.source == "github":
            headers = github_headers(secret, body, delivery_id=delivery_id, event=options.event)
        elif options.source == "stripe":
            headers = stripe_headers(secret, body, timestamp=int(time.time()))
        else:
            headers = standard_webhooks_headers(secret, body, delivery_id=delivery_id, timestamp=int(time.time()))
    except (SettingsError, OSError, ValueError) as error:
        print(f"sign: {error}", file=sys.stderr)
        return 2
    headers = {"Content-Type": "application/json", **headers}
    if options.relayed:
        headers = {name if name == "Content-Type" else f"x-client-{name}": value for name, value in headers.items()}
    if options.headers_only:
        print("\n".join(f"{name}: {value}" for name, value in headers.items()))
        return 0
    if options.wait:
        headers["Prefer"] = f"wait={options.wait}"
    parts = [f"-H {shlex.quote(f'{name}: {value}')}" for name, value in headers.items()]
    parts += [f"--data-binary {shlex.quote(f'@{options.file}')}", shlex.quote(f"{options.url.rstrip('/')}/invocations")]
    print("curl -sS " + " \\\n  ".join(parts))
    return 0


def _configured_secret(source: str) -> str:
    settings = load_settings(WebhookExtractorSettings)
    if vault := open_key_vault(settings):
        with contextlib.closing(vault):
            settings = vault.read_at_start()
    settings, _ = with_development_secrets(settings, make=False)
    secrets = {
        "github": settings.github_secrets,
        "stripe": settings.stripe_secrets,
        "standard-webhooks": settings.standard_webhooks_secrets,
    }[source]
    if not secrets:
        raise ValueError(f"no secret is configured for {source}: pass --secret")
    return secrets[0]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m webhook_extractor.sign",
        description="Sign a payload as its sender would, and print the curl command that delivers it.",
    )
    parser.add_argument("source", choices=SOURCES)
    parser.add_argument("--file", type=Path, required=True, help="the payload, sent byte for byte")
    parser.add_argument(
        "--secret", help="default: the agent's own, from environment, vault or, with nothing configured, state folder"
    )
    parser.add_argument("--id", help="the delivery's id; default: a new one. Stripe's is in the payload")
    parser.add_argument("--event", default="issues", help="GitHub's event name (default: issues)")
    parser.add_argument("--url", default="http://127.0.0.1:8089", help="where the agent listens (default: %(default)s)")
    parser.add_argument(
        "--wait", type=int, default=20, help="seconds to wait for the result; 0 answers at once (default: 20)"
    )
    parser.add_argument(
        "--relayed", action="store_true", help="name the headers x-client-…, as a relay to Foundry does"
    )
    parser.add_argument("--headers-only", action="store_true", help="print the headers only, one to a line")
    return parser


if __name__ == "__main__":
    sys.exit(main())
