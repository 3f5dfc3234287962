"""An ejected project: one agent in one folder, which installs, starts, passes its tests and deploys with nothing beside it.

Here a fresh virtual environment gets our packages from the wheels alone, and of the development environment what the
project's locks pin. In it each agent starts, its tests are collected, and one agent's tests run whole. With TEST_INSTALLS=1 (`make test-installs`) each project's own `make test` runs,
which installs everything from its hashed locks.
"""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

import httpx2
import pytest
import yaml
from agent_runtime.testing.azd_invoke import AzdLocalInvoke
from agent_runtime.testing.serving import free_port
from packaging.utils import canonicalize_name
from repo_tools.__main__ import main
from repo_tools.eject import EjectRefused, eject
from repo_tools.eject.development_lock import imported
from repo_tools.repository import ROOT, Agent, agents, local_packages, project_name

AGENTS = agents()
# The one whose own tests take the least time.
WHOLE = "ag-ui-streamer"
OURS = {project_name(folder).replace("-", "_") for folder in local_packages()}
each_agent = pytest.mark.parametrize(
    "agent",
    [pytest.param(agent, marks=pytest.mark.xdist_group(f"eject-{agent.name}"), id=agent.name) for agent in AGENTS],
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Agent], Path]:
    @cache
    def make(agent: Agent) -> Path:
        target = tmp_path_factory.mktemp("ejected") / agent.name
        eject(agent, target)
        return target

    return make


@pytest.fixture
def ejected(agent: Agent, tmp_path: Path, made: Callable[[Agent], Path]) -> Path:
    """The project in a folder of its own, for this test alone."""
    return Path(shutil.copytree(made(agent), tmp_path / "somewhere else" / agent.name))


