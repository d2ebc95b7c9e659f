"""The same tests on both databases: ask for `url` (an empty database) or `state` (an open one)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from superinsight_sync.state import State, open_state


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/home/state.db"
    return str(request.getfixturevalue("postgres_server").create_database())


@pytest.fixture
def state(url: str) -> Iterator[State]:
    opened = open_state(url)
    yield opened
    opened.close()
