"""What a run has learned from its tools, and the arguments that follow from it.

A value that a tool returned is taken as it is; nothing is guessed. What does not follow is asked of the model.
"""

from typing import Any


def learn(facts: dict[str, Any], output: dict[str, Any]) -> dict[str, Any]:
    """The facts with what one tool's output adds: later outputs win over earlier ones."""
    learned = dict(facts)
    for part in (output.get("order"), output.get("customer"), output.get("case"), output):
        if isinstance(part, dict):
            learned |= {name: part[name] for name in ("order_id", "customer_id", "case_id", "email") if part.get(name)}
    draft = output.get("draft")
    if isinstance(draft, dict):
        learned |= {"draft_id": draft["draft_id"], "draft_subject": draft["subject"], "draft_body": draft["body"]}
    left = output.get("left_to_refund")
    if isinstance(left, dict):
        learned |= {"amount": left["amount"], "currency": left["currency"]}
    return learned


def for_tool(tool: str, facts: dict[str, Any]) -> dict[str, Any]:
    """The facts by the names of the tool's arguments. Whoever approves a reply is shown what it says."""
    if tool != "send_reply":
        return facts
    return facts | {"subject": facts.get("draft_subject"), "body": facts.get("draft_body")}


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
