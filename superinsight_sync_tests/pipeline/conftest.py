"""An engine over an empty lake and a small shop."""

from pathlib import Path

import pytest

from superinsight_sync.core.settings import Settings, load_settings
from superinsight_sync.pipeline.engine import Engine, open_engine
from superinsight_sync_tests.shop import make_shop, order


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"SIS_PROJECT_DIR": str(tmp_path), "SIS_LEASE_TTL_S": "2"})


@pytest.fixture
def engine(settings: Settings) -> Engine:
    return open_engine("run-1", settings)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """500 orders."""
    return make_shop(tmp_path / "shop.db", (order(n) for n in range(1, 501)))
