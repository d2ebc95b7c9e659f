"""Small entities for tests: refined streams written straight into the lake."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from superinsight_sync.lake.system_columns import add_system_columns
from superinsight_sync.model.entity import EntitySpec
from superinsight_sync.model.tables import Checkpoint, Commit, TableRef
from superinsight_sync.pipeline.engine import Engine

START = datetime(2026, 1, 1, tzinfo=UTC)

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("email", pa.string()),
        ("name", pa.string()),
        ("phone", pa.string()),
        ("at", pa.timestamp("us", "UTC")),
        ("v", pa.int64()),
        ("gone", pa.bool_()),
    ]
)


def minute(number: float) -> datetime:
    """A moment that many minutes after the start."""
    return START + timedelta(minutes=number)


def customer(**changes: Any) -> EntitySpec:
    """Customers of a CRM and a shop that meet by their e-mail address."""
    stream = {"key": ["id"], "time": "at", "version": None, "deleted": "gone"}
    fields = {name: name for name in ("email", "name", "phone")}
    attributes: dict[str, Any] = {
        "name": "customer",
        "streams": [{"stream": f"{s}/customers", **stream, "columns": fields} for s in ("crm", "shop")],
        "match": [{"equal": ["email"]}],
        "strategy": [{"strategy": "newest"}],
    }
    return EntitySpec.model_validate({**attributes, **changes})


def land(
    engine: Engine, source: str, rows: Sequence[Mapping[str, Any]], load: str, *, schema: pa.Schema = SCHEMA
) -> None:
    """Lands rows in the refined table `<source>/customers`, by their `id`."""
    table = TableRef("default", source, "customers", "refined")
    at = minute(1_000_000)
    reader = pa.Table.from_pylist([dict(r) for r in rows], schema=schema)
    commit = Commit(load, {"": Checkpoint(load, at)})
    engine.lake.merge(
        table,
        lambda: add_system_columns(reader.to_reader(), load_id=load, extracted_at=at),
        commit,
        keys=["id"],
    )


def entities(engine: Engine, spec: EntitySpec) -> list[dict[str, Any]]:
    """The published entities, in the order of their records, without what differs from run to run."""
    rows = engine.lake.scan(spec.table).read_all().to_pylist()
    kept = [{k: v for k, v in row.items() if not k.startswith("_sis_")} for row in rows]
    return sorted(kept, key=lambda row: str(row["records"]))


def conflicts(engine: Engine, spec: EntitySpec) -> list[dict[str, Any]]:
    """Every conflict ever seen, by its field."""
    rows = engine.lake.scan(spec.conflicts).read_all().to_pylist()
    return sorted(rows, key=lambda row: (str(row["field"]), str(row["conflict_id"])))
