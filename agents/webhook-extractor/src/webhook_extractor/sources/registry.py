"""The sources in use, and which of them a request belongs to. A new source is one module and one line here."""

from collections.abc import Callable

from webhook_extractor.settings import WebhookExtractorSettings
from webhook_extractor.sources.cloud_events import CloudEvents
from webhook_extractor.sources.github import GitHub
from webhook_extractor.sources.source import DeliveryHeaders, Refused, Source
from webhook_extractor.sources.standard_webhooks import StandardWebhooks
from webhook_extractor.sources.stripe import Stripe

DIRECT = "direct"
"""The name of direct calls, which have no signature and are no `Source`."""


SOURCES: tuple[Callable[[WebhookExtractorSettings], Source], ...] = (
    lambda settings: GitHub(settings.github_secrets),
    lambda settings: Stripe(settings.stripe_secrets, settings.signature_tolerance_seconds),
    lambda settings: StandardWebhooks(settings.standard_webhooks_secrets, settings.signature_tolerance_seconds),
    lambda settings: CloudEvents(settings.event_grid_rules, settings.event_grid_origin),
)


def build_sources(settings: WebhookExtractorSettings) -> tuple[Source, ...]:
    return tuple(make(settings) for make in SOURCES)


def source_of(headers: DeliveryHeaders, sources: tuple[Source, ...]) -> Source | None:
    """The source whose headers a request carries; None for a direct call.

    Any header of a source makes the request that source's: leaving the signature out must not turn a delivery into a
    direct call. Raises `Refused` for a source that is off, for headers of two, and for a signature nobody here checks.
    """
    names = headers.names()
    media_type = headers.get("content-type").partition(";")[0].strip().lower()
    found = [
        source
        for source in sources
        if source.description.headers & names or media_type in source.description.media_types
    ]
    if len(found) > 1:
        raise Refused("source_ambiguous", "The request carries headers of more than one source.")
    if found:
        if not found[0].enabled:
            about = found[0].description
            raise Refused("source_not_configured", f"{about.title} deliveries are off: set {about.secret_variable}.")
        return found[0]
    signed = sorted(name for name in names if "signature" in name or name.startswith(("aeg-", "ce-", "webhook-")))
    if signed:
        raise Refused("source_unknown", f"No source here checks {signed[0]}, so the request is not accepted unchecked.")
    return None
