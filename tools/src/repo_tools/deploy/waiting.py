"""Waits until new versions are active.

A version is creating, active or failed (azure-ai-projects 2.10, AgentVersionStatus). As azd does, an end counts when it
was seen twice in a row, because the service was seen to waver (Azure/azure-dev, azure.ai.agents, waitForAgentActive).
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from repo_tools.deploy.foundry import Foundry, FoundryError

_CONFIRMATIONS = 2
_ENDS = ("active", "failed", "deleting", "deleted")


@dataclass(slots=True)
class Outcome:
    """How it ended for one version."""

    status: str = "creating"
    version: dict[str, Any] = field(default_factory=dict)
    """as Foundry showed it last"""
    refusal: FoundryError | None = None
    """why Foundry could not be asked the last time"""
    seen: int = 0

    @property
    def over(self) -> bool:
        # A version just made may not be found yet; no login and no role stay as they are.
        hopeless = self.refusal is not None and self.refusal.status in (400, 401, 403)
        return self.seen >= _CONFIRMATIONS or hopeless


def wait(
    foundry: Foundry,
    pending: Mapping[str, str],
    *,
    timeout: float,
    interval: float,
    report: Callable[[str, str, float], None],
) -> dict[str, Outcome]:
    """Poll `pending` (agent → version) until each has ended or `timeout` seconds are over.

    `report(agent, what, seconds)` is called for each change, and every half minute without one.
    """
    outcomes = {name: Outcome() for name in pending}
    started = time.monotonic()
    said: dict[str, tuple[str, float]] = {}
    while True:
        for name, outcome in outcomes.items():
            if outcome.over:
                continue
            _look(foundry, name, pending[name], outcome)
            now = time.monotonic() - started
            what = f"not asked: {_short(outcome.refusal)}" if outcome.refusal else outcome.status
            last = said.get(name)
            if last is None or last[0] != what or now - last[1] >= 30:
                said[name] = (what, now)
                report(name, what, now)
        left = timeout - (time.monotonic() - started)
        if left <= 0 or all(outcome.over for outcome in outcomes.values()):
            return outcomes
        time.sleep(min(interval, left))


def _look(foundry: Foundry, name: str, version: str, outcome: Outcome) -> None:
    try:
        found = foundry.version(name, version)
    except FoundryError as error:
        outcome.refusal, outcome.seen = error, 0
        return
    status = str(found.get("status") or "active")  # a service that does not say it makes no sandbox
    outcome.seen = (outcome.seen + 1 if status == outcome.status else 1) if status in _ENDS else 0
    outcome.status, outcome.version, outcome.refusal = status, found, None


def _short(error: FoundryError) -> str:
    return " ".join(filter(None, [str(error.status or ""), error.code or error.message]))
