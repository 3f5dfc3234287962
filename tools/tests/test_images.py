"""make images: which engine builds, with which command, and what the bill of materials lists."""

import json
import re
import stat
import subprocess
import sys
from importlib.metadata import distributions
from importlib.resources import files
from pathlib import Path

import pytest
from jsonschema import Draft7Validator
from packaging.utils import canonicalize_name
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7
from repo_tools import images, sbom
from repo_tools.repository import ROOT, Agent, agents

AGENTS = agents()


def install(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH but for the system's own programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "cat", "git"):
        found = subprocess.run(["sh", "-c", f"command -v {name}"], capture_output=True, text=True, check=True)
        (folder / name).symlink_to(found.stdout.strip())
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_a_docker_without_its_daemon_is_passed_over_with_the_reason(programs: Path) -> None:
    install(programs, "docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    install(programs, "buildah", "exit 0")
    engine, problems = images.find_engine()
    assert engine
    assert engine.name == "buildah"
    assert problems == [
        "docker does not work: Cannot connect to the Docker daemon",
        "podman is not installed",
    ]


def test_an_old_docker_that_ends_with_0_without_its_daemon_is_passed_over_too(programs: Path) -> None:
    install(programs, "docker", "echo 'ERROR: Cannot connect to the Docker daemon'")
    assert images.find_engine()[0] is None


def test_where_nothing_can_build_the_bills_are_written_and_the_reasons_are_said(
    programs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert images.run(AGENTS[:1], output=tmp_path / "out") == 2
    assert (tmp_path / "out" / f"{AGENTS[0].name}.cdx.json").is_file()
    told = capsys.readouterr().err
    assert [line for line in told.splitlines() if "is not installed" in line] == [
        f"images: {name} is not installed" for name in ("docker", "podman", "buildah")
    ]
    assert "skipped" not in told
    assert images.run(AGENTS[:1], output=tmp_path / "out", try_each=True) == 2
    assert f"images: skipped: the trials of {AGENTS[0].name}" in capsys.readouterr().err
    assert programs.is_dir()


@pytest.mark.parametrize("engine", ["docker", "podman", "buildah"])
def test_an_image_is_built_from_the_root_for_the_platform_of_the_sandboxes(
    engine: str, programs: Path, tmp_path: Path
) -> None:
    install(programs, engine, f'[ "$1" = info ] || {{ echo "$@" >> {tmp_path}/calls; pwd >> {tmp_path}/places; }}')
    agent = AGENTS[0]
    assert images.run([agent], engine=engine, output=tmp_path / "out") == 0
    build = (tmp_path / "calls").read_text().splitlines()[0]
    assert (tmp_path / "places").read_text().splitlines()[0] == str(ROOT)
    assert re.fullmatch(
        r"build (--format docker )?--platform linux/amd64 --build-arg REVISION=(unknown|[0-9a-f]{40}(-dirty)?) "
        rf"--build-arg VERSION=0\.1\.0 --file agents/{agent.name}/Dockerfile --tag hosted-agents/{agent.name}:0\.1\.0 \.",
        build,
    )
    assert ("--format docker" in build) == (engine != "docker")  # else the image has no HEALTHCHECK


def test_a_build_that_fails_ends_it(programs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(programs, "podman", '[ "$1" = info ]')
    assert images.run(AGENTS[:2], output=tmp_path) == 1
    assert "could not be built" in capsys.readouterr().err


def cyclonedx_validator() -> Draft7Validator:
    schemas = files("cyclonedx.schema") / "_res"
    names = [f"{name}.SNAPSHOT.schema.json" for name in ("bom-1.6", "spdx", "jsf-0.82")]
    loaded = {name: json.loads((schemas / name).read_text(encoding="utf-8")) for name in names}
    places = [(place, schema) for name, schema in loaded.items() for place in (name, schema.pop("$id"))]
    registry: Registry[object] = Registry().with_resources(
        [(place, Resource.from_contents(schema, default_specification=DRAFT7)) for place, schema in places]
    )
    return Draft7Validator(loaded[names[0]], registry=registry)


@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.name)
def test_a_bill_fits_the_schema_of_cyclonedx_and_lists_what_the_image_installs(agent: Agent) -> None:
    bill = json.loads(sbom.bill_of_materials(agent, python="3.13"))
    assert [error.message for error in cyclonedx_validator().iter_errors(bill)] == []
    assert list(cyclonedx_validator().iter_errors(bill | {"components": [{"type": "wheel"}]}))
    listed = {(part["name"], part["version"]) for part in bill["components"] if "purl" in part}
    lock = (agent.folder / "requirements.lock").read_text(encoding="utf-8")
    pinned = re.findall(r"^(\S+)==(\S+)(?: ; (.*?))? \\$", lock, re.MULTILINE)
    always = {(name, version) for name, version, marker in pinned if not marker}
    assert always <= listed <= {(name, version) for name, version, _ in pinned}
    assert ("cffi", dict(listed)["cffi"]) in listed
    assert "httpx2-jsfetch" not in dict(listed)  # for a browser only
    own = {part["name"] for part in bill["components"] if "purl" not in part}
    assert own == {"agent-runtime", "support-desk", agent.name}
    described = bill["metadata"]["component"]
    assert (described["name"], described["type"]) == (agent.name, "container")


def test_each_listed_package_has_the_hashes_of_the_lock() -> None:
    agent = AGENTS[0]
    bill = json.loads(sbom.bill_of_materials(agent, python="3.13"))
    lock = (agent.folder / "requirements.lock").read_text(encoding="utf-8")
    for part in bill["components"]:
        if "purl" not in part:
            continue
        entry = re.search(
            rf"^{re.escape(part['name'] + '==' + part['version'])} .*?(?=^\S|\Z)", lock, re.MULTILINE | re.DOTALL
        )
        assert entry
        hashes = {one["value"] for one in part["properties"] if one["name"] == sbom.HASH_PROPERTY}
        assert hashes == set(re.findall(r"sha256:([0-9a-f]{64})", entry[0]))


def test_the_installed_versions_are_those_of_the_bill() -> None:
    """The development environment of the same Python holds the same versions."""
    installed = {canonicalize_name(one.name): one.version for one in distributions()}
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    bill = json.loads(sbom.bill_of_materials(AGENTS[0], python=python))
    versions = {part["name"]: part["version"] for part in bill["components"]}
    both = versions.keys() & installed.keys()
    assert len(both) > 50
    assert {name: versions[name] for name in both} == {name: installed[name] for name in both}


def test_the_same_lock_gives_the_same_bill_but_for_its_time() -> None:
    bills = [json.loads(sbom.bill_of_materials(AGENTS[0], python="3.13")) for _ in range(2)]
    for bill in bills:
        del bill["metadata"]["timestamp"]
    assert bills[0] == bills[1]


def test_a_line_without_a_hash_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / "requirements.lock").write_text("six==1.17.0\n")
    with pytest.raises(ValueError, match="six"):
        list(sbom.locked(tmp_path / "requirements.lock", sbom.image_environment("3.13")))


def test_the_python_of_an_image_is_that_of_its_last_stage(tmp_path: Path) -> None:
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text("FROM python:3.12-slim AS build\nFROM python:3.13-slim@sha256:00\n")
    assert images.base_python(dockerfile) == "3.13"
    dockerfile.write_text("FROM debian:12\n")
    with pytest.raises(ValueError, match="debian:12"):
        images.base_python(dockerfile)
