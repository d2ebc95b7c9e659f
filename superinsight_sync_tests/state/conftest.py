"""The same tests on both databases: ask for `url` (an empty database) or `state` (an open one)."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from superinsight_sync.state import State, open_state


@pytest.fixture(params=["sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/home/state.db"


@pytest.fixture
def state(url: str) -> Iterator[State]:
    opened = open_state(url)
    yield opened
    opened.close()
