"""`make eject`: a project of one agent that stands without this repository.

The agent's own code and tests are copied; the shared packages come along as wheels, because `azd ai agent init` and
deployments of code take one folder.
"""

from repo_tools.eject.project import EjectRefused, eject

__all__ = ["EjectRefused", "eject"]
