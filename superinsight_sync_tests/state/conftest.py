"""The same tests on both databases: ask for `url` (an empty database) or `state` (an open one)."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from superinsight_sync.state import State, open_state


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes empty databases, all of one kind."""
    number = count()
    if request.param == "sqlite":
        return lambda: f"sqlite:///{tmp_path}/home{next(number)}/state.db"
    server = request.getfixturevalue("postgres_server")
    return lambda: str(server.create_database())


@pytest.fixture
def url(empty_url: Callable[[], str]) -> str:
    return empty_url()


@pytest.fixture
def state(url: str) -> Iterator[State]:
    opened = open_state(url)
    yield opened
    opened.close()
