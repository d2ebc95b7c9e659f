"""The records of an entity: every version of every record that its streams ever showed, as one set.

The set only grows, and everything else is computed of it: that is why neither the order in which records come nor a
load that comes twice changes anything, and why a load can be taken back.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from superinsight_sync.conflict.detect import column_of
from superinsight_sync.core.canonical import fingerprint
from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.sql import close_to, literal, quote
from superinsight_sync.lake.system_columns import add_system_columns
from superinsight_sync.model.entity import FIELD_PREFIX, OWN_COLUMNS, EntitySpec, EntityStream
from superinsight_sync.model.tables import DELETED_AT, EXTRACTED_AT, LOAD_ID, Checkpoint, Commit, is_system
from superinsight_sync.model.types import arrow_type
from superinsight_sync.pipeline.engine import Engine, new_load_id

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

RULES_VERSION = 1
"""Raised when what is kept of a record changes, so that the records are read anew."""
_OURS = {
    "rid": "VARCHAR",
    "stream": "VARCHAR",
    "key": "VARCHAR",
    "as_of": "TIMESTAMPTZ",
    "version": "BIGINT",
    "gone": "BOOLEAN",
    "absent": "BOOLEAN",
    "unfit": "VARCHAR",
    "load": "VARCHAR",
}
_CLOCK_AHEAD = "5 minutes"


@dataclass(frozen=True)
class Taken:
    """What was new in the streams.

    Attributes:
        versions: stream → the version of its table that was read.
        rows: versions of records that were not known.
        warnings: what a person should look at.
    """

    versions: Mapping[str, int]
    rows: int
    warnings: tuple[str, ...]


class Records:
    """The records of one entity, in the lake.

    Args:
        duck: a DuckDB for the work.
    """

    def __init__(self, engine: Engine, spec: EntitySpec, duck: "duckdb.DuckDBPyConnection") -> None:
        self._engine, self._spec, self._duck = engine, spec, duck
        self._warnings: list[str] = []

    @cached_property
    def schemas(self) -> "Mapping[str, pa.Schema]":
        """Stream → the schema of its table. Raises ConfigError for one that has no table in the lake."""
        found = {}
        for stream in self._spec.streams:
            table = self._spec.input(stream)
            if not self._engine.lake.exists(table):
                raise ConfigError(
                    f"{stream.stream} has no table in the lake",
                    hint="Run it first, and keep it there (save: {refined: persistent}): "
                    f"sis run {stream.stream.replace('/', '.')}",
                )
            found[stream.stream] = self._engine.lake.schema(table)
        return found

    @cached_property
    def types(self) -> Mapping[str, str]:
        """Field → its DuckDB type: as declared, or as the first stream has it. `keep_both` makes it a list."""
        found: dict[str, str] = {}
        for stream in self._spec.streams:
            for field, column in self.columns(stream).items():
                found.setdefault(field, self._type_of(self.schemas[stream.stream].field(column).type))
        for name, declared in self._spec.fields.items():
            if name not in found and name not in OWN_COLUMNS:
                raise ConfigError(f"fields: no stream has '{name}'", hint=close_to(name, list(found)))
            if declared.type is not None:
                found[name] = self._type_of(arrow_type(declared.type))
        for name, kind in found.items():
            keeps = any(s.strategy == "keep_both" for s in self._spec.strategies(name))
            found[name] = f"{kind}[]" if keeps and not kind.endswith("[]") else kind
        return found

    def _type_of(self, kind: "pa.DataType") -> str:
        import pyarrow as pa

        self._duck.register("_probe", pa.table({"v": pa.array([], kind)}))
        found = str(self._duck.sql("SELECT v FROM _probe").types[0])
        self._duck.unregister("_probe")
        return found

    def columns(self, stream: EntityStream) -> dict[str, str]:
        """Field → column of the stream. Raises ConfigError for a column that is not there."""
        schema = self.schemas[stream.stream]
        where = f"entity '{self._spec.name}', stream {stream.stream}"
        wanted = stream.columns
        if wanted is None:
            matched = {f for m in self._spec.match for f in (*m.equal, *m.similar)}
            kept_by_us = {stream.time, stream.version, stream.deleted, *(set(stream.key) - matched)}
            wanted = {n: n for n in schema.names if not is_system(n) and n not in kept_by_us}
            if bad := [n for n in wanted if n in OWN_COLUMNS]:
                raise ConfigError(
                    f"column '{bad[0]}' has the name of one that every entity has",
                    where=where,
                    hint="Name `columns`",
                )
        named = [*wanted.values(), *stream.key, *filter(None, (stream.time, stream.version, stream.deleted))]
        for column in named:
            if column not in schema.names:
                raise ConfigError(
                    f"there is no column '{column}'", where=where, hint=close_to(column, schema.names)
                )
        return dict(wanted)

    @property
    def _columns(self) -> Mapping[str, str]:
        return {**_OURS, **{FIELD_PREFIX + name: kind for name, kind in self.types.items()}}

    @cached_property
    def identity(self) -> str:
        """What a change of makes all records be read anew: the mapping and the types."""
        mapped = [
            [s.stream, s.key, self.columns(s), s.time, s.version, s.deleted] for s in self._spec.streams
        ]
        return fingerprint([RULES_VERSION, mapped, dict(self.types)])

    # taking in what is new

    def take(self, *, force: bool = False) -> Taken:
        """Adds the versions that are new in the streams, in one commit with the versions of all tables read."""
        lake, table, now = self._engine.lake, self._spec.records, utc_now()
        points = lake.checkpoints(table)
        fits = bool(points) and all(p.token == self.identity for p in points.values())
        declared = ", ".join(f"{quote(n)} {t}" for n, t in self._columns.items())
        self._duck.execute(f"CREATE OR REPLACE TABLE fresh ({declared})")
        if fits:
            self._duck.register("kept_records", lake.dataset(table))
        else:
            self._duck.execute(
                "CREATE OR REPLACE TABLE kept_records AS SELECT *, 0::BIGINT AS _sis_hash FROM fresh"
            )
        load_id, after, moved = f"entity-{new_load_id()}", {}, False
        for stream in self._spec.streams:
            version = lake.version(self._spec.input(stream)) or 0
            point = points.get(stream.stream) if fits and not force else None
            if point is None or int(point.detail["version"]) != version:
                self._take_stream(stream, version, point)
                moved = True
            after[stream.stream] = Checkpoint(load_id, now, token=self.identity, detail={"version": version})
        ((count,),) = self._duck.execute("SELECT count(*) FROM fresh").fetchall()
        if moved:
            land = lake.append if fits else lake.replace
            commit = Commit(load_id, after, {"run_id": self._engine.run_id, "verb": "resolve"})
            land(table, lambda: self._reader(load_id, now), commit)
        if fits:
            self._duck.unregister("kept_records")
        versions = {name: int(p.detail["version"]) for name, p in after.items()}
        return Taken(versions, count, tuple(self._warnings))

    def _reader(self, load_id: str, at: datetime) -> "pa.RecordBatchReader":
        found = self._duck.cursor().sql("FROM fresh").to_arrow_reader(65_536)
        return add_system_columns(found, load_id=load_id, extracted_at=at)

    def _take_stream(self, stream: EntityStream, version: int, point: Checkpoint | None) -> None:
        lake, table = self._engine.lake, self._spec.input(stream)
        since = None if point is None else lake.loads_since(table, int(point.detail["version"]))
        if since != []:
            self._read(stream, version, since)
            self._add(stream)
        if since is not None and self._present(stream) != lake.count(table):
            self._read(stream, version, None)
            self._add(stream)
            since = None
        if since is None:
            points = lake.checkpoints(table).values()
            self._add_absent(stream, max(points, key=_landed_at, default=Checkpoint("", utc_now())))

    def _read(self, stream: EntityStream, version: int, loads: list[str] | None) -> None:
        """Makes `mapped`: the rows of the stream, or of some loads, as versions of records."""
        schema = self.schemas[stream.stream]
        columns = self.columns(stream)
        mark = stream.deleted or (DELETED_AT if DELETED_AT in schema.names else None)
        used = {*columns.values(), *stream.key, *filter(None, (stream.time, stream.version, mark))}
        read = [n for n in schema.names if n in used or n in (LOAD_ID, EXTRACTED_AT)]
        rows = self._engine.lake.scan(self._spec.input(stream), version=version, columns=read, load_ids=loads)
        self._duck.register("_rows", rows)
        self._duck.execute(f"CREATE OR REPLACE TABLE mapped AS {self._mapped(stream, columns, mark)}")
        self._duck.unregister("_rows")
        self._look(stream)

    def _mapped(self, stream: EntityStream, columns: Mapping[str, str], mark: str | None) -> str:
        keys = ", ".join(f"CAST({quote(k)} AS VARCHAR)" for k in stream.key)
        key = f"CAST(to_json([{keys}]) AS VARCHAR)"
        at = f"TRY_CAST({quote(stream.time)} AS TIMESTAMPTZ)" if stream.time else "NULL::TIMESTAMPTZ"
        number = f"TRY_CAST({quote(stream.version)} AS BIGINT)" if stream.version else "NULL::BIGINT"
        gone = "false"
        if mark is not None:
            is_flag = str(self.schemas[stream.stream].field(mark).type) == "bool"
            gone = f"coalesce({quote(mark)}, false)" if is_flag else f"{quote(mark)} IS NOT NULL"
        values, unfit = [], []
        for field, kind in self.types.items():
            column = columns.get(field)
            own = None if column is None else self._type_of(self.schemas[stream.stream].field(column).type)
            if column is None or own is None:
                values.append(f"NULL::{kind} AS {column_of(field)}")
                continue
            value, bad = _cast(quote(column), own, kind)
            values.append(f"{value} AS {column_of(field)}")
            if bad:
                unfit += [literal(field), f"CASE WHEN {bad} THEN CAST({quote(column)} AS VARCHAR) END"]
        some = f"coalesce({', '.join(unfit[1::2])}) IS NOT NULL"
        texts = f"CASE WHEN {some} THEN CAST(json_object({', '.join(unfit)}) AS VARCHAR) END"
        return f"""SELECT md5({literal(stream.stream)} || {key}) AS rid, {literal(stream.stream)} AS stream,
            {key} AS key, coalesce({at}, {EXTRACTED_AT}) AS as_of, {number} AS version, {gone} AS gone, false AS absent,
            {texts if unfit else "NULL::VARCHAR"} AS unfit, {LOAD_ID} AS load, {", ".join(values)},
            {at} IS NOT NULL AS timed, {EXTRACTED_AT} AS read_at FROM _rows"""  # noqa: S608 - quoted names

    def _look(self, stream: EntityStream) -> None:
        """Warns of keys that are none, and of a clock that is ahead of ours."""
        ((rows, keys, ahead),) = self._duck.execute(
            f"SELECT count(*), count(DISTINCT rid), "  # noqa: S608 - a constant
            f" count(*) FILTER (timed AND as_of > read_at + INTERVAL '{_CLOCK_AHEAD}') FROM mapped"
        ).fetchall()
        if rows > keys:
            self._warnings.append(
                f"{stream.stream}: {rows - keys} rows have the key of another row; the newest one of each counts"
            )
        if ahead:
            self._warnings.append(
                f"{stream.stream}: {ahead} records are more than {_CLOCK_AHEAD} newer than our clock; "
                "`newest` would always prefer them: see its `clocks`"
            )

    def _add(self, stream: EntityStream) -> None:
        """Adds to `fresh` what is in `mapped` and not known: another content, or the same at another time."""
        listed = ", ".join(quote(n) for n in self._columns)
        content = ["gone", "unfit", "version", *map(column_of, self.types)]
        same = " AND ".join(f"k.{c} IS NOT DISTINCT FROM m.{c}" for c in content)
        self._duck.execute(
            f"""CREATE OR REPLACE TABLE met AS SELECT {listed}, _sis_hash FROM kept_records
            WHERE stream = {literal(stream.stream)} AND rid IN (SELECT rid FROM mapped)
            UNION ALL SELECT {listed}, 0 FROM fresh WHERE stream = {literal(stream.stream)}"""  # noqa: S608 - quoted names
        )
        self._duck.execute(
            f"""UPDATE mapped SET as_of = read_at, timed = false WHERE rid IN (
            SELECT rid FROM {self._now(stream)} WHERE absent)"""  # noqa: S608 - a record that is back
        )
        self._duck.execute(
            f"""INSERT INTO fresh SELECT DISTINCT {", ".join(f"m.{quote(n)}" for n in self._columns)}
            FROM mapped m WHERE NOT EXISTS (
                SELECT 1 FROM met k WHERE k.rid = m.rid AND k.as_of = m.as_of AND m.timed AND {same})
            AND NOT EXISTS (
                SELECT 1 FROM (FROM met QUALIFY row_number() OVER (
                    PARTITION BY rid ORDER BY version DESC NULLS LAST, as_of DESC, _sis_hash DESC) = 1) k
                WHERE k.rid = m.rid AND NOT m.timed AND NOT k.absent AND {same})"""  # noqa: S608 - quoted names
        )

    def _now(self, stream: EntityStream) -> str:
        """The newest version of each of the stream's records."""
        listed = ", ".join(quote(n) for n in self._columns)
        mine = f"WHERE stream = {literal(stream.stream)}"
        newest = "version DESC NULLS LAST, as_of DESC, _sis_hash DESC"
        return f"""(FROM (SELECT {listed}, _sis_hash FROM kept_records {mine}
                  UNION ALL SELECT {listed}, 0 FROM fresh {mine})
            QUALIFY row_number() OVER (PARTITION BY rid ORDER BY {newest}) = 1)"""  # noqa: S608

    def _present(self, stream: EntityStream) -> int:
        """How many records the stream's table holds, as far as we know."""
        ((found,),) = self._duck.execute(
            f"SELECT count(*) FROM {self._now(stream)} WHERE NOT absent"  # noqa: S608 - quoted names
        ).fetchall()
        return int(found)

    def _add_absent(self, stream: EntityStream, seen: Checkpoint) -> None:
        """Adds to `fresh` that records are gone which the whole table, just read into `mapped`, lacks."""
        kept = ", ".join(["version", "true", "true", "unfit", "?", *map(column_of, self.types)])
        at = "greatest(as_of + INTERVAL 1 MICROSECOND, CAST(? AS TIMESTAMPTZ))"
        self._duck.execute(
            f"""INSERT INTO fresh SELECT rid, stream, key, {at}, {kept}
            FROM {self._now(stream)} n WHERE NOT absent AND NOT gone AND rid NOT IN (SELECT rid FROM mapped)""",  # noqa: S608 - quoted names
            [seen.at.isoformat(), seen.load_id],
        )


def _landed_at(point: Checkpoint) -> datetime:
    return point.at


def _cast(column: str, own: str, kind: str) -> tuple[str, str | None]:
    """SQL of a column in the field's type, and of whether a value does not fit it; None if all do."""
    if own == kind:
        return column, None
    if kind == f"{own}[]":
        return f"CASE WHEN {column} IS NOT NULL THEN [{column}] END", None
    value = f"TRY_CAST({column} AS {kind})"
    lost = f"{value} IS NULL" if own == "VARCHAR" else f"TRY_CAST({value} AS {own}) IS DISTINCT FROM {column}"
    return f"CASE WHEN {lost} THEN NULL ELSE {value} END", f"{column} IS NOT NULL AND {lost}"
