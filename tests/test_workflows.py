"""The workflows below .github/: least permissions, no secret in reach of a log, and nothing named that is not there."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = {path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.yml"))}
DEPENDABOT = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text(encoding="utf-8"))
each_workflow = pytest.mark.parametrize("name", sorted(WORKFLOWS))


def jobs(name: str) -> dict[str, dict[str, Any]]:
    found = WORKFLOWS[name]["jobs"]
    assert isinstance(found, dict)
    return found


def steps(name: str) -> Iterator[dict[str, Any]]:
    for job in jobs(name).values():
        yield from job["steps"]


def scripts(name: str) -> list[str]:
    return [step["run"] for step in steps(name) if "run" in step]


def triggers(name: str) -> dict[str, Any]:
    # YAML 1.1 reads the key `on` as true.
    found = WORKFLOWS[name].get("on", WORKFLOWS[name].get(True))
    return found if isinstance(found, dict) else dict.fromkeys(found or ())


def test_there_is_one_workflow_for_changes_and_one_for_deployment() -> None:
    assert sorted(WORKFLOWS) == ["ci.yml", "deploy.yml"]


@each_workflow
def test_permissions_are_none_but_for_what_a_job_names(name: str) -> None:
    assert WORKFLOWS[name]["permissions"] == {}
    for key, job in jobs(name).items():
        allowed = {"contents": "read"} | ({"id-token": "write"} if "environment" in job else {})
        assert job["permissions"].items() <= allowed.items(), f"{name}: {key}"


@each_workflow
def test_a_job_ends_and_runs_on_a_named_image(name: str) -> None:
    for key, job in jobs(name).items():
        assert 1 <= job["timeout-minutes"] <= 90, key
        assert re.fullmatch(r"ubuntu-\d\d\.\d\d", job["runs-on"]), key


@each_workflow
def test_no_stranger_s_pull_request_runs_with_rights(name: str) -> None:
    assert not {"pull_request_target", "workflow_run", "issue_comment"} & triggers(name).keys()


@each_workflow
def test_no_secret_is_stored_or_can_be_echoed(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert "secrets." not in text
    for script in scripts(name):
        assert not re.search(
            r"\b(?:set -x|printenv|env\s*$|azd env get-values|azd auth token|get-access-token)", script
        )


@each_workflow
def test_a_script_reads_values_from_its_environment_alone(name: str) -> None:
    """`${{ … }}` in a script is pasted into it before the shell reads it: what a branch is called could be a command."""
    assert [script for script in scripts(name) if "${{" in script] == []


@each_workflow
def test_a_script_is_valid_bash(name: str) -> None:
    for script in scripts(name):
        done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@each_workflow
def test_an_action_is_named_by_a_release_or_a_commit(name: str) -> None:
    used = [step["uses"] for step in steps(name) if "uses" in step]
    assert used
    assert [use for use in used if not re.fullmatch(r"[\w.-]+/[\w./-]+@(?:v\d+(?:\.\d+)*|[0-9a-f]{40})", use)] == []


@each_workflow
def test_a_checkout_leaves_no_token_behind(name: str) -> None:
    checkouts = [step for step in steps(name) if step.get("uses", "").startswith("actions/checkout@")]
    assert len(checkouts) == len(jobs(name))
    assert [step for step in checkouts if step["with"]["persist-credentials"] is not False] == []


@each_workflow
def test_every_verb_of_make_exists_and_takes_what_it_is_given(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    verbs = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    used = [found for script in scripts(name) for found in re.findall(r"\bmake ([a-z-]+)((?: [A-Z]+=\S+)*)", script)]
    assert used
    for verb, given in used:
        assert verb in verbs
        recipe = re.findall(rf"^{verb}:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)[0]
        assert [each for each in re.findall(r"([A-Z]+)=", given) if f"$({each})" not in recipe] == [], verb


def test_what_ci_run_runs_the_workflow_runs_too() -> None:
    here = set(re.findall(r"^make ([a-z-]+)", (ROOT / ".ci/run").read_text(encoding="utf-8"), re.MULTILINE))
    there = {verb for script in scripts("ci.yml") for verb in re.findall(r"\bmake ([a-z-]+)", script)}
    assert here
    assert here <= there


def test_the_pythons_are_the_oldest_that_is_allowed_and_the_one_of_the_images() -> None:
    allowed = {
        tomllib.loads(path.read_text(encoding="utf-8"))["project"]["requires-python"]
        for pattern in ("shared/*", "tools", "agents/*")
        for path in ROOT.glob(f"{pattern}/pyproject.toml")
    }
    [oldest] = {each.removeprefix(">=") for each in allowed}
    bases = [
        re.findall(r"^FROM python:(\d+\.\d+)", path.read_text(), re.MULTILINE)
        for path in ROOT.glob("agents/*/Dockerfile")
    ]
    [image] = {version for found in bases for version in found}
    assert jobs("ci.yml")["test"]["strategy"]["matrix"]["python"] == [oldest, image]
    for name in WORKFLOWS:
        named = {step["with"]["python-version"] for step in steps(name) if "setup-python" in step.get("uses", "")}
        assert named <= {oldest, image, "${{ matrix.python }}"}
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["python_version"] == oldest


def test_only_a_person_deploys_and_only_through_an_environment() -> None:
    assert triggers("deploy.yml").keys() == {"workflow_dispatch"}
    [job] = jobs("deploy.yml").values()
    assert job["environment"] == "${{ inputs.environment }}"
    logins = [script for script in scripts("deploy.yml") if "azd auth login" in script]
    assert all("--federated-credential-provider github" in script for script in logins)
    assert len(logins) == 1
    assert not any(word in script for script in scripts("deploy.yml") for word in ("--client-secret", "--password"))


def test_the_variables_that_a_deployment_checks_are_those_it_takes() -> None:
    [job] = jobs("deploy.yml").values()
    text = (FOLDER / "deploy.yml").read_text(encoding="utf-8")
    taken = set(re.findall(r"\$\{\{ vars\.(\w+) \}\}", text))
    assert taken == job["env"].keys()
    [check] = [script for script in scripts("deploy.yml") if "::error::" in script]
    assert set(re.findall(r"\bAZURE_\w+", check)) == taken
    for name in taken:
        assert f"`{name}`" in (ROOT / "docs/workflows.md").read_text(encoding="utf-8")


def test_a_deployment_checks_the_variables_before_anything_else() -> None:
    [check] = [script for script in scripts("deploy.yml") if "::error::" in script]
    for given, code in (
        ({"AZURE_CLIENT_ID": "1"}, 1),
        ({}, 1),
        (dict.fromkeys(re.findall(r"AZURE_\w+", check), "1"), 0),
    ):
        done = subprocess.run(
            ["bash", "-e"],
            input=check,
            env={"PATH": "/usr/bin:/bin"} | given,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code
        assert ("AZURE_TENANT_ID" in done.stdout) == bool(code)
        assert "AZURE_CLIENT_ID" not in done.stdout or not given


def test_a_deployment_sets_the_switches_that_the_environment_has_and_no_other_variable(tmp_path: Path) -> None:
    [script] = [script for script in scripts("deploy.yml") if "main.parameters.json" in script]
    azd = tmp_path / "azd"
    azd.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/said\n')
    azd.chmod(0o755)
    (tmp_path / "python").symlink_to(sys.executable)
    variables = {"ENABLE_ALERTS": "true", "ALERT_EMAIL": "desk@example.com; echo no", "SOMETHING_ELSE": "1"}
    done = subprocess.run(
        ["bash", "-e"],
        input=script,
        cwd=ROOT,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "VARIABLES": json.dumps(variables)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "said").read_text().splitlines() == [
        "env set ALERT_EMAIL desk@example.com; echo no",
        "env set ENABLE_ALERTS true",
    ]


def test_every_bicep_file_is_built_and_linted_and_the_infrastructure_is_checked() -> None:
    steps_of_it = jobs("ci.yml")["infrastructure"]["steps"]
    [script] = [step["run"] for step in steps_of_it if "run" in step]
    assert {"az bicep build", "az bicep lint"} <= set(re.findall(r"az bicep (?:build|lint)(?= --file)", script))
    assert any("checkov-action" in step.get("uses", "") for step in steps_of_it)
    checked = yaml.safe_load((ROOT / ".checkov.yaml").read_text(encoding="utf-8"))
    assert "bicep" in checked["framework"]
    assert not any("infra".startswith(path) for path in checked["skip-path"])
    for path in ROOT.glob("infra/**/*.bicep"):
        for reason in re.findall(r"checkov:skip=\w+(.*)", path.read_text(encoding="utf-8")):
            assert re.match(r":\w+ .*\w", reason), path


def covered(ecosystem: str) -> set[Path]:
    found: set[Path] = set()
    for entry in DEPENDABOT["updates"]:
        if entry["package-ecosystem"] == ecosystem:
            for place in entry.get("directories", [entry.get("directory")]):
                inside = place.strip("/")
                found |= {path for path in (ROOT.glob(inside) if inside else [ROOT]) if path.is_dir()}
    return found


def test_dependabot_looks_at_every_folder_that_has_dependencies() -> None:
    def holding(*patterns: str) -> set[Path]:
        ignored = {"node_modules", ".venv", "dist"}
        found = [path for pattern in patterns for path in ROOT.glob(pattern)]
        return {path.parent for path in found if not ignored & set(path.relative_to(ROOT).parts)}

    assert holding("pyproject.toml", "tools/pyproject.toml", "*/*/pyproject.toml") <= covered("pip")
    assert holding("agents/*/Dockerfile") <= covered("docker")
    assert holding("agents/*/tests/*/package.json") <= covered("npm")
    assert covered("github-actions") == {ROOT}
    assert {entry["package-ecosystem"] for entry in DEPENDABOT["updates"]} == {"pip", "docker", "npm", "github-actions"}
    assert all(entry["schedule"]["interval"] for entry in DEPENDABOT["updates"])
