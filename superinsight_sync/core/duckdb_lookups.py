"""Conversions that only Python can do, for SQL: a table of a column's distinct values and what they become."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from superinsight_sync.core.sql import quote

if TYPE_CHECKING:
    import duckdb

LOOKUP_ROWS = 16_384


@dataclass(frozen=True)
class Lookup:
    """A conversion that only a Python library can do: called with distinct non-null texts, a bounded chunk at a time.

    Attributes:
        value: SQL of the text that is converted.
        convert: gives as many results; None for a text it cannot convert. Of a text's content it raises nothing.
    """

    value: str
    convert: Callable[[Sequence[str]], Sequence[str | None]]


def look_up(connection: "duckdb.DuckDBPyConnection", rows: str, name: str, lookup: Lookup, table: str) -> str:
    """Makes `table` with what the distinct values of `rows` become, as the column `name`. Returns the join with it."""
    import pyarrow as pa

    key = quote(name + "_key")
    connection.execute(f"CREATE TABLE {table} ({key} VARCHAR, {quote(name)} VARCHAR)")
    reading, writing = connection.cursor(), connection.cursor()
    distinct = reading.sql(
        f"SELECT DISTINCT {lookup.value} AS v FROM {rows} WHERE {lookup.value} IS NOT NULL"  # noqa: S608 - a compiled expression
    )
    for batch in distinct.to_arrow_reader(LOOKUP_ROWS):
        texts = batch.column(0).to_pylist()
        converted = lookup.convert(texts) if texts else ()
        writing.register("_sis_chunk", pa.table({"k": texts, "v": pa.array(converted, pa.string())}))
        writing.execute(f"INSERT INTO {table} SELECT k, v FROM _sis_chunk WHERE v IS NOT NULL")  # noqa: S608 - our table
        writing.unregister("_sis_chunk")
    reading.close()
    writing.close()
    return f"LEFT JOIN {table} ON {lookup.value} = {key}"
