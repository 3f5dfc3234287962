"""The verb: what it prints, and its exit codes."""

import subprocess
import sys
from pathlib import Path

from repo_tools.eject.project import EjectRefused, eject
from repo_tools.repository import Agent


def run(agent: Agent, target: Path) -> int:
    """Eject, and say how to go on. 1 where it could not be written."""
    try:
        eject(agent, target)
    except EjectRefused as error:
        print(f"eject: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError:
        print("eject: a shared package could not be built; the lines above say why", file=sys.stderr)
        return 1
    print(
        f"eject: {target} holds {agent.name}, and needs nothing of this repository. There: make test, make run, azd up"
    )
    return 0
