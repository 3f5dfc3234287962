"""The handbook of Northpeak Outfitters: a folder of markdown documents, and the runbooks among them.

Searching it is `agent_runtime.retrieval`'s work; this package says where the documents are and reads the runbooks.
"""

from support_desk.handbook.runbook_loader import HandbookError, Runbook, handbook_folder, load_runbooks

__all__ = ["HandbookError", "Runbook", "handbook_folder", "load_runbooks"]
