"""A connection's declaration: checked without connecting, secrets by reference only, cheap to import."""

import subprocess
import sys
from typing import Any

import pytest

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.settings import Settings
from superinsight_sync.sources.opening import open_source
from superinsight_sync.sources.protocol import SOURCE_KINDS

WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "unknown source kind"),
    ({"kind": "postgress", "dsn": "x"}, "Did you mean 'postgres'"),
    ({"kind": "postgres"}, "dsn: Field required"),
    ({"kind": "postgres", "dsn": 5}, "dsn: Input should be a valid string"),
    ({"kind": "postgres", "dsn": "{{ env.X }}", "statement_timeout": "soon"}, "statement_timeout"),
    ({"kind": "postgres", "dsn": "{{ env.X }}", "schemas": "public"}, "schemas"),
    ({"kind": "postgres", "dsn": "postgresql://u:pa55word@h/d"}, r"\{\{ env.NAME \}\}"),
    ({"kind": "postgres", "dsn": "host=h user=u password=pa55word"}, r"\{\{ env.NAME \}\}"),
    ({"kind": "mysql", "dsn": "mysql://u:pa55word@h/d"}, r"\{\{ env.NAME \}\}"),
    ({"kind": "mysql", "dsn": "{{ env.X }}", "password": "pa55word"}, r"\{\{ env.NAME \}\}"),
    ({"kind": "sqlite", "path": "x.db", "mode": "pa55word"}, "mode.*Valid keys: kind, path"),
]


@pytest.mark.parametrize(("connection", "words"), WRONG)
def test_a_wrong_connection_is_refused_and_its_value_not_told(
    project: Settings, connection: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        open_source(connection, project)
    assert "pa55word" not in str(caught.value)


def test_a_reference_is_resolved_when_connecting_and_not_before(
    project: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEST_ABSENT", raising=False)
    for kind, dsn in (
        ("postgres", "postgresql://u:{{ env.TEST_ABSENT }}@h/d"),
        ("mysql", "{{ env.TEST_ABSENT }}"),
    ):
        source = open_source({"kind": kind, "dsn": dsn}, project)
        with pytest.raises(ConfigError, match="TEST_ABSENT is not set"):
            source.probe()


def test_importing_a_kind_imports_no_driver() -> None:
    heavy = "oracledb mssql_python pyarrow psycopg pymysql connectorx adbc_driver_manager sqlglot duckdb polars pandas sqlite3"
    code = (
        "import sys\n"
        "from superinsight_sync.sources.protocol import SOURCE_KINDS\n"
        "for n in SOURCE_KINDS.names(): SOURCE_KINDS.config(n); SOURCE_KINDS.load(n)\n"
        f"sys.exit(','.join(m for m in '{heavy}'.split() if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stderr.strip() == ""
    assert SOURCE_KINDS.names()
