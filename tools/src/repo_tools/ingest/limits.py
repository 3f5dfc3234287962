"""What one file may take. A module without imports of ours, so that the command line can show it at no cost."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    megabytes: float = 50.0
    seconds: float = 60.0
    memory_megabytes: int = 1024
