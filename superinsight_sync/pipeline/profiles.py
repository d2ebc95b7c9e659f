"""A stream's counts, kept beside its dictionary: new rows are added to them instead of counting all again.

Only where that gives the same: nothing but new rows came since, the columns are the same, and the key is known (what
may be a key without being declared is counted over all rows).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from superinsight_sync.core.canonical import decode, encode
from superinsight_sync.lake.store import Store
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.semantics.profile import Counted, add_rows, count_table
from superinsight_sync.semantics.rules import RULES_VERSION


@dataclass(frozen=True)
class Counting:
    """Whose rows are counted. `keyed` says whether the stream's key is known."""

    engine: Engine
    store: Store
    raw: Store
    table: TableRef
    keyed: bool

    @property
    def limits(self) -> dict[str, Any]:
        settings = self.engine.settings
        return {"memory_limit_bytes": settings.memory_limit_bytes, "scratch_dir": settings.scratch_dir}

    @property
    def raw_version(self) -> int | None:
        """Up to which version of the raw rows the refined ones are made."""
        point = self.store.checkpoint(self.table)
        found = point.detail.get("raw_version") if point is not None else None
        return int(found) if found is not None else None


def counted_rows(job: Counting, *, force: bool) -> tuple[Counted, int]:
    """The table's counts, and how many rows were read for them."""
    raw_version = job.raw_version
    version = job.store.version(job.table)
    may_add = job.keyed and raw_version is not None and job.raw is job.engine.lake
    found = _with_new_rows(job, version) if may_add and not force else None
    if found is None:
        counted = count_table(job.store.dataset(job.table, version=version), keyed=job.keyed, **job.limits)
        found = counted, counted.rows
    if may_add:
        kept = {
            "made_by": _made_by(),
            "version": version,
            "raw_version": raw_version,
            "counted": found[0].state(),
        }
        job.engine.blobs.write(_path(job.table), encode(kept).encode())
    return found


def _with_new_rows(job: Counting, version: int | None) -> tuple[Counted, int] | None:
    """Rows carry the raw load that brought them. That there are as many rows as were added says that none changed."""
    if not job.engine.blobs.exists(_path(job.table)):
        return None
    kept = decode(job.engine.blobs.read(_path(job.table)).decode())
    if kept["made_by"] != _made_by():
        return None
    counted = Counted.of(kept["counted"], job.store.schema(job.table))
    if counted is None or job.store.loads_since(job.table, kept["version"]) is None:
        return None
    loads = job.raw.loads_since(job.table.at("raw"), kept["raw_version"])
    if loads is None:
        return None
    before = counted.rows
    if loads:
        add_rows(counted, job.store.scan(job.table, version=version, load_ids=loads), **job.limits)
    return (counted, counted.rows - before) if counted.rows == job.store.count(job.table) else None


def _made_by() -> list[Any]:
    """Counts of other rules, or of an engine that hashes in another way, are not added to."""
    import duckdb

    return [RULES_VERSION, duckdb.__version__]


def _path(table: TableRef) -> str:
    return str(Path(table.at("refined").path).parent / "dictionary" / "counts.json")
