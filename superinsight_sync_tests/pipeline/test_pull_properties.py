"""What a pull says of its read, and what any sequence of failures leads to."""

import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from superinsight_sync.core.errors import AccessError, ConfigError, DataError, SisError, TransientError
from superinsight_sync.core.settings import load_settings
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.pipeline.engine import open_engine
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync.pipeline.reading import Reading
from superinsight_sync_tests.servers.postgres import PostgresServer
from superinsight_sync_tests.shop import make_shop, order, shop_source

_COLUMNS: dict[str, tuple[str, st.SearchStrategy[Any]]] = {
    "whole": ("bigint", st.integers(-(2**63), 2**63 - 1)),
    "money": ("numeric(12,2)", st.decimals(-(10**9), 10**9, places=2)),
    "real": ("double precision", st.floats(allow_nan=False, allow_infinity=False)),
    "day": ("date", st.dates(date(1, 1, 1), date(9999, 12, 31))),
    "instant": (
        "timestamptz",
        st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),
    ),
    "truth": ("boolean", st.booleans()),
    "word": (
        "text",
        st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=9),
    ),
}


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer) -> Iterator[psycopg.Connection[Any]]:
    dsn = postgres_server.create_database()
    with psycopg.connect(dsn, autocommit=True) as db, pytest.MonkeyPatch.context() as patch:
        patch.setenv("STATISTICS_DSN", dsn)
        db.execute("SET timezone = 'UTC'")
        columns = ", ".join(f'"{name}" {kind}' for name, (kind, _) in _COLUMNS.items())
        db.execute(f"CREATE TABLE counted (id integer PRIMARY KEY, {columns})")
        yield db


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(st.tuples(*(st.one_of(st.none(), s) for _, s in _COLUMNS.values())), max_size=12))
def test_the_statistics_of_a_read_are_those_of_the_source(
    database: psycopg.Connection[Any], rows: list[tuple[Any, ...]]
) -> None:
    database.execute("TRUNCATE counted")
    marks = ", ".join(["%s"] * (len(_COLUMNS) + 1))
    with database.cursor() as cursor:
        cursor.executemany(f"INSERT INTO counted VALUES ({marks})", [(n, *r) for n, r in enumerate(rows)])
    source = SourceSpec.model_validate(
        {
            "name": "any",
            "connection": {"kind": "postgres", "dsn": "{{ env.STATISTICS_DSN }}"},
            "streams": [{"name": "counted", "table": "public.counted"}],
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(settings=load_settings({"SIS_PROJECT_DIR": folder}))
        stats = pull_stream(engine, source, source.streams[0]).stats
    assert (stats.rows, stats.columns) == (len(rows), len(_COLUMNS) + 1)
    assert (stats.batches > 0, stats.size_bytes > 0) == (bool(rows), bool(rows))
    for name, (kind, _) in _COLUMNS.items():
        nulls, least, greatest = _asked(database, name, kind)
        assert stats.nulls.get(name, 0) == nulls
        if kind == "text":
            assert name not in stats.least
        else:
            assert (stats.least.get(name), stats.greatest.get(name)) == (least, greatest)


def _asked(database: psycopg.Connection[Any], name: str, kind: str) -> tuple[int, Any, Any]:
    """(NULLs, least, greatest), counted by the server."""
    ends = ("bool_and", "bool_or") if kind == "boolean" else ("min", "max")
    least, greatest = (f'{end}("{name}")' for end in ends)
    found = database.execute(
        f'SELECT count(*) - count("{name}"), {least}, {greatest} FROM counted'  # type: ignore[arg-type]
    ).fetchone()
    assert found is not None
    nulls, low, high = found
    return nulls, low, high


_FAILURES = (TransientError, ConfigError, AccessError, DataError)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    failures=st.lists(st.sampled_from(_FAILURES), max_size=6),
    after_rows=st.lists(st.sampled_from([0, 1, 30]), min_size=6, max_size=6),
)
def test_any_sequence_of_failures_ends_in_success_or_in_the_first_lasting_one(
    failures: list[type[SisError]], after_rows: list[int]
) -> None:
    """Transient ones are retried three times at most, others never; what was read before one lands never twice.
    A dead letter is left by work that may be done again, and only by that."""
    tries = 0
    real = Reading.__call__

    def failing(self: Reading) -> pa.RecordBatchReader:
        nonlocal tries
        tries += 1
        batches = real(self)
        if tries > len(failures):
            return batches
        cut, failure = after_rows[tries - 1], failures[tries - 1]

        def broken() -> Iterator[pa.RecordBatch]:
            if cut:
                yield batches.read_next_batch().slice(0, cut)
            self._failure = failure("the read broke")
            raise self._failure

        return pa.RecordBatchReader.from_batches(batches.schema, broken())

    lasting = next((n for n, f in enumerate(failures) if f is not TransientError), None)
    ends_at = min((n for n in (lasting, 3 if len(failures) > 3 else None) if n is not None), default=None)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reading, "__call__", failing)
        patch.setattr("superinsight_sync.core.retry.RetryPolicy.delay_s", lambda self, attempt: 0.0)
        engine = open_engine(settings=load_settings({"SIS_PROJECT_DIR": folder}))
        source = shop_source(make_shop(Path(folder) / "shop.db", [order(n) for n in range(1, 41)]))
        if ends_at is None:
            result = pull_stream(engine, source, source.streams[0])
            assert (result.retries, result.table_rows) == (len(failures), 40)
        else:
            with pytest.raises(failures[ends_at], match="shop/orders"):
                pull_stream(engine, source, source.streams[0])
            assert tries == ends_at + 1
        letters = engine.state.dead_letters.list()
        buried = ends_at is not None and failures[ends_at] is TransientError
        assert [d.payload for d in letters] == (
            [{"source": "shop", "stream": "orders", "partitions": []}] if buried else []
        )


def test_extremes_leave_out_nan_and_text() -> None:
    from superinsight_sync.pipeline.extremes import Extremes

    found = Extremes()
    nan = float("nan")
    found.add(
        pa.record_batch({"f": [nan, 1.5, nan], "t": ["a", "b", None], "d": [Decimal("1.10"), None, None]})
    )
    found.add(pa.record_batch({"f": [nan, nan], "t": ["a", "b"], "d": pa.nulls(2, pa.decimal128(3, 2))}))
    assert (found.least, found.greatest) == (
        {"f": 1.5, "d": Decimal("1.10")},
        {"f": 1.5, "d": Decimal("1.10")},
    )
