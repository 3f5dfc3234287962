"""Measurements that print ratios against a baseline of the same run, because machines are noisy: `make bench`."""

from collections.abc import Callable

from repo_tools.benchmarks import conversations, deliveries, retrieval, runs, streams

BENCHMARKS: dict[str, Callable[[int | None], int]] = {
    "conversations": conversations.run,
    "retrieval": retrieval.run,
    "deliveries": deliveries.run,
    "runs": runs.run,
    "streams": streams.run,
}
"""By name; each takes a size, or None for its default, prints what it measured, and returns an exit code."""
