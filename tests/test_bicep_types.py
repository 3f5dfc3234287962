"""Each resource of the Bicep files against the types that the compiler uses: version, properties, and listed values.

The types are looked for in the folder that `BICEP_TYPES` names (`generated/` of Azure/bicep-types-az); without it the check is
reported as skipped. The workflow has the compiler itself.
"""

import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tree_sitter_bicep
from tree_sitter import Language, Node, Parser

FILES = sorted((Path(__file__).parents[1] / "infra").rglob("*.bicep"))
NEEDED, READ_ONLY = 1, 2  # Azure/bicep-types, ObjectTypePropertyFlags
OF_BICEP = {"parent", "scope", "dependsOn"}

Types = list[dict[str, Any]]


def text(node: Node) -> str:
    assert node.text is not None
    return node.text.decode()


def resources(source: bytes) -> Iterator[tuple[str, Node]]:
    """The type with its version, and the object, of each resource that is made."""
    ahead = [Parser(Language(tree_sitter_bicep.language())).parse(source).root_node]
    while ahead:
        node = ahead.pop()
        ahead += node.children
        if node.type == "resource_declaration" and " existing " not in text(node).partition("{")[0]:
            yield text(node.named_children[1]).strip("'"), next(objects(node))


def objects(node: Node) -> Iterator[Node]:
    if node.type == "object":
        yield node
    for child in node.children:
        yield from objects(child)


@cache
def read(path: Path) -> Types:
    found: Types = json.loads(path.read_text(encoding="utf-8"))
    return found


def type_of(folder: Path, name: str) -> tuple[Types, dict[str, Any]] | None:
    provider, version = name.partition("/")[0].lower(), name.partition("@")[2]
    for path in folder.glob(f"*/{provider}/{version}/types.json"):
        for each in read(path):
            if each["$type"] == "ResourceType" and each["name"].lower() == name.lower():
                return read(path), each
    return None


def problems(types: Types, wanted: dict[str, Any], node: Node, where: str) -> Iterator[str]:
    def of(reference: dict[str, str]) -> dict[str, Any]:
        return types[int(reference["$ref"].rpartition("/")[2])]

    kind = wanted["$type"]
    if kind == "ResourceType":
        yield from problems(types, of(wanted["body"]), node, where)
    elif kind == "ArrayType" and node.type == "array":
        for each in node.named_children:
            yield from problems(types, of(wanted["itemType"]), each, f"{where}[]")
    elif kind == "UnionType" and node.type == "string" and "${" not in text(node):
        choices = [of(each) for each in wanted["elements"]]
        if text(node).strip("'") not in [each.get("value") for each in choices]:
            yield f"{where}: {text(node)} is not listed"
    elif kind in ("ObjectType", "DiscriminatedObjectType") and node.type == "object":
        pairs = [each.named_children for each in node.named_children if each.type == "object_property"]
        given = {text(key).strip("'"): value for key, value in pairs}
        known = dict(wanted.get("properties") or wanted.get("baseProperties") or {})
        if kind == "DiscriminatedObjectType":
            chosen = text(given[wanted["discriminator"]]).strip("'")
            known |= of(wanted["elements"][chosen])["properties"]
        for name, rule in known.items():
            if rule["flags"] & NEEDED and not rule["flags"] & READ_ONLY and name not in given:
                yield f"{where}: {name} is missing"
            if rule["flags"] & READ_ONLY and name in given:
                yield f"{where}: {name} is read-only"
        for name, value in given.items():
            if name in known:
                yield from problems(types, of(known[name]["type"]), value, f"{where}.{name}")
            elif name not in OF_BICEP and not wanted.get("additionalProperties"):
                yield f"{where}: {name} is unknown"


def found_in(source: bytes, folder: Path) -> list[str]:
    found = []
    for name, node in resources(source):
        known = type_of(folder, name)
        found += list(problems(*known, node, name)) if known else [f"{name}: no such type or version"]
    return found


@pytest.fixture
def folder() -> Path:
    if not (named := os.environ.get("BICEP_TYPES")):
        pytest.skip("needs BICEP_TYPES: the folder generated/ of Azure/bicep-types-az")
    return Path(named)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_resource_is_of_its_published_type(path: Path, folder: Path) -> None:
    assert found_in(path.read_bytes(), folder) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (b"2024-11-01", b"2024-11-02", "no such type"),
        (b"family: 'A'", b"family: 'B'", "is not listed"),
        (b"    enableSoftDelete: true\n", b"    enableSoftDeletes: true\n", "is unknown"),
        (b"    tenantId: tenant().tenantId\n", b"", "tenantId is missing"),
    ],
)
def test_what_the_compiler_would_refuse_is_found(old: bytes, new: bytes, problem: str, folder: Path) -> None:
    [path] = [each for each in FILES if each.stem == "key_vault"]
    changed = path.read_bytes().replace(old, new)
    assert changed != path.read_bytes()
    assert any(problem in each for each in found_in(changed, folder))
