"""Which inbox an agent uses: a file on one machine; hosted, the store that all its sandboxes share."""

from datetime import timedelta

from agent_runtime.state_store import open_state_store

from webhook_extractor.inbox import Inbox
from webhook_extractor.ledger_inbox import LedgerInbox
from webhook_extractor.settings import WebhookExtractorSettings
from webhook_extractor.sqlite_inbox import SqliteInbox


def open_inbox(settings: WebhookExtractorSettings) -> Inbox:
    """Makes no connection; `Inbox.open` does."""
    kept = timedelta(days=settings.record_days)
    if settings.hosted:
        store = open_state_store(settings, f"{settings.local_name}-deliveries", expires_after=kept)
        return LedgerInbox(store, lease_seconds=settings.lease_seconds)
    return SqliteInbox(settings.inbox_file, record_seconds=kept.total_seconds(), lease_seconds=settings.lease_seconds)