def isolated_python(project: Path, place: Path) -> Path:
    """The interpreter of a fresh environment that has the project, its wheels, and of this environment only the packages
    that the project's locks pin, file by file, because namespaces such as `azure` are folders of several packages."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    pinned = {
        canonicalize_name(name)
        for lock in ("requirements.lock", "requirements-dev.lock")
        for name in re.findall(r"^([A-Za-z0-9._-]+)==", (project / lock).read_text(), re.MULTILINE)
    }
    strangers = place / "strangers"
    for found in distributions():
        if canonicalize_name(found.name) not in pinned:
            continue
        for path in found.files or ():
            if ".." not in path.parts and path.suffix != ".pth":
                (strangers / path).parent.mkdir(parents=True, exist_ok=True)
                (strangers / path).symlink_to(path.locate())
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = place / "lib" / version / "site-packages"
    (packages / "here.pth").write_text(f"{strangers}\n{project / 'src'}\n")
    for wheel in (project / "wheels").glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(packages)
    return place / "bin" / "python"


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHON", "COV_"))}


def run_in(project: Path, *command: str | Path, timeout: float = 100) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        cwd=project, env=environment(), capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip


@each_agent
def test_nothing_in_the_project_points_out_of_it(agent: Agent, ejected: Path) -> None:
    outside = (str(ROOT), "../", f"agents/{agent.name}", "shared/agent-runtime", "shared/support-desk")
    files = [path for path in ejected.rglob("*") if path.is_file() and path.suffix not in {".whl", ".png"}]
    assert len(files) > 20
    found = []
    for path in files:
        text = path.read_text(encoding="utf-8")
        for part in outside:
            # Paths in the agent's own code and tests are data, unless they are this repository's.
            if part in text and (part == str(ROOT) or not path.is_relative_to(ejected / "src")):
                found.append(f"{path.relative_to(ejected)}: {part}")
    # The shared settings module is named in prose, as the place where it comes from.
    assert [one for one in found if not one.startswith(("README.md: shared/", "tests/"))] == []
    assert not [one for one in found if str(ROOT) in one]
    links = re.findall(r"\]\(([^)#]+)", (ejected / "README.md").read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (ejected / link).exists()] == []


@each_agent
def test_the_wheels_are_the_pinned_ones_and_name_no_package_of_ours(agent: Agent, ejected: Path) -> None:
    """By name alone pip would take a stranger's package of that name, by path one of a machine that is not there."""
    lines = (ejected / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert "-r requirements.lock" in lines
    pinned = {line.split()[0].removeprefix("./wheels/") for line in lines if line.startswith("./wheels/")}
    assert pinned == {path.name for path in (ejected / "wheels").iterdir()}
    assert {name.split("-")[0] for name in pinned} == {"agent_runtime", "support_desk"}
    for wheel in (ejected / "wheels").iterdir():
        archive = zipfile.ZipFile(wheel)
        [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        needed = re.findall(r"^Requires-Dist: (.*)$", archive.read(metadata).decode(), re.MULTILINE)
        assert needed
        assert not [each for each in needed if "@" in each or re.split(r"[^\w-]", each)[0].replace("-", "_") in OURS]


@each_agent
@pytest.mark.parametrize("how", ["azure.yaml", "azure.code.yaml"])
def test_the_doctor_finds_nothing(agent: Agent, how: str, ejected: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (ejected / how).replace(ejected / "azure.yaml")
    assert main(["doctor", str(ejected), "--strict"]) == 0, capsys.readouterr().out


@each_agent
def test_the_code_archive_holds_what_the_entry_point_needs_and_no_more(agent: Agent, ejected: Path) -> None:
    """By git's own reading of .agentignore, which has the syntax of .gitignore."""
    (ejected / ".agentignore").replace(ejected / ".gitignore")
    (ejected / ".env").write_text("OPENAI_API_KEY=1\n")
    run_in(ejected, "git", "init", "-q").check_returncode()
    listed = run_in(ejected, "git", "ls-files", "--others", "--exclude-standard").stdout.splitlines()
    top = {name.split("/")[0] for name in listed}
    expected = {"main.py", "pyproject.toml", "requirements.lock", "requirements.txt", "src", "wheels", "README.md"}
    assert top - {".gitignore", ".gitattributes"} == expected


@each_agent
async def test_it_starts_as_a_deployment_of_code_does_and_answers(agent: Agent, ejected: Path, tmp_path: Path) -> None:
    python = isolated_python(ejected, tmp_path / "env")
    modules = ["agent_runtime", "support_desk", agent.module]
    asked = f"import importlib; print([importlib.import_module(name).__file__ for name in {modules}])"
    where = await asyncio.to_thread(run_in, tmp_path, python, "-c", asked)
    assert where.returncode == 0, where.stderr
    assert str(ROOT) not in where.stdout
    assert where.stdout.count(str(tmp_path)) == len(modules)

    port = free_port()
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            str(python), "main.py",
            cwd=ejected, env=environment() | {"PORT": str(port)}, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        await ready(f"http://127.0.0.1:{port}", process, log)
        azd = AzdLocalInvoke(f"http://127.0.0.1:{port}")
        call = azd.responses if "responses" in agent.protocols else azd.invocations
        assert (await call("Order NP-10001 arrived with a torn seam. How long can unworn boots be returned?")).strip()
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 30)


async def ready(url: str, process: asyncio.subprocess.Process, log: Path) -> None:
    async with httpx2.AsyncClient(trust_env=False) as client:
        for _ in range(900):
            if process.returncode is not None:
                break
            try:
                if (await client.get(f"{url}/readiness")).status_code == 200:
                    return
            except httpx2.HTTPError:
                pass
            await asyncio.sleep(0.1)
    raise AssertionError(await asyncio.to_thread(log.read_text))


@each_agent
def test_its_tests_have_all_that_they_import_and_some_of_one_agent_pass(
    agent: Agent, ejected: Path, tmp_path: Path
) -> None:
    python = isolated_python(ejected, tmp_path / "env")
    started = {name.partition(".")[0] for name in imported([ejected / "tests"])}
    assert "repo_tools" not in started
    for name in started & {"schemathesis", "webhook_extractor"}:  # started with -m, not imported
        assert run_in(tmp_path, python, "-c", f"import {name}").returncode == 0, name
    whole = agent.name == WHOLE
    if whole and shutil.which("node"):  # what `npm ci` installs, as the project's README says
        modules = "tests/ag_ui_client/node_modules"
        (ejected / modules).symlink_to(agent.folder / modules)
    # All of them run with `make test-installs`; here those of one agent that need the most of its environment.
    some = ("test_ag_ui_client", "test_threads", "test_infrastructure", "test_telemetry")
    which = [f"tests/{name}.py" for name in some] if whole else ["--collect-only"]
    done = run_in(ejected, python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *which)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert int(re.findall(r"(\d+) (?:passed|tests? collected)", done.stdout)[-1]) >= 10


@each_agent
@pytest.mark.installs
@pytest.mark.skipif(os.environ.get("TEST_INSTALLS") != "1", reason="installs from an index: make test-installs")
@pytest.mark.timeout(1800)
def test_its_own_make_test_passes(agent: Agent, ejected: Path) -> None:
    for clients in (*ejected.glob("tests/*/package-lock.json"), *ejected.glob("page/package-lock.json")):
        if shutil.which("npm"):
            run_in(ejected, "npm", "ci", "--silent", "--prefix", clients.parent, timeout=600).check_returncode()
    done = run_in(ejected, "make", "test", f"PYTHON={sys.executable}", "ARGS=-q -n 2", timeout=1700)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "passed" in done.stdout
    print(done.stdout.splitlines()[-1])


@each_agent
@pytest.mark.skipif(os.name == "nt", reason="the posix hook")
def test_the_infrastructure_comes_along_with_the_hook_that_grants_roles(agent: Agent, ejected: Path) -> None:
    azure = yaml.safe_load((ejected / "azure.yaml").read_text(encoding="utf-8"))
    whole = yaml.safe_load((ROOT / "azure.yaml").read_text(encoding="utf-8"))
    assert azure["infra"] == whole["infra"]
    for path in (ROOT / "infra").rglob("*.*"):
        assert (ejected / path.relative_to(ROOT)).read_bytes() == path.read_bytes()
    done = subprocess.run(
        ["/bin/sh", "-c", azure["hooks"]["postdeploy"]["posix"]["run"]],
        cwd=ejected,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, "names no deployed agent" in done.stderr) == (1, True), done.stderr


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").write_text("x")
    assert main(["eject", AGENTS[0].name, "--to", str(tmp_path)]) == 1
    assert "TO=" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_an_unknown_agent_is_named_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eject", "rag"]) == 2
    assert "rag-chat" in capsys.readouterr().err


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of rag-chat alone, to be changed."""
    root = tmp_path / "repository"
    shutil.copytree(ROOT / "agents/rag-chat", root / "agents/rag-chat", ignore=shutil.ignore_patterns("evaluation"))
    for name in ("azure.yaml", "pyproject.toml", "conftest.py"):
        shutil.copy(ROOT / name, root / name)
    shutil.copytree(ROOT / "infra", root / "infra")
    roles = "tools/src/repo_tools/agent_roles"
    shutil.copytree(ROOT / roles, root / roles, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("tests/test_infrastructure.py", "tests/test_telemetry.py", "docs/deploy.md"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    shutil.copytree(ROOT / "shared", root / "shared", ignore=shutil.ignore_patterns("tests", "__pycache__"))
    return root


def test_a_dockerfile_that_changed_its_shape_is_refused_before_anything_is_written(
    repository: Path, tmp_path: Path
) -> None:
    dockerfile = repository / "agents/rag-chat/Dockerfile"
    dockerfile.write_text(dockerfile.read_text().replace("COPY shared shared", "COPY shared/ shared/"))
    [agent] = agents(repository)
    with pytest.raises(EjectRefused, match="COPY shared"):
        eject(agent, tmp_path / "out", root=repository)
    assert not (tmp_path / "out").exists()


def test_secrets_and_leftovers_of_a_developer_stay_and_files_of_the_package_come(
    repository: Path, tmp_path: Path
) -> None:
    folder = repository / "agents/rag-chat"
    stay = [
        ".env",
        ".env.local",
        ".azure/dev/.env",
        ".venv/pyvenv.cfg",
        "index.sqlite",
        "src/rag_chat/__pycache__/a.pyc",
    ]
    come = ["src/rag_chat/prompts/README.md", "src/rag_chat/evaluation/cases.txt"]
    for name in (*stay, *come):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    [agent] = agents(repository)
    eject(agent, tmp_path / "out", root=repository)
    assert [name for name in stay if (tmp_path / "out" / name).exists()] == []
    assert [name for name in come if not (tmp_path / "out" / name).is_file()] == []


@each_agent
def test_both_ways_to_deploy_keep_the_definition_and_the_variables(agent: Agent, ejected: Path) -> None:
    image, code = (yaml.safe_load((ejected / name).read_text()) for name in ("azure.yaml", "azure.code.yaml"))
    whole = yaml.safe_load((ROOT / "azure.yaml").read_text(encoding="utf-8"))
    for document in (image, code):
        service = document["services"][agent.name]
        assert service["env"] == whole["services"][agent.name]["env"]
        assert (ejected / service["$ref"]).read_text() == (agent.folder / "agent.yaml").read_text()
        assert document["requiredVersions"] == whole["requiredVersions"]
    assert "docker" in image["services"][agent.name]
    entry = code["services"][agent.name]["codeConfiguration"]["entryPoint"]
    assert (ejected / entry).is_file()
    assert json.dumps(code) != json.dumps(image)
