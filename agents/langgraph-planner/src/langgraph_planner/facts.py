"""What a run has learned from its tools, and the arguments that follow from it.

A value that a tool returned is taken as it is; nothing is guessed. What does not follow is asked of the model.
"""

from collections.abc import Mapping
from typing import Any

_OF_THE_RUN = ("orders", "last_case_id")


def learn(facts: dict[str, Any], output: dict[str, Any], order_id: str | None = None) -> dict[str, Any]:
    """The facts with what one tool's output adds: later outputs win over earlier ones.

    They are about one order, the one that was last spoken of. What was learned about others is kept under `orders`,
    because the amount of one order must not end in the refund of another. `order_id` is the order of the tool's call.
    """
    found = _said(output)
    order = order_id or found.get("order_id") or facts.get("order_id")
    learned = about(facts, order) | found
    if "case_id" in found:
        learned["last_case_id"] = found["case_id"]
    if order is None:
        return learned
    learned["order_id"] = order
    here = {name: value for name, value in learned.items() if name not in _OF_THE_RUN}
    return learned | {"orders": facts.get("orders", {}) | {order: here}}


def about(facts: dict[str, Any], order_id: str | None) -> dict[str, Any]:
    """The facts without what belongs to other orders than this one; None is the order that was last spoken of."""
    if order_id is None or facts.get("order_id") in (None, order_id):
        return dict(facts)
    of_the_run = {name: facts[name] for name in _OF_THE_RUN if name in facts}
    of_the_order: dict[str, Any] = facts.get("orders", {}).get(order_id, {})
    return of_the_run | of_the_order


def for_tool(tool: str, facts: dict[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The facts by the names of the tool's arguments, beside those that are given. Whoever approves the reply that was
    drafted is shown what it says, to edit it; the text of one draft is never that of another."""
    if tool == "update_case":
        return {"case_id": facts.get("last_case_id")} | facts
    if tool != "send_reply" or arguments.get("draft_id") not in (None, facts.get("draft_id")):
        return facts
    return facts | {"subject": facts.get("draft_subject"), "body": facts.get("draft_body")}


def _said(output: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in (output.get("order"), output.get("customer"), output.get("case"), output):
        if isinstance(part, dict):
            found |= {name: part[name] for name in ("order_id", "customer_id", "case_id", "email") if part.get(name)}
    draft = output.get("draft")
    if isinstance(draft, dict):
        found |= {"draft_id": draft["draft_id"], "draft_subject": draft["subject"], "draft_body": draft["body"]}
    left = output.get("left_to_refund")
    if isinstance(left, dict):
        found |= {"amount": left["amount"], "currency": left["currency"]}
    return found


def complete(arguments: dict[str, Any], parameters: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """The arguments with every null that a fact of the same name fills."""
    names = parameters["properties"]
    return {name: arguments[name] if arguments.get(name) is not None else facts.get(name) for name in names}


def missing(arguments: dict[str, Any], parameters: dict[str, Any]) -> list[str]:
    """The arguments that are null and must not be."""
    return [
        name
        for name, schema in parameters["properties"].items()
        if arguments.get(name) is None and {"type": "null"} not in schema.get("anyOf", [])
    ]
