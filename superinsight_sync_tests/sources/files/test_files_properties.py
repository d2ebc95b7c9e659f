"""Properties of reading files: every row once, bounded memory."""

import json
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from superinsight_sync.model.read import ReadRequest
from superinsight_sync_tests.sources.files.folder import source, stream


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.text(st.sampled_from('a",\n漢'), max_size=3), max_size=12), min_size=1, max_size=4),
    st.integers(1, 15),
    st.sampled_from(["csv", "jsonl", "parquet"]),
)
def test_reading_in_batches_yields_every_row_once_whatever_the_batch_size_and_file_split(
    parts: list[list[str]], batch_rows: int, form: str
) -> None:
    rows = [(f"{i}-{j}", text) for i, part in enumerate(parts) for j, text in enumerate(part)]
    with TemporaryDirectory() as name:
        for i, part in enumerate(parts):
            mine = [(f"{i}-{j}", text) for j, text in enumerate(part)]
            table = pa.table({"id": [r[0] for r in mine], "t": [r[1] for r in mine]}, pa.schema(
                [("id", pa.string()), ("t", pa.string())]))  # fmt: skip
            path = Path(name) / f"{i}.{form}"
            if form == "parquet":
                pq.write_table(table, path, row_group_size=3)
            elif form == "jsonl":
                path.write_text("".join(json.dumps(r) + "\n" for r in table.to_pylist()))
            else:
                cells = [
                    ",".join('"' + c.replace('"', '""') + '"' for c in row) for row in [("id", "t"), *mine]
                ]
                path.write_text("\n".join(cells))
        if form == "jsonl" and not rows:
            return
        files, spec = source(Path(name)), stream(f"*.{form}")
        with files.read(ReadRequest(spec, batch_rows=batch_rows)) as reader:
            batches = list(reader)
        assert all(0 < b.num_rows <= batch_rows for b in batches)
        found = [tuple(r.values())[:2] for b in batches for r in b.to_pylist()]
        assert found == rows
        assert files.count(ReadRequest(spec)) == len(rows)


def test_memory_is_bounded_by_the_batch_on_200_mb_of_csv(tmp_path: Path) -> None:
    block = "".join(f'{i:012d},"text, {i}",{"x" * 60},2026-01-01\n' for i in range(10_000))
    with (tmp_path / "a.csv").open("w") as out:
        out.write("id,t,filler,day\n")
        written = 0
        while written < 200 << 20:
            written += out.write(block)
    rows = written // len(block) * 10_000
    peak, found = 0, 0
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    with source(tmp_path).read(ReadRequest(stream("a.csv"))) as reader:
        for batch in reader:
            found += batch.num_rows
            peak = max(peak, pa.total_allocated_bytes() - before)
    python_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == rows
    assert peak < 100 << 20
    assert python_peak < 60 << 20
