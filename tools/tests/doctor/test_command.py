"""The verb: what it prints, how it ends, what it repairs, and rules that a fork brings."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from repo_tools.__main__ import main
from repo_tools.doctor import cloud, page
from repo_tools.doctor.rule import load_rules
from repo_tools.repository import ROOT

from .projects import one_agent, write


def broken(folder: Path) -> Path:
    tree = one_agent()
    tree["agents/desk/agent.yaml"] = tree["agents/desk/agent.yaml"].replace("version: 2.0.0", "version: v1")
    return write(tree, folder)


def test_a_finding_says_where_why_and_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(broken(tmp_path))]) == 1
    finding, why, fix, summary = capsys.readouterr().out.splitlines()
    assert finding == "agents/desk/agent.yaml:6: error [protocol-v1] responses of desk has version 'v1'"
    assert why.startswith("    why: ")
    assert "Learn, concepts/hosted-agent-contract" in why
    assert fix.startswith("    fix: Write 2.0.0")
    assert fix.endswith("(--fix does it)")
    assert summary == f"doctor: 1 agents, {len(load_rules())} rules, 1 errors, 0 warnings"


def test_json_holds_the_same_for_a_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json", str(broken(tmp_path))]) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["agents"], document["errors"], document["warnings"]) == (1, 1, 0)
    (finding,) = document["findings"]
    assert (finding["rule"], finding["file"], finding["line"]) == ("protocol-v1", "agents/desk/agent.yaml", 6)
    assert finding["fixable"] is True
    assert finding["why"]
    assert finding["fix"]


def test_fix_repairs_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = broken(tmp_path)
    assert main(["doctor", "--fix", str(folder)]) == 0
    assert capsys.readouterr().out.endswith("0 errors, 0 warnings, 1 lines repaired\n")
    assert (folder / "agents/desk/agent.yaml").read_text() == one_agent()["agents/desk/agent.yaml"]
    assert main(["doctor", "--fix", "--json", str(folder)]) == 0
    assert json.loads(capsys.readouterr().out)["fixed"] == 0


def test_fix_writes_the_value_and_leaves_comments_line_ends_and_neighbours_alone(tmp_path: Path) -> None:
    folder = broken(tmp_path)
    definition = "kind: hosted\r\nname: desk\r\nprotocols: [{protocol: responses, version: v1}] # not v1, v1\r\n"
    (folder / "agents/desk/agent.yaml").write_bytes(definition.encode())
    azure = (folder / "azure.yaml").read_text()
    shared_line = azure.replace(
        "    env:\n      AZURE_AI_MODEL_DEPLOYMENT_NAME: chat\n      LOG_LEVEL: info\n",
        '    env: {PORT: "8088", LOG_LEVEL: info}\n    startupCommand: python -m desk\n',
    )
    (folder / "azure.yaml").write_text(shared_line)
    assert main(["doctor", "--fix", str(folder)]) == 1, "PORT shares its line, and is left to the author"
    fixed = definition.replace("version: v1}", "version: 2.0.0}")
    assert (folder / "agents/desk/agent.yaml").read_bytes() == fixed.encode()
    assert (folder / "azure.yaml").read_text() == shared_line


def test_fix_writes_nothing_outside_of_the_project(tmp_path: Path) -> None:
    tree = one_agent()
    tree["azure.yaml"] = tree["azure.yaml"].replace("./agents/desk/agent.yaml", "../elsewhere.yaml")
    definition = tree.pop("agents/desk/agent.yaml").replace("version: 2.0.0", "version: v1")
    folder = write(tree, tmp_path / "project")
    (tmp_path / "elsewhere.yaml").write_text(definition)
    assert main(["doctor", "--fix", str(folder)]) == 1
    assert (tmp_path / "elsewhere.yaml").read_text() == definition


def test_fix_changes_nothing_where_nothing_is_wrong(tmp_path: Path) -> None:
    tree = one_agent()
    write(tree, tmp_path)
    assert main(["doctor", "--fix", str(tmp_path)]) == 0
    assert {name: (tmp_path / name).read_text() for name in tree} == tree


def test_warnings_fail_only_when_asked(tmp_path: Path) -> None:
    tree = one_agent()
    tree["agents/desk/Dockerfile"] = tree["agents/desk/Dockerfile"].replace("USER app\n", "")
    folder = str(write(tree, tmp_path))
    assert main(["doctor", folder]) == 0
    assert main(["doctor", folder, "--strict"]) == 1
    assert main(["doctor", folder, "--strict", "--rule", "lock-drift"]) == 0


@pytest.mark.parametrize(
    "comment",
    [
        "USER root # doctor: allow docker-user the base image wants it",
        "# doctor: allow docker-user the base image wants it\nUSER root",
    ],
)
def test_a_finding_is_allowed_with_a_reason_where_it_stands(comment: str, tmp_path: Path) -> None:
    tree = one_agent()
    tree["agents/desk/Dockerfile"] += comment + "\n"
    folder = str(write(tree, tmp_path))
    assert main(["doctor", folder, "--strict"]) == 0


def test_a_finding_is_not_allowed_without_a_reason(tmp_path: Path) -> None:
    tree = one_agent()
    tree["agents/desk/Dockerfile"] += "# doctor: allow docker-user\nUSER root\n"
    assert main(["doctor", str(write(tree, tmp_path)), "--strict"]) == 1


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({}, "neither an azure.yaml nor an agent.yaml"),
        (
            {"azure.yaml": "name: web\nservices:\n  web: {host: containerapp, project: .}\n"},
            "no service with `host: azure.ai.agent`",
        ),
    ],
)
def test_a_folder_without_agents_is_refused(
    tree: dict[str, str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", str(write(tree, tmp_path))]) == 2
    assert said in capsys.readouterr().err


def test_a_folder_that_is_not_there_and_an_unknown_rule_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", str(tmp_path / "nowhere")]) == 2
    assert "is not a folder" in capsys.readouterr().err
    assert main(["doctor", "--rule", "no-such-rule"]) == 2
    assert "no rule is called no-such-rule" in capsys.readouterr().err


def test_an_azure_yaml_that_cannot_be_read_is_a_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write({"azure.yaml": "name: x\nservices:\n  a: [\n"}, tmp_path)
    assert main(["doctor", str(tmp_path)]) == 1
    assert re.search(r"^azure.yaml:\d: error \[yaml-syntax\]", capsys.readouterr().out)


def test_a_project_of_the_initial_preview_is_read_without_azure_yaml(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    definition = "name: old\ntemplate:\n  kind: hosted\n  name: old\n  protocols:\n    - protocol: responses\n      version: v1\n"
    files = {"agent.yaml": definition, "Dockerfile": "FROM python:3.13\nCMD python main.py\n"}
    write(files | {"requirements.txt": "azure-ai-agentserver-langgraph\n", "main.py": "app.run()\n"}, tmp_path)
    assert main(["doctor", "--json", str(tmp_path)]) == 1
    found = {each["rule"] for each in json.loads(capsys.readouterr().out)["findings"]}
    assert {"legacy-template", "protocol-v1", "adapter-package", "docker-command-shell", "lock-missing"} <= found


OWN_RULE = re.search(r"```python\n(.*?)```", page._INTRODUCTION, re.DOTALL)


def test_the_rule_in_the_documentation_works_from_a_file(tmp_path: Path) -> None:
    """In a process of its own: rules are registered for good."""
    assert OWN_RULE
    rules = tmp_path / "my_rules.py"
    rules.write_text(OWN_RULE[1])
    folder = write(one_agent(), tmp_path / "project")
    command = [sys.executable, "-m", "repo_tools", "doctor", str(folder), "--rules", str(rules)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert "[team-label] desk has no team" in done.stdout
    assert "why: The on-call list is made from it." in done.stdout
    assert done.returncode == 1
    rules.write_text("import no_such_module\n")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (
        2,
        "doctor: the rules cannot be loaded: No module named 'no_such_module'\n",
    )


def test_nothing_of_the_examined_project_is_executed(tmp_path: Path) -> None:
    tree = one_agent()
    harm = f"import pathlib\npathlib.Path({str(tmp_path / 'harm')!r}).touch()\n"
    tree |= {"doctor_rules.py": harm, "conftest.py": harm, "agents/desk/src/desk/__init__.py": harm}
    tree["agents/desk/agent.yaml"] += "metadata:\n  x: !!python/object/apply:os.system ['touch harm']\n"
    main(["doctor", str(write(tree, tmp_path / "project"))])
    assert not list(tmp_path.rglob("harm"))


def test_the_page_of_the_rules_is_the_one_in_the_documentation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--table"]) == 0
    assert capsys.readouterr().out == (ROOT / "docs/doctor.md").read_text(encoding="utf-8"), (
        "write it again: .venv/bin/python -m repo_tools doctor --table > docs/doctor.md"
    )


def test_the_list_names_every_rule(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [*load_rules(), *cloud.CHECKS]


def test_every_rule_gives_a_reason_with_a_source_and_a_fix() -> None:
    source = re.compile(
        r"Azure/azure-dev|Learn|#\d{4}|PyPI|azure-ai-|azure\.ai\.agents|https://|Docker|pip\b|YAML|packaging|azd writes|REST, Microsoft"
    )
    for rule in (*load_rules().values(), *(check for check, _ in cloud.CHECKS.values())):
        assert source.search(rule.why), f"{rule.id}: {rule.why}"
        assert rule.fix.endswith((".", "`")), rule.id
        assert rule.title, rule.id
