"""Declared streams over any source, and how to read them."""

import importlib
import os
from pathlib import Path
from typing import Any

import pytest

from superinsight_sync.core.settings import Settings, load_settings
from superinsight_sync.sources.protocol import SOURCE_KINDS
from superinsight_sync_tests.sources.customers import OUTSIDE, Customer


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder: Path = tmp_path_factory.mktemp("project")
    return load_settings({"SIS_PROJECT_DIR": str(folder)})


SERVED = [kind for kind in SOURCE_KINDS.names() if kind not in OUTSIDE or os.environ.get(OUTSIDE[kind])]


@pytest.fixture(scope="module", params=SERVED)
def customer(request: pytest.FixtureRequest) -> Customer:
    """A system of each kind there is; a new kind needs its `customers/<kind>.py`."""
    made: Any = importlib.import_module(f"superinsight_sync_tests.sources.customers.{request.param}")
    found: Customer = made.customer(request)
    return found
