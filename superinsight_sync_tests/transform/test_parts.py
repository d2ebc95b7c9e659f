"""What is held at once is bounded by bytes, and what was computed once is not computed again."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superinsight_sync.transform.chain import Chain
from superinsight_sync.transform.engine import refine
from superinsight_sync.transform.parts import BATCH_ROWS, PART_BYTES, Scales, shared_out
from superinsight_sync.transform.protocol import StepContext
from superinsight_sync.transform.scratch import Scratch
from superinsight_sync.transform.steps.cast import Cast, Config
from superinsight_sync_tests.transform.conftest import steps

CELL_BYTES = 100_000
VECTOR_ROWS = 2_048


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 100_000), st.integers(0, 10 * PART_BYTES)), max_size=30))
def test_parts_are_all_rows_and_no_more_than_their_bytes_ask_for(batches: list[tuple[int, int]]) -> None:
    scales = Scales()
    for rows, size_bytes in batches:
        scales.weigh(rows, size_bytes)
    parts = scales.parts
    assert scales.rows == sum(rows for rows, _ in batches)
    assert [p.start for p in parts] == [0, *(p.end for p in parts)][: len(parts)]
    assert (parts[-1].end if parts else 0) == scales.rows
    assert all(1 <= p.batch_rows <= BATCH_ROWS for p in parts)
    heavy = [p for p in parts if not p.is_light]
    assert all(p.end - p.start <= 2 * VECTOR_ROWS for p in heavy[:-1])
    assert len(parts) <= 3 + 3 * sum(size for _, size in batches) // PART_BYTES


@pytest.mark.parametrize(("rows", "size_bytes"), [(4_000_000, 150), (3_000, 5_000), (0, 0), (10, 1 << 20)])
def test_rows_of_usual_size_are_one_part(rows: int, size_bytes: int) -> None:
    scales = Scales()
    for start in range(0, rows, BATCH_ROWS):
        count = min(BATCH_ROWS, rows - start)
        scales.weigh(count, count * size_bytes)
    assert len(scales.parts) == (1 if rows else 0)


def test_one_heavy_row_makes_the_others_no_smaller_parts() -> None:
    scales = Scales()
    for size_bytes in [10_000_000] * 20 + [900_000_000] + [10_000_000] * 20:
        scales.weigh(1 if size_bytes > PART_BYTES else BATCH_ROWS, size_bytes)
    assert len(scales.parts) <= 4
    assert sum(p.end - p.start for p in scales.parts if p.is_light) >= 39 * BATCH_ROWS


def test_rows_not_weighed_are_shared_out() -> None:
    assert [(p.start, p.end) for p in shared_out(10, 3)] == [(0, 4), (4, 8), (8, 12)]
    assert shared_out(0, 3) == []


def test_long_cells_pass_in_small_batches_with_less_memory_than_they_are(tmp_path: Path) -> None:
    schema = pa.schema([("n", pa.string()), ("body", pa.string())])
    rows = 3_000

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, rows, 100):
            numbers = [str(n) if n % 10 else "x" for n in range(start, start + 100)]
            bodies = [f"{n:08d}" * (CELL_BYTES // 8) for n in range(start, start + 100)]
            yield pa.record_batch([pa.array(numbers), pa.array(bodies)], schema=schema)

    declared = steps({"step": "cast", "columns": {"n": "int64"}}, {"step": "map", "rename": {"body": "text"}})
    with refine(
        lambda: pa.RecordBatchReader.from_batches(schema, batches()),
        declared,
        StepContext(),
        scratch_dir=tmp_path,
        memory_limit_bytes=192 << 20,
    ) as refined:
        passed = 0
        for batch in refined.open():
            assert batch.nbytes <= 2 * PART_BYTES
            ends = pc.utf8_slice_codeunits(batch["text"], CELL_BYTES - 8)
            assert ends.cast(pa.int64()).equals(batch["n"])
            passed += batch.num_rows
        aside = [batch.num_rows for batch in refined.open_quarantine()]
    assert (passed, sum(aside)) == (2_700, 300)
    assert max(aside) * CELL_BYTES <= 2 * PART_BYTES


def test_what_a_cast_computed_is_read_and_not_computed_again(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path, 256 << 20)
    scratch.connection.execute("CREATE TABLE _sis_base_0 (_sis_row BIGINT, n VARCHAR, ok VARCHAR)")
    data = pa.schema([("n", pa.string()), ("ok", pa.string())])
    chain = Chain(scratch.connection, data, pa.schema([]))
    meant = {"type": "bool", "null_values": ["-", "?", "n/a", "none", "null", "leer"]}
    config = Config.model_validate({"columns": {"n": "int64", "ok": meant}})
    chain.add("1:cast", Cast(config).compile(data, StepContext()))

    def planned() -> str:
        return str(scratch.connection.execute(f"EXPLAIN FROM {chain.view}").fetchall()[0][1])

    assert planned().lower().count("join type") == 1, "texts are compared, not joined"
    assert "CASE" in planned()
    chain.flush()
    chain.settle()
    assert "CASE" not in planned()
    assert "join" not in planned().lower()
    scratch.close()
