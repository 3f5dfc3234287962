"""The handbook's search index: built when an agent starts, from then on only what changed is read in again."""

import logging

from agent_runtime.retrieval import FtsRetriever, build_index

from support_desk.settings import SupportDeskSettings

logger = logging.getLogger(__name__)


def open_handbook(settings: SupportDeskSettings) -> FtsRetriever:
    """Bring the index of `HANDBOOK_DIR` up to date in the agent's own state folder, and search it from there."""
    settings.state_directory.mkdir(parents=True, exist_ok=True)
    path = settings.state_directory / "handbook.sqlite"
    logger.info("handbook: %s", build_index(path, [settings.handbook_dir]))
    return FtsRetriever(path)
