from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from repo_tools.deploy import command

from .service import ENDPOINT, FoundryService, served

Deploy = Callable[..., int]


@pytest.fixture
def foundry() -> Iterator[FoundryService]:
    with served() as service:
        yield service
    assert service.wrong == []


@pytest.fixture
def deploy(foundry: FoundryService, monkeypatch: pytest.MonkeyPatch) -> Deploy:
    """The verb, signed in, with its requests led to the local server."""
    monkeypatch.setenv("FOUNDRY_PROJECT_ENDPOINT", ENDPOINT + "/")

    def run(*arguments: str | Path, login: object = None) -> int:
        given = [str(each) for each in arguments]
        return command.main(given, credential=login or foundry.login, network=foundry.network)

    return run
