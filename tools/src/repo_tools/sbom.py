"""The bill of materials of an agent's image, in CycloneDX 1.6: what its lock installs there, and our own packages.

Only what pip installs is listed; what the base image has is in the base image's own bill. Who depends on whom is not in
a lock, so the bill has no such graph beyond the root.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid5

from cyclonedx.contrib.this.builders import this_component as this_library
from cyclonedx.model import Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.dependency import Dependency
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL
from packaging.markers import Marker

from repo_tools.repository import ROOT, Agent, project_version, shared_packages

# What the images are: linux/amd64 (doctor rule image-architecture) and the Python of their base image.
_NAMESPACE = UUID("341a9a71-dec1-456a-8d84-769344184112")
HASH_PROPERTY = "hosted-agents:lock:sha256"
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)(?:\s*;\s*(?P<marker>[^\\]+?))?\s*\\?$")


def image_environment(python: str) -> dict[str, str]:
    """What the markers of a lock are decided by, in an image of that Python (`3.13`)."""
    return {
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }


def locked(lock: Path, environment: dict[str, str]) -> Iterator[tuple[str, str, list[str]]]:
    """Name, version and SHA-256 of every file that pip may take, for each package that the lock installs there.

    Raises:
        ValueError: a line is no pin with hashes.
    """
    for entry in re.split(r"\n(?=\S)", lock.read_text(encoding="utf-8").strip()):
        first, *rest = entry.splitlines()
        pin = _PIN.match(first)
        hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})\b", "\n".join(rest))
        if not pin or not hashes:
            raise ValueError(f"{lock}: {first!r} is no pin with hashes")
        if not pin["marker"] or Marker(pin["marker"]).evaluate(environment):
            yield pin["name"], pin["version"], hashes


def bill_of_materials(agent: Agent, *, python: str, root: Path = ROOT) -> str:
    """CycloneDX 1.6 as JSON. The same lock gives the same bill, but for its timestamp.

    `python` is that of the image's base, `3.13` for example.
    """
    lock = agent.folder / "requirements.lock"
    version = project_version(agent.folder)
    subject = Component(name=agent.name, version=version, type=ComponentType.CONTAINER, bom_ref=agent.name)
    ours = [(folder.name, project_version(folder)) for folder in (*shared_packages(root), agent.folder)]
    parts = [
        # No package URL: a package of that name on the public index is another one.
        Component(name=name, version=of, type=ComponentType.LIBRARY, bom_ref=f"{name}@{of}")
        for name, of in ours
    ]
    for name, of, hashes in locked(lock, image_environment(python)):
        parts.append(
            Component(
                name=name,
                version=of,
                type=ComponentType.LIBRARY,
                bom_ref=f"{name}=={of}",
                purl=PackageURL("pypi", None, name, of),
                # Each belongs to one of the files that pip may choose from, so none is the hash of the component.
                properties=[Property(name=HASH_PROPERTY, value=value) for value in hashes],
            )
        )
    bill = Bom(components=parts)
    bill.serial_number = uuid5(_NAMESPACE, hashlib.sha256(lock.read_bytes()).hexdigest() + agent.name + version)
    bill.metadata.component = subject
    bill.metadata.tools.components.add(this_library())
    bill.dependencies.add(Dependency(subject.bom_ref, [Dependency(part.bom_ref) for part in parts]))
    return make_outputter(bill, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2) + "\n"
