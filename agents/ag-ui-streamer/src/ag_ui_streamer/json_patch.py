"""What changed between two JSON values, as a JSON Patch (RFC 6902): operations that are applied one after another."""

from typing import Any

JSON = Any
Operation = dict[str, Any]


def patch_between(before: JSON, after: JSON, path: str = "") -> list[Operation]:
    """The operations `add`, `remove` and `replace` that turn `before` into `after`; none where they are equal.

    Lists are compared place by place from the front: right for lists that grow at their end, and valid, only longer,
    for others.
    """
    if isinstance(before, dict) and isinstance(after, dict):
        return _objects(before, after, path)
    if isinstance(before, list) and isinstance(after, list):
        return _lists(before, after, path)
    # True == 1 in Python, and not in JSON.
    if type(before) is type(after) and before == after:
        return []
    return [{"op": "replace", "path": path, "value": after}]


def _objects(before: dict[str, JSON], after: dict[str, JSON], path: str) -> list[Operation]:
    operations = [{"op": "remove", "path": f"{path}/{_token(key)}"} for key in before if key not in after]
    for key, value in after.items():
        where = f"{path}/{_token(key)}"
        if key in before:
            operations += patch_between(before[key], value, where)
        else:
            operations.append({"op": "add", "path": where, "value": value})
    return operations


def _lists(before: list[JSON], after: list[JSON], path: str) -> list[Operation]:
    operations: list[Operation] = []
    for index, (old, new) in enumerate(zip(before, after, strict=False)):
        operations += patch_between(old, new, f"{path}/{index}")
    # From the end, so that no index moves under the next operation.
    operations += [{"op": "remove", "path": f"{path}/{index}"} for index in range(len(before) - 1, len(after) - 1, -1)]
    operations += [{"op": "add", "path": f"{path}/-", "value": value} for value in after[len(before) :]]
    return operations


def _token(key: str) -> str:
    """RFC 6901: `~` and `/` are written `~0` and `~1`."""
    return key.replace("~", "~0").replace("/", "~1")
