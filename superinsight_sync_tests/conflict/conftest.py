"""An engine over an empty lake."""

from pathlib import Path

import pytest

from superinsight_sync.core.settings import load_settings
from superinsight_sync.pipeline.engine import Engine, open_engine


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_engine("run-1", load_settings({"SIS_PROJECT_DIR": str(tmp_path), "SIS_LEASE_TTL_S": "2"}))
