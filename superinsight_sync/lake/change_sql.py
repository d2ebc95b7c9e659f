"""The statements that bring the changes of a log together."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from superinsight_sync.core.sql import quote
from superinsight_sync.model.tables import (
    COMMITTED_AT,
    EXTRACTED_AT,
    HASH,
    LOAD_ID,
    OP,
    POSITION,
    SEQ,
    UNCHANGED,
)

if TYPE_CHECKING:
    import duckdb

_ROW_OPS = "('insert', 'update', 'delete', 'snapshot')"
_MARKERS = "('truncate', 'snapshot_begin', 'snapshot_end')"


@dataclass(frozen=True)
class Span:
    """Some changes of a log that follow each other.

    Attributes:
        after, last: their numbers, half-open at the left.
        newest: the number of the log's last one.
        gone_before: records whose last change is an earlier one are gone; 0: none are.
        begun: the number at which the newest snapshot began.
        position: where in the source's log the last one stands.
    """

    after: int
    last: int
    newest: int
    count: int
    gone_before: int
    begun: int
    position: str | None
    committed_at: datetime | None

    @property
    def where(self) -> str:
        return f"{SEQ} > {self.after} AND {SEQ} <= {self.last}"


def span_of(duck: "duckdb.DuckDBPyConnection", after: int, until: int, begun: int) -> Span | None:
    """The changes of the relation `log` after a number, up to another; None if there are none."""
    (row,) = duck.execute(
        f"SELECT max({SEQ}) FILTER ({SEQ} <= {until}), max({SEQ}), count(*) FILTER ({SEQ} <= {until}),"  # noqa: S608
        f" max({POSITION}) FILTER ({SEQ} <= {until}), epoch_us(max({COMMITTED_AT}) FILTER ({SEQ} <= {until}))"
        f" FROM log WHERE {SEQ} > {after}"
    ).fetchall()
    if row[0] is None:
        return None
    last, newest, count, position, at_us = row
    gone_before = 0
    markers = duck.execute(
        f"SELECT {OP}, {SEQ} FROM log WHERE {SEQ} > {after} AND {SEQ} <= {last} AND {OP} IN {_MARKERS} ORDER BY {SEQ}"  # noqa: S608
    ).fetchall()
    for op, seq in markers:
        if op == "truncate":
            gone_before = max(gone_before, seq)
        elif op == "snapshot_begin":
            begun = seq
        else:
            gone_before = max(gone_before, begun)
    at = None if at_us is None else _moment(at_us)
    return Span(after, last, newest, count, gone_before, begun, position, at)


def _moment(at_us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)


def incomplete_columns(duck: "duckdb.DuckDBPyConnection", span: Span) -> list[str]:
    """Columns that some of the changes do not know."""
    rows = duck.execute(
        f"SELECT DISTINCT unnest({UNCHANGED}) AS name FROM log WHERE {span.where} ORDER BY name"  # noqa: S608
    ).fetchall()
    return [row[0] for row in rows]


def collapsed_sql(data: Sequence[str], keys: Sequence[str], span: Span, partial: Sequence[str]) -> str:
    """The last change of each key. A column that it does not know has the value of the last earlier one that does;
    where none does, `_sis_keep_<n>` is true, n being its number in `partial`."""
    by = ", ".join(map(quote, keys))
    values, keeps = [], []
    for name in data:
        column = quote(name)
        if name not in partial:
            values.append(column)
            continue
        literal = "'" + name.replace("'", "''") + "'"
        unknown = f"coalesce(list_contains({UNCHANGED}, {literal}), false)"
        newest = f"max_by(struct_pack(v := {column}), {SEQ}) FILTER (NOT {unknown})"
        known = f"{newest} OVER (PARTITION BY {by})"
        values.append(f"CASE WHEN {unknown} THEN ({known}).v ELSE {column} END AS {column}")
        keeps.append(f'{unknown} AND ({known}) IS NULL AS "_sis_keep_{partial.index(name)}"')
    kept = ", ".join([*values, LOAD_ID, EXTRACTED_AT, HASH, SEQ, COMMITTED_AT])
    op = f"CASE WHEN {SEQ} < {span.gone_before} THEN 'delete' ELSE {OP} END AS {OP}"
    extra = ", ".join([op, *keeps])
    return f"""
        SELECT {kept}, {extra} FROM log WHERE {span.where} AND {OP} IN {_ROW_OPS}
        QUALIFY row_number() OVER (PARTITION BY {by} ORDER BY {SEQ} DESC) = 1"""  # noqa: S608
