"""The scratch database of a refine: locked down, and spilling over its memory limit."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from superinsight_sync.transform.engine import refine
from superinsight_sync.transform.protocol import StepContext
from superinsight_sync.transform.scratch import Scratch
from superinsight_sync_tests.transform.conftest import steps


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/passwd')",
        "COPY (SELECT 1) TO '/tmp/sis_leak.csv'",
        "ATTACH '/tmp/sis_leak.db'",
        "SET enable_external_access = true",
        "SET memory_limit = '100GB'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SELECT * FROM START",
    ],
)
def test_the_scratch_database_is_locked_down(tmp_path: Path, sql: str) -> None:
    scratch = Scratch(tmp_path, 64 << 20)
    with pytest.raises(duckdb.Error):
        scratch.connection.sql(sql).fetchall()
    scratch.close()


def _many(rows: int, batch: int = 50_000) -> pa.RecordBatchReader:
    schema = pa.schema(
        [("key", pa.int64()), ("at", pa.int64()), ("amount", pa.string()), ("text", pa.string())]
    )

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, rows, batch):
            at = list(range(start, start + batch))
            texts = [f"{n * 2654435761 % 2**64:020d}{n:044d}" for n in at]
            yield pa.record_batch(
                [[n % (rows // 2) for n in at], at, [f"{n}.5" for n in at], texts], schema=schema
            )

    return pa.RecordBatchReader.from_batches(schema, batches())


def test_more_rows_than_memory_spill_to_scratch_and_come_out_whole(tmp_path: Path) -> None:
    rows, limit = 1_000_000, 80 << 20
    declared = steps(
        {"step": "cast", "columns": {"amount": "decimal(12,1)"}},
        {"step": "dedupe", "keys": ["key"], "order_by": ["at"]},
        {"step": "rule", "name": "known", "check": "key % 10 <> 3"},
    )
    with refine(
        lambda: _many(rows), declared, StepContext(), scratch_dir=tmp_path, memory_limit_bytes=limit
    ) as refined:
        assert any(f.stat().st_size for f in tmp_path.rglob("*") if f.is_file())
        assert (refined.duplicates, refined.quarantined) == (rows // 2, {"known": rows // 20})
        seen = 0
        for batch in refined.open():
            seen += batch.num_rows
            assert min(batch["at"].to_pylist()) >= rows // 2
        assert seen == refined.rows_passed == rows // 2 - rows // 20
        assert sum(b.num_rows for b in refined.open_quarantine()) == rows // 20
    assert list(tmp_path.iterdir()) == []
