"""Declarations, inputs and builds for the export tests."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from superinsight_sync.export.build import Built, build_dataset
from superinsight_sync.model.dataset import DatasetSpec

MEMORY_BYTES = 256 << 20


def dataset(**changes: Any) -> DatasetSpec:
    """`rows` → every column of stream `shop/rows`, all formats."""
    return DatasetSpec.model_validate(
        {
            "name": "sample",
            "tenant": "acme",
            "inputs": {"rows": "shop/rows"},
            "select": "SELECT * FROM rows",
            "formats": ["json", "jsonl", "csv", "parquet"],
            **changes,
        }
    )


def build(
    spec: DatasetSpec,
    work: Path,
    *,
    version: int = 1,
    rows_per_batch: int | None = None,
    memory_bytes: int = MEMORY_BYTES,
    **tables: pa.Table,
) -> Built:
    """Builds over tables; with `rows_per_batch` they come as streams cut that way."""
    if rows_per_batch:
        inputs: dict[str, Any] = {
            n: (lambda t=t: t.to_reader(max_chunksize=rows_per_batch)) for n, t in tables.items()
        }
    else:
        inputs = {n: ds.InMemoryDataset(t) for n, t in tables.items()}
    return build_dataset(
        spec, inputs, dict.fromkeys(tables, version), work_dir=work, memory_limit_bytes=memory_bytes
    )


def orders(count: int, *, first: int = 1) -> pa.Table:
    """Orders of `count // 5` customers, some without one, with system columns as the lake has them."""
    ids = range(first, first + count)
    return pa.table(
        {
            "order_id": pa.array(ids, pa.int64()),
            "customer": [None if i % 11 == 0 else f"c{i % max(1, count // 5)}" for i in ids],
            "amount": pa.array([i * 1.1 for i in ids], pa.float64()),
            "note": [None if i % 3 == 0 else "" if i % 3 == 1 else f'é "{i}", 😀\n' for i in ids],
            "_sis_load_id": [f"load-{i % 3}" for i in ids],
            "_sis_hash": pa.array(ids, pa.int64()),
        }
    )


def digests(built: Built) -> dict[str, str]:
    """Path → SHA-256 of every file."""
    return {file.path: file.sha256 for file, _ in built.files}


def local(built: Built, path: str) -> Path:
    """Where a file of the build is."""
    return next(at for file, at in built.files if file.path == path)
