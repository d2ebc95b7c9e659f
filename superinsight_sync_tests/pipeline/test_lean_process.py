"""What the process of a pull does not import: pandas and Alembic are a third of its start.

SQLite's driver, Parquet files and increments need `pyarrow.dataset`, which imports pandas by itself.
"""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from superinsight_sync_tests.sources.customers import ROWS, Customer

PULL = """
import json, sys
from superinsight_sync.core.settings import load_settings
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.pipeline.engine import open_engine
from superinsight_sync.pipeline.pull import pull_stream

source = SourceSpec.model_validate(json.loads(sys.argv[2]))
engine = open_engine(settings=load_settings({"SIS_PROJECT_DIR": sys.argv[1]}))
rows = [pull_stream(engine, source, s).table_rows for s in source.streams]
heavy = [m for m in ("pandas", "alembic", "great_expectations", "openai", "dagster") if m in sys.modules]
print(json.dumps({"rows": rows, "heavy": heavy}))
"""


@pytest.mark.parametrize("kind", ["postgres", "mysql"])
def test_a_pull_imports_no_library_that_it_does_not_need(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    made: Any = importlib.import_module(f"superinsight_sync_tests.sources.customers.{kind}")
    customer: Customer = made.customer(request)
    whole = {**customer.place, "name": "whole", "primary_key": ["id"]}
    declared = {"name": "lean", "connection": customer.connection, "streams": [whole]}
    ended = subprocess.run(
        [sys.executable, "-c", PULL, str(tmp_path), json.dumps(declared)], capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1]) == {"rows": [ROWS], "heavy": []}
