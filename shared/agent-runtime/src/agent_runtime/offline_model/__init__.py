"""The offline model: deterministic answers by extraction, for running everything without a model service."""

from .cannot_do import CannotDo
from .model import NAME, OfflineModel

__all__ = ["NAME", "CannotDo", "OfflineModel"]
