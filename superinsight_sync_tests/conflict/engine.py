"""Entities of records in memory: everything that the verb does between reading the lake and writing it."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa

from superinsight_sync.conflict.resolve import Fields
from superinsight_sync.model.entity import EntitySpec
from superinsight_sync.pipeline.entity_scope import Scope
from superinsight_sync.state.reviews import Decision

START = datetime(2026, 1, 1, tzinfo=UTC)
FIELDS = {"email": "VARCHAR", "name": "VARCHAR", "phone": "VARCHAR"}


@dataclass(frozen=True, order=True)
class Version:
    """One version of one record."""

    stream: str
    key: str
    minute: int
    values: tuple[str | None, ...]
    gone: bool = False
    load: str = "l0"

    @property
    def rid(self) -> str:
        return hashlib.md5(f"{self.stream}{self.key}".encode()).hexdigest()

    def row(self, seen_in: str) -> dict[str, Any]:
        content = hashlib.sha256(repr((self.values, self.gone, self.minute)).encode()).digest()[:7]
        return {
            "rid": self.rid,
            "stream": self.stream,
            "key": self.key,
            "as_of": START + timedelta(minutes=self.minute),
            "version": None,
            "gone": self.gone,
            "absent": False,
            "unfit": None,
            "load": self.load,
            **{f"f_{name}": value for name, value in zip(FIELDS, self.values, strict=True)},
            "_sis_hash": int.from_bytes(content),
            "_sis_load_id": seen_in,
        }


SCHEMA = pa.schema(
    [
        *((n, pa.string()) for n in ("rid", "stream", "key")),
        ("as_of", pa.timestamp("us", "UTC")),
        ("version", pa.int64()),
        ("gone", pa.bool_()),
        ("absent", pa.bool_()),
        *((n, pa.string()) for n in ("unfit", "load", *(f"f_{name}" for name in FIELDS))),
        ("_sis_hash", pa.int64()),
        ("_sis_load_id", pa.string()),
    ]
)


class Resolving:
    """An entity whose records and decisions come bit by bit."""

    def __init__(self, spec: EntitySpec) -> None:
        self.duck = duckdb.connect(config={"threads": "1"})
        self.duck.execute("SET TimeZone = 'UTC'")
        self.spec = spec
        self.decisions: list[Decision] = []
        self._count = 0
        self.duck.register("_none", SCHEMA.empty_table())
        self.duck.execute("CREATE TABLE all_records AS FROM _none")
        self._whole()

    def _whole(self) -> None:
        self.duck.execute("CREATE OR REPLACE TABLE old (entity_id VARCHAR, aliases VARCHAR[])")
        self.duck.execute("CREATE OR REPLACE TABLE replaced (entity_id VARCHAR)")

    def take(self, versions: Iterable[Version]) -> None:
        """Takes versions in and resolves what they touch."""
        self._count += 1
        load = f"seen-{self._count}"
        self.duck.register("_new", pa.Table.from_pylist([v.row(load) for v in versions], schema=SCHEMA))
        self.duck.execute("INSERT INTO all_records FROM _new")
        self._resolve([load], [])

    def decide(self, wanted: Sequence[tuple[Any, dict[str, Any]]]) -> list[Decision]:
        """People decide, each (kind, what it is about), and what it touches is resolved."""
        made = []
        for kind, about in wanted:
            of = {k: v for k, v in about.items() if k not in ("entity_id", "field")}
            number = len(self.decisions) + 1
            at = START + timedelta(days=1, minutes=number)
            named = (about.get("entity_id"), about.get("field"))
            made.append(Decision(number, "default", self.spec.name, kind, *named, "li", at, detail=of))
            self.decisions.append(made[-1])
        self._resolve([], made)
        return made

    def undo(self, taken_back: Sequence[Decision]) -> None:
        """They are taken back."""
        ids = {d.id for d in taken_back}
        self.decisions = [replace(d, undone_by="li") if d.id in ids else d for d in self.decisions]
        self._resolve([], taken_back)

    def _resolve(self, loads: Sequence[str], decided: Sequence[Decision]) -> None:
        fields = Fields(FIELDS, {})
        scope = Scope(self.duck, self.spec, list(FIELDS), [d for d in self.decisions if d.undone_by is None])
        known = self.duck.execute("SELECT count(*) FROM (DESCRIBE old)").fetchall()[0][0] > 2
        if not known:
            scope.everything()
        elif not scope.changed(loads, decided):
            return
        scope.resolve(fields)
        kept = (
            "SELECT * FROM old ANTI JOIN replaced r ON r.entity_id = old.entity_id UNION ALL" if known else ""
        )
        self.duck.execute(f"CREATE OR REPLACE TABLE next AS {kept} SELECT * FROM made")
        self.duck.execute("CREATE OR REPLACE TABLE old AS FROM next")

    def entities(self) -> list[tuple[Any, ...]]:
        """All entities: ids, values, membership and how their values came about."""
        return sorted(self.duck.execute("FROM old").fetchall(), key=repr)

    def conflicts(self) -> list[dict[str, Any]]:
        """Those found by the last resolve."""
        found = self.duck.sql("FROM found_conflicts ORDER BY conflict_id").to_arrow_table()
        return list(found.to_pylist())
