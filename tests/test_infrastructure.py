"""The Bicep layer: it parses, its parts fit each other, azure.yaml, the postdeploy hook and the documentation.

No Bicep compiler is needed: tree-sitter reads the files, and what a compiler would refuse first (unknown parameters, missing
modules and outputs) is looked for here. `bicep build`, `bicep lint` and checkov run in the workflow.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tree_sitter_bicep
import yaml
from repo_tools.agent_roles import needs
from tree_sitter import Language, Node, Parser

ROOT = Path(__file__).parents[1]
LAYER = ROOT / "infra/resources"
FILES = sorted(ROOT.glob("infra/**/*.bicep"))
MAIN = LAYER / "main.bicep"
PARAMETERS = json.loads((LAYER / "main.parameters.json").read_text(encoding="utf-8"))["parameters"]
# An ejected project has the part about the infrastructure in a file of its own.
PAGE = next(path for path in (ROOT / "docs/deploy.md", ROOT / "infra/README.md") if path.is_file())
# What azd puts into every environment, or the layer before writes there.
OF_AZD = {"AZURE_ENV_NAME", "AZURE_LOCATION", "AZURE_PRINCIPAL_ID", "AZURE_PRINCIPAL_TYPE", "AZURE_AI_PROJECT_ID"}
ARM_WITHOUT_TAGS = ("roleAssignments", "diagnosticSettings", "connections")

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def tree(text: bytes) -> Node:
    return Parser(Language(tree_sitter_bicep.language())).parse(text).root_node


def walk(node: Node, kind: str) -> Iterator[Node]:
    if node.type == kind:
        yield node
    for child in node.children:
        yield from walk(child, kind)


def text(node: Node) -> str:
    assert node.text is not None
    return node.text.decode()


def unquoted(node: Node) -> str:
    return text(node).strip("'")


def declared(path: Path, kind: str) -> dict[str, Node]:
    """Declarations of a kind (parameter, output, resource, module, variable) by name."""
    return {text(next(walk(each, "identifier"))): each for each in walk(tree(path.read_bytes()), f"{kind}_declaration")}


def properties(node: Node) -> dict[str, Node]:
    """The properties of the first object in a declaration."""
    found = next(walk(node, "object"))
    pairs = [each.named_children for each in found.named_children if each.type == "object_property"]
    return {text(key): value for key, value in pairs}


def default_of(parameter: Node) -> str | None:
    value = parameter.named_children[2:]
    return unquoted(value[0]) if value else None


def calls() -> list[tuple[str, Path, dict[str, Node]]]:
    """The modules that main.bicep uses: symbol, file, and the properties of the call."""
    return [
        (name, LAYER / unquoted(node.named_children[1]), properties(node))
        for name, node in declared(MAIN, "module").items()
    ]


@each_file
def test_a_bicep_file_has_no_syntax_error(path: Path) -> None:
    assert not tree(path.read_bytes()).has_error
    assert tree(path.read_bytes() + b"\nresource x 'a@1' = {").has_error


@each_file
def test_every_parameter_and_variable_is_used(path: Path) -> None:
    used = [text(node) for node in walk(tree(path.read_bytes()), "identifier")]
    used += re.findall(r"\$\{(\w+)", path.read_text(encoding="utf-8"))
    for kind in ("parameter", "variable"):
        assert [name for name in declared(path, kind) if used.count(name) < 2] == []


def test_each_module_is_there_is_used_and_gets_the_parameters_that_it_declares() -> None:
    assert {path for _, path, _ in calls()} == {path for path in FILES if path != MAIN}
    for name, path, call in calls():
        given = {text(node.named_children[0]) for node in call["params"].named_children}
        accepted = declared(path, "parameter")
        assert given <= accepted.keys(), name
        assert {key for key, node in accepted.items() if default_of(node) is None} <= given, name


def test_each_output_that_is_read_exists() -> None:
    has = {name: declared(path, "output") for name, path, _ in calls()}
    read = re.findall(r"\b(\w+)!?\.outputs\.(\w+)", MAIN.read_text(encoding="utf-8"))
    assert len(read) > 8
    assert [each for each in read if each[1] not in has[each[0]]] == []


@each_file
def test_each_text_that_is_loaded_is_there(path: Path) -> None:
    for name in re.findall(r"loadTextContent\('([^']+)'\)", path.read_text(encoding="utf-8")):
        assert (path.parent / name).is_file()


def test_each_parameter_has_one_azd_variable_with_the_same_default() -> None:
    parameters = declared(MAIN, "parameter")
    assert PARAMETERS.keys() == parameters.keys()
    for name, node in parameters.items():
        value = PARAMETERS[name]["value"]
        found = re.fullmatch(r"\$\{([A-Z_]+)(?:=(.*))?\}", value)
        assert found, value
        if default_of(node) is not None:
            assert (found[2] or "") == default_of(node), name


def switches() -> dict[str, str]:
    """The azd variables that a person sets, with their defaults."""
    found = [re.fullmatch(r"\$\{([A-Z_]+)(?:=(.*))?\}", each["value"]) for each in PARAMETERS.values()]
    return {each[1]: each[2] or "" for each in found if each and each[1] not in OF_AZD}


def test_the_documentation_lists_the_switches_and_their_defaults_and_no_other() -> None:
    page = PAGE.read_text(encoding="utf-8")
    [table] = re.findall(r"^\| `azd env set` \|.*\n\|[-|]+\n((?:\|.*\n)+)", page, re.MULTILINE)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert {row[0].strip("`"): row[1].strip("`") for row in rows} == switches()
    assert len(rows) == len({row[0] for row in rows})


def test_the_hook_s_variables_are_outputs_and_so_are_those_the_documentation_names() -> None:
    outputs = declared(MAIN, "output").keys()
    scopes = {need.scope for each in (needs.EVERY_AGENT, *needs.NEEDS.values()) for need in each}
    assert scopes
    assert scopes <= outputs
    for name in outputs - scopes:
        assert f"{name}" in PAGE.read_text(encoding="utf-8")


def test_azure_yaml_has_azd_s_foundry_layer_first_and_this_one_after_it() -> None:
    azure: dict[str, Any] = yaml.safe_load((ROOT / "azure.yaml").read_text(encoding="utf-8"))
    foundry, resources = azure["infra"]["layers"]
    assert foundry["provider"] == "microsoft.foundry"
    assert not (ROOT / foundry["path"]).exists(), "with files there azd would use them instead of its own"
    assert resources["provider"] == "bicep"
    assert (ROOT / resources["path"]).resolve() == LAYER
    assert resources["dependsOn"] == [foundry["name"]]


@each_file
def test_a_role_is_named_by_an_id_whose_source_is_beside_it(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    ids = re.findall(r"'([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})'", source)
    used = len(re.findall(r"^resource \w+ 'Microsoft\.Authorization/roleAssignments", source, re.MULTILINE))
    assert bool(ids) == bool(used)
    assert not ids or "https://learn.microsoft.com/azure/role-based-access-control/built-in-roles/" in source
    known = {
        role.id: role.name
        for role in (needs.MONITORING_METRICS_PUBLISHER, needs.KEY_VAULT_SECRETS_USER, needs.SEARCH_INDEX_DATA_READER)
    }
    for each in ids:
        before = source[: source.index(each)]
        assert known.get(each, "") in before


@each_file
def test_every_resource_is_tagged_and_named_by_the_environment_and_takes_no_key(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert not re.search(r"listKeys|listAdminKeys|listQueryKeys|ApiKey|@secure", source)
    for name, node in declared(path, "resource").items():
        if " existing = {" in text(node):
            continue
        kind = unquoted(node.named_children[1]).partition("@")[0]
        found = properties(node)
        if not kind.endswith(ARM_WITHOUT_TAGS):
            assert text(found["tags"]) == "tags", name
            assert re.search(r"resourceToken|guid\(resourceGroup\(\)\.id|environmentName", text(found["name"])), name
        for kind_with_keys, switch in (("/components", "DisableLocalAuth"), ("/searchServices", "disableLocalAuth")):
            if kind.endswith(kind_with_keys):
                assert f"{switch}: true" in text(node)
        if kind.endswith("/vaults"):
            for switch in ("enableRbacAuthorization", "enablePurgeProtection", "enableSoftDelete"):
                assert f"{switch}: true" in text(node)


def test_with_the_defaults_only_what_costs_nothing_while_idle_is_made() -> None:
    on = {name for name, value in switches().items() if value == "true"}
    assert on == {"ENABLE_MONITORING"}
    conditions = {name: text(node).partition("{")[0] for name, node in declared(MAIN, "module").items()}
    for name, switch in {
        "monitoring": "enableMonitoring",
        "alerts": "enableMonitoring && enableAlerts",
        "keyVault": "enableKeyVault",
        "search": "enableSearch",
        "searchConnection": "enableSearch",
    }.items():
        assert conditions[name].rstrip().endswith(f"= if ({switch})")
