"""The stores that the conformance suite runs on. A store joins by an entry in STORES."""

from collections.abc import Callable
from pathlib import Path

import pytest

from superinsight_sync.lake.database import DatabaseStore
from superinsight_sync.lake.hybrid import HybridStore
from superinsight_sync.lake.memory import MemoryStore
from superinsight_sync.lake.opening import open_store
from superinsight_sync.lake.store import Store


def _local(request: pytest.FixtureRequest) -> Store:
    folder: Path = request.getfixturevalue("tmp_path")
    return open_store(str(folder / "lake"))


def _s3(request: pytest.FixtureRequest) -> Store:
    return open_store(request.getfixturevalue("s3_root"))


def _memory(_: pytest.FixtureRequest) -> Store:
    return MemoryStore(10**8)


def _hybrid(threshold_bytes: int) -> Callable[[pytest.FixtureRequest], Store]:
    return lambda request: HybridStore(MemoryStore(10**8), _local(request), threshold_bytes)


def _database(request: pytest.FixtureRequest) -> Store:
    return DatabaseStore(request.getfixturevalue("postgres_server").create_database())


VERSIONED: dict[str, Callable[[pytest.FixtureRequest], Store]] = {"delta-local": _local, "delta-s3": _s3}
STORES: dict[str, Callable[[pytest.FixtureRequest], Store]] = {
    **VERSIONED,
    "memory": _memory,
    "hybrid-in-memory": _hybrid(10**8),
    "hybrid-in-lake": _hybrid(0),
    "database": _database,
}


@pytest.fixture(params=sorted(STORES))
def store(request: pytest.FixtureRequest) -> Store:
    """Each of the stores, empty."""
    return STORES[request.param](request)


@pytest.fixture(params=sorted(VERSIONED))
def versioned_store(request: pytest.FixtureRequest) -> Store:
    """Each of the stores that keep older versions of rows that were replaced, empty."""
    return VERSIONED[request.param](request)
