"""A DuckDB for one piece of work: in memory, a hard memory limit, spilling, cut off from outside."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

DEFAULT_MEMORY_LIMIT_BYTES = 1 << 30


@contextmanager
def open_duckdb(
    memory_limit_bytes: int = DEFAULT_MEMORY_LIMIT_BYTES, scratch_dir: Path | None = None
) -> "Iterator[duckdb.DuckDBPyConnection]":
    """A connection in UTC that reads what is registered on it and nothing else.

    Over `memory_limit_bytes` it spills to a folder in `scratch_dir` (default: the system's).
    """
    import duckdb

    if scratch_dir is not None:
        scratch_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="duckdb-", dir=scratch_dir) as spill:
        config = {"memory_limit": f"{memory_limit_bytes // 1024}KiB", "temp_directory": spill}
        connection = duckdb.connect(config={**config, "preserve_insertion_order": "false"})
        try:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute("SET enable_progress_bar = false")
            connection.execute("SET enable_external_access = false")
            yield connection
        finally:
            connection.close()
