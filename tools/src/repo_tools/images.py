"""Builds the agents' images with docker, podman or buildah, whichever is there, as azd's remote build would: from the
repository's root, for linux/amd64. Beside each image goes its bill of materials.
"""

import asyncio
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from repo_tools import sbom
from repo_tools.repository import ROOT, Agent, project_version

PLATFORM = "linux/amd64"
ENGINES = ("docker", "podman", "buildah")


@dataclass(frozen=True, slots=True)
class Engine:
    name: str
    """docker, podman or buildah"""
    path: str

    def build(self, agent: Agent, tag: str, labels: dict[str, str], root: Path) -> list[str]:
        """The command that builds one image; it runs in the repository's root."""
        # The OCI format has no HEALTHCHECK, and podman and buildah drop it from an image of that format.
        form = [] if self.name == "docker" else ["--format", "docker"]
        arguments = [part for key, value in labels.items() for part in ("--build-arg", f"{key}={value}")]
        dockerfile = (agent.folder / "Dockerfile").relative_to(root).as_posix()
        platform = ["--platform", PLATFORM]
        return [self.path, "build", *form, *platform, *arguments, "--file", dockerfile, "--tag", tag, "."]

    def size(self, tag: str) -> int | None:
        """Bytes of the image with its base, uncompressed; None where the engine does not say."""
        if self.name == "buildah":
            return None
        command = [self.path, "image", "inspect", "--format", "{{.Size}}", tag]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return int(done.stdout) if done.returncode == 0 and done.stdout.strip().isdecimal() else None


def find_engine(wanted: str | None = None) -> tuple[Engine | None, list[str]]:
    """The first engine that answers, or the wanted one, and why each of the others does not."""
    problems = []
    for name in [wanted] if wanted else ENGINES:
        path = shutil.which(name)
        if not path:
            problems.append(f"{name} is not installed")
            continue
        try:
            done = subprocess.run([path, "info"], capture_output=True, text=True, timeout=60, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            problems.append(f"{name} does not answer: {error}")
            continue
        # `docker info` without its daemon ends with 1, and in older versions with 0 and an error on its output.
        if done.returncode == 0 and not re.search(r"cannot connect", done.stdout + done.stderr, re.IGNORECASE):
            return Engine(name, path), problems
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["it says nothing"]
        problems.append(f"{name} does not work: {last[0].strip()}")
    return None, problems


def base_python(dockerfile: Path) -> str:
    """The Python of the final stage's base, `3.13` for `FROM python:3.13-slim`.

    Raises:
        ValueError: the base is not an official Python image with a version.
    """
    bases = re.findall(r"^FROM\s+(\S+)", dockerfile.read_text(encoding="utf-8"), re.MULTILINE)
    found = re.match(r"(?:docker\.io/library/)?python:(\d+\.\d+)", bases[-1] if bases else "")
    if not found:
        raise ValueError(f"{dockerfile}: the base {bases[-1] if bases else ''!r} does not name a version of Python")
    return found[1]


def revision(root: Path = ROOT) -> str:
    """The commit that is built, with `-dirty` where tracked files differ from it; `unknown` outside of git."""
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def run(
    chosen: Sequence[Agent],
    *,
    engine: str | None = None,
    only_sbom: bool = False,
    try_each: bool = False,
    output: Path,
    root: Path = ROOT,
) -> int:
    """Write the bills, build the images, try each where asked to, and say what came out.

    Returns 0, 1 where a build or a trial fails, 2 where nothing here can build.
    """
    output.mkdir(parents=True, exist_ok=True)
    for agent in chosen:
        path = output / f"{agent.name}.cdx.json"
        path.write_text(
            sbom.bill_of_materials(agent, python=base_python(agent.folder / "Dockerfile"), root=root), encoding="utf-8"
        )
        components = len(json.loads(path.read_text(encoding="utf-8"))["components"])
        shown = path.relative_to(root) if path.is_relative_to(root) else path
        print(f"images: {shown}: {components} components")
    if only_sbom:
        return 0
    found, problems = find_engine(engine)
    if found is None:
        for problem in problems:
            print(f"images: {problem}", file=sys.stderr)
        print("images: nothing here can build an image. Start docker, or install podman or buildah.", file=sys.stderr)
        if try_each:
            print(f"images: skipped: the trials of {', '.join(agent.name for agent in chosen)}", file=sys.stderr)
        return 2
    labels = {"REVISION": revision(root)}
    for agent in chosen:
        version = project_version(agent.folder)
        tag = f"hosted-agents/{agent.name}:{version}"
        print(f"images: {found.name} builds {tag} …", flush=True)
        started = time.monotonic()
        command = found.build(agent, tag, labels | {"VERSION": version}, root)
        if subprocess.run(command, cwd=root, check=False).returncode:
            print(f"images: {tag} could not be built; the lines above say why", file=sys.stderr)
            return 1
        size = found.size(tag)
        told = f", {size / 1e6:.0f} MB with its base" if size else ""
        print(f"images: {tag} in {time.monotonic() - started:.0f} s{told}", flush=True)
        if try_each and not _try(found, agent, tag):
            return 1
    return 0


def _try(engine: Engine, agent: Agent, tag: str) -> bool:
    # Only a trial needs the development tools that it measures with.
    from repo_tools.image_containers import TrialFailed  # noqa: PLC0415
    from repo_tools.image_trial import try_image  # noqa: PLC0415

    try:
        trial = asyncio.run(try_image(engine, agent, tag))
    except TrialFailed as error:
        print(f"images: {tag}: {error}", file=sys.stderr)
        return False
    for line in trial.lines():
        print(f"images: {line}", flush=True)
    for problem in trial.problems:
        print(f"images: {tag}: {problem}", file=sys.stderr)
    return not trial.problems
