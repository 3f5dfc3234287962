"""Texts that a step needs, proposed by code from the records, so that nothing in them is made up.

A model is shown them as `name: text` and may word them better. The offline model takes them as they are.
"""

from collections.abc import Mapping, Sequence
from typing import Any


def propose(tool: str, reason: str, records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """A text for each of the tool's arguments that code can write; each is one line."""
    if tool == "search_handbook":
        return {"query": plain_reason(tool, reason)}
    if tool == "draft_reply":
        done = {record["tool"]: record["output"] for record in records if record["status"] == "done"}
        order = done.get("lookup_order", {}).get("order", {}).get("order_id")
        return {"subject": f"Your order {order}" if order else "Your request", "body": _letter(done, records)}
    return {}


def plain_reason(tool: str, reason: str) -> str:
    """A step's reason without the tool's name, with which runbooks begin their items, and the word for its order."""
    return reason.removeprefix(tool).lstrip(" —-:").removeprefix("meanwhile, ")


def _letter(done: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> str:
    name = done.get("lookup_order", {}).get("customer", {}).get("name")
    said = [f"Hello {name}," if name else "Hello,", "thank you for writing to us."]
    if case := done.get("open_case", {}).get("case"):
        said.append(f"Your case number is {case['case_id']}.")
    if refund := done.get("issue_refund", {}).get("refund"):
        said.append(f"We have refunded {refund['amount']['amount']} {refund['amount']['currency']}.")
    if label := done.get("create_return_label", {}).get("label"):
        said.append(f"Your return label is with {label['carrier']}, tracking number {label['tracking_number']}.")
    if any(record["status"] != "done" for record in records):
        said.append("A colleague will write to you about what is still open.")
    return " ".join([*said, "Kind regards, Northpeak Outfitters"])
