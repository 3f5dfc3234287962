"""The offline model: deterministic answers by extraction, for running everything without a model service."""

from .model import NAME, CannotDo, OfflineModel

__all__ = ["NAME", "CannotDo", "OfflineModel"]
