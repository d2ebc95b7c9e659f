"""Streams of one process never wait for each other, however many land at once."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from superinsight_sync.core.clock import utc_now
from superinsight_sync.lake.opening import open_store
from superinsight_sync.lake.system_columns import add_system_columns
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.model.tables import Commit, TableRef
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.pipeline.pull import pull_stream

AT_ONCE = max(4, os.cpu_count() or 1)
"""As many as the lake's library has threads of its own, or more."""


def together(works: list[Any], within_s: float = 60) -> list[Any]:
    """What each gives, all begun at once; fails if one has not ended in time."""
    found: dict[int, Any] = {}

    def one(number: int) -> None:
        found[number] = works[number]()

    threads = [threading.Thread(target=one, args=(n,), daemon=True) for n in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(within_s)
    assert not any(thread.is_alive() for thread in threads), "they wait for each other"
    return [found[n] for n in range(len(works))]


@pytest.mark.parametrize(
    "sync",
    [
        {},
        {"sync": {"disposition": "merge"}, "primary_key": ["id"]},
        {"sync": {"mode": "incremental", "cursor": "id", "by": "version"}},
    ],
)
def test_broken_lines_of_many_streams_are_set_aside_at_once(
    engine: Engine, tmp_path: Path, sync: dict[str, Any]
) -> None:
    streams = []
    for n in range(AT_ONCE):
        (tmp_path / f"s{n}.jsonl").write_text('{"id": 1}\nbroken\n{"id": 2}\n')
        options = {"columns": {"id": "int64"}}
        streams.append({"name": f"s{n}", "path": f"s{n}.jsonl", "options": options, **sync})
    source = SourceSpec.model_validate(
        {"name": "drop", "connection": {"kind": "files", "path": str(tmp_path)}, "streams": streams}
    )
    pulled = together([lambda s=s: pull_stream(engine, source, s) for s in source.streams])
    assert [(p.table_rows, p.unreadable) for p in pulled] == [(2, 1)] * AT_ONCE


@pytest.mark.parametrize("write", ["replace", "append", "merge"])
def test_rows_that_are_made_by_writing_to_the_lake_land_at_once(tmp_path: Path, write: str) -> None:
    """The library that writes asks for rows from its own threads: none of them may be made to wait for it."""
    lake = open_store(str(tmp_path / "lake"))
    rows = pa.table({"id": pa.array(range(1000), pa.int64())})

    def read() -> pa.RecordBatchReader:
        return add_system_columns(rows.to_reader(), load_id="load", extracted_at=utc_now())

    def nested(n: int) -> pa.RecordBatchReader:
        plain = read()

        def batches() -> Iterator[pa.RecordBatch]:
            lake.append(TableRef("default", "inner", f"t{n}", "raw"), read, Commit("load"))
            yield from plain

        return pa.RecordBatchReader.from_batches(plain.schema, batches())

    tables = [TableRef("default", "outer", f"t{n}", "raw") for n in range(AT_ONCE)]
    keys = {"keys": ["id"]} if write == "merge" else {}
    together(
        [
            lambda n=n: getattr(lake, write)(tables[n], lambda: nested(n), Commit("load"), **keys)
            for n in range(AT_ONCE)
        ]
    )
    assert [lake.count(t) for t in tables] == [1000] * AT_ONCE
