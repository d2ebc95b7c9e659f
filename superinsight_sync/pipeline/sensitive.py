"""Where sensitive data lies in the lake: looked for in samples of columns, and in whole columns of texts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.types as pt

from superinsight_sync.core.duckdb_session import open_duckdb
from superinsight_sync.core.errors import DataError
from superinsight_sync.core.sql import literal, quote
from superinsight_sync.lake.bounded import bounded_reader
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.model.tables import Stage, TableRef, is_system
from superinsight_sync.pipeline.engine import Engine, table_of
from superinsight_sync.security.columns import Judged, inside_rules, judge
from superinsight_sync.security.detection import Rule
from superinsight_sync.security.sensitive_file import load_sensitive_file

if TYPE_CHECKING:
    import duckdb
    import pyarrow.dataset

SAMPLE_ROWS = 5_000
_FEW_VALUES = 50
"""A column with fewer values in the sample of rows gets a sample of its own."""
_TEXT_LENGTH = 2_000
_BATCH_BYTES = 8 << 20
STAGES: tuple[Stage, ...] = ("raw", "refined")


@dataclass(frozen=True)
class SensitiveColumn:
    """A column of a table of the lake that holds sensitive data.

    Attributes:
        rows_by_rule: for texts: rule → how many rows of the whole table hold some of it.
        rows: of the table.
    """

    stream: str
    stage: Stage
    column: str
    found: Judged
    rows_by_rule: dict[str, int]
    rows: int


def find_sensitive(
    engine: Engine, source: SourceSpec, streams: Sequence[str] = ()
) -> Iterator[SensitiveColumn]:
    """What the raw and refined tables of a source's streams (default: all) hold. It reads, and changes nothing.

    Raises DataError if the engine cannot take the rows.
    """
    rules = load_sensitive_file(engine.settings.project_dir).rules()
    for stream in source.streams:
        if streams and stream.name not in streams:
            continue
        for stage in STAGES:
            table = table_of(source, stream, stage)
            if engine.lake.exists(table):
                yield from _of_table(engine, table, stage, rules)


def _of_table(
    engine: Engine, table: TableRef, stage: Stage, rules: tuple[Rule, ...]
) -> Iterator[SensitiveColumn]:
    import duckdb

    data = engine.lake.dataset(table)
    fields = [f for f in data.schema if not is_system(f.name) and _looked_at(f.type)]
    if not fields:
        return
    memory = engine.settings.memory_limit_bytes
    with open_duckdb(memory, engine.settings.scratch_dir) as connection:
        try:
            connection.execute("SET threads = 1")
            samples = _samples(connection, data, fields)
            rows = data.count_rows()
            for field in fields:
                found = judge(field.name, table.stream, samples[field.name], rules)
                if found is None:
                    continue
                counts = {}
                if found.kind == "personal_text":
                    counts = _counted(connection, data, field, rules)
                stream = f"{table.source}/{table.stream}"
                yield SensitiveColumn(stream, stage, field.name, found, counts, rows)
        except (duckdb.Error, pa.ArrowException) as error:
            raise DataError(f"the rows could not be searched ({type(error).__name__})") from None


def _looked_at(kind: pa.DataType) -> bool:
    return not (pt.is_boolean(kind) or pt.is_floating(kind) or pt.is_binary(kind) or pt.is_large_binary(kind))


def _text(field: pa.Field) -> str:
    name = quote(field.name)
    whole = f"CAST(to_json({name}) AS VARCHAR)" if pt.is_nested(field.type) else f"CAST({name} AS VARCHAR)"
    return f"left({whole}, {_TEXT_LENGTH})"


def _samples(
    connection: "duckdb.DuckDBPyConnection", data: "pyarrow.dataset.Dataset", fields: Sequence[pa.Field]
) -> dict[str, list[str]]:
    """Distinct values of a sample of rows: the same for the same table."""
    found = _sampled(connection, data, fields, "true")
    for field in fields:
        if len(found[field.name]) < _FEW_VALUES:
            only = f"{quote(field.name)} IS NOT NULL"
            found |= _sampled(connection, data, [field], only)
    return found


def _sampled(
    connection: "duckdb.DuckDBPyConnection",
    data: "pyarrow.dataset.Dataset",
    fields: Sequence[pa.Field],
    condition: str,
) -> dict[str, list[str]]:
    listed = ", ".join(f"{_text(f)} AS {quote(f.name)}" for f in fields)
    connection.register("searched", bounded_reader(data, [f.name for f in fields], batch_bytes=_BATCH_BYTES))
    sql = (
        f"SELECT {listed} FROM (FROM searched WHERE {condition}) "  # noqa: S608 - quoted names
        f"USING SAMPLE reservoir({SAMPLE_ROWS} ROWS) REPEATABLE (1)"
    )
    table = connection.sql(sql).to_arrow_table()
    connection.unregister("searched")
    return {f.name: sorted(v for v in set(table.column(f.name).to_pylist()) if v) for f in fields}


def _counted(
    connection: "duckdb.DuckDBPyConnection",
    data: "pyarrow.dataset.Dataset",
    field: pa.Field,
    rules: Sequence[Rule],
) -> dict[str, int]:
    """In how many rows of the whole table each rule finds something within the text."""
    asked = inside_rules(rules)
    text = _text(field).removeprefix("left(").removesuffix(f", {_TEXT_LENGTH})")
    counts = ", ".join(f"count(*) FILTER (regexp_matches({text}, {literal(r.inside)}))" for r in asked)
    connection.register("searched", bounded_reader(data, [field.name], batch_bytes=_BATCH_BYTES))
    found = connection.execute(f"SELECT {counts} FROM searched").fetchall()[0]  # noqa: S608 - quoted names
    connection.unregister("searched")
    rows: dict[str, int] = {}
    for rule, count in zip(asked, found, strict=True):
        if count:
            rows[rule.name] = int(count)
    return rows
