"""docs/troubleshooting.md and docs/migration.md: each row is complete, and each rule that is named exists."""

import re
from pathlib import Path

import pytest
import yaml
from repo_tools.doctor import cloud
from repo_tools.doctor.project import read_project
from repo_tools.doctor.rule import load_rules

DOCS = Path(__file__).parents[1] / "docs"
PAGES = ["troubleshooting.md", "migration.md"]
KNOWN = load_rules().keys() | set(re.findall(r'"(cloud-[a-z-]+)"', Path(cloud.__file__).read_text()))
each_page = pytest.mark.parametrize("page", PAGES)


def rows(page: str) -> list[list[str]]:
    """The cells of every table row but the heads."""
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for number, line in enumerate(lines)
        if line.startswith("| ") and lines[number + 1 : number + 2] != ["|---|---|---|---|"]
    ]


@each_page
def test_every_row_has_its_four_cells_filled(page: str) -> None:
    assert len(rows(page)) > 20
    assert [row for row in rows(page) if len(row) != 4 or not all(row)] == []


@each_page
def test_every_rule_that_is_named_exists(page: str) -> None:
    for row in rows(page):
        named = re.findall(r"`([a-z0-9-]+)`", row[3])
        assert set(named) <= KNOWN, row
        # A row that no rule finds says why.
        assert named or re.match(r"none: \w+", row[3]), row


def test_the_rules_of_the_parts_that_fail_first_are_all_explained() -> None:
    """What a version is refused for, or does not start by, has a row."""
    text = "\n".join((DOCS / page).read_text(encoding="utf-8") for page in PAGES)
    needed = {
        identity for identity in KNOWN if identity.startswith(("protocol-1", "protocol-v1", "adapter-", "isolation-"))
    }
    needed |= {identity for identity in KNOWN if identity.startswith("cloud-agent-p")}
    assert len(needed) > 4
    assert [identity for identity in sorted(needed) if f"`{identity}`" not in text] == []


@each_page
def test_a_link_leads_to_a_file(page: str) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (DOCS / page).read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (DOCS / link).exists()] == []


def test_the_example_after_the_migration_passes_the_doctor_and_the_one_before_does_not(tmp_path: Path) -> None:
    before, included, composed = re.findall(r"^```yaml\n(.*?)^```$", (DOCS / "migration.md").read_text(), re.M | re.S)
    rules = load_rules()
    folder = tmp_path / "agents/desk"
    folder.mkdir(parents=True)

    def found(composition: str, definition: str) -> set[str]:
        (tmp_path / "azure.yaml").write_text("name: one\n" + composition)
        (folder / "agent.yaml").write_text(definition)
        project = read_project(tmp_path)
        named = ("legacy-", "protocol-1", "protocol-v", "env-list", "ref-", "yaml-", "container-", "kind-", "name-")
        return {rule.id for rule in rules.values() if rule.id.startswith(named) and list(rule.check(project))}

    assert found(composed, included) == set()
    by_itself = re.sub(r"^ +(?:env|\$ref):.*\n", "", composed, flags=re.MULTILINE)
    assert found(by_itself, before) >= {"protocol-1-0", "legacy-agent-yaml", "legacy-resources", "env-list"}
    assert "legacy-snake-case" in found(composed, before)
    assert yaml.safe_load(included)["name"] == yaml.safe_load(before)["name"]
