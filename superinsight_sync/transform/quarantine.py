"""What is written of a record that was set aside: itself, exactly but for what is masked, and why."""

from collections.abc import Sequence

import duckdb
import pyarrow as pa

from superinsight_sync.core.sql import literal, quote
from superinsight_sync.transform.chain import Base, Chain, Verdict

RULE, STEP, REASON, COLUMN, RECORD = "_sis_rule", "_sis_step", "_sis_reason", "_sis_column", "_sis_record"
FIELDS = (RULE, STEP, REASON, COLUMN, RECORD)


def quarantine_schema(carried: pa.Schema) -> pa.Schema:
    """The quarantine's columns: the raw row's system columns and `FIELDS`, all text."""
    return pa.schema([*carried, *(pa.field(name, pa.string()) for name in FIELDS)])


def keep_others(
    chain: Chain, connection: duckdb.DuckDBPyConnection, before: pa.RecordBatchReader, keys: Sequence[str]
) -> int:
    """Makes the table `_sis_kept` of earlier quarantined records whose key none of the rows has. Returns their count.

    Rows and records must be of one table with these keys: a row takes the place of the record it was before.
    """
    system = [n for n in before.schema.names if n not in FIELDS]
    listed = ", ".join(map(quote, (*system, *FIELDS)))
    here = ", ".join(_shown(chain.bases[0], chain, k, quote(k)) for k in keys)
    there = ", ".join(f"json_extract({RECORD}, {literal(_pointer(k))})" for k in keys)
    connection.register("_sis_before", before)
    connection.execute(
        f"CREATE TABLE _sis_kept AS SELECT {listed} FROM _sis_before WHERE CAST(json_array({there}) AS VARCHAR) "  # noqa: S608
        f"NOT IN (SELECT CAST(json_array({here}) AS VARCHAR) FROM _sis_base_0)"
    )
    connection.unregister("_sis_before")
    return int(connection.execute("SELECT count(*) FROM _sis_kept").fetchall()[0][0])


def _pointer(name: str) -> str:
    """A JSON pointer (RFC 6901) to a field."""
    return "/" + name.replace("~", "~0").replace("/", "~1")


def write_verdicts(connection: duckdb.DuckDBPyConnection, verdicts: Sequence[Verdict]) -> None:
    """Makes the table `_sis_verdicts` that the quarantine is joined with."""
    connection.execute(
        "CREATE TABLE _sis_verdicts (code INTEGER, rule VARCHAR, step VARCHAR, reason VARCHAR, col VARCHAR)"
    )
    rows = [(v.code, v.reject.rule, v.step, v.reject.reason, v.reject.column) for v in verdicts if v.reject]
    if rows:
        connection.executemany("INSERT INTO _sis_verdicts VALUES (?, ?, ?, ?, ?)", rows)


def quarantine_selects(chain: Chain) -> list[tuple[str, int]]:
    """SELECTs of the quarantined rows of all bases, each in the order they came, and the rows of their batches."""
    return [(_of_base(base, chain, some), rows) for base in chain.bases for some, rows in chain.parts(base)]


def _of_base(base: Base, chain: Chain, some: str) -> str:
    present = (
        chain.carried.names if base.number == 0 else [n for n in chain.carried.names if n in chain.system]
    )
    system = ", ".join(f"b.{quote(n)}" for n in present)
    return (
        f"SELECT {system}{', ' if system else ''}v.rule AS {RULE}, v.step AS {STEP}, v.reason AS {REASON}, "  # noqa: S608
        f"v.col AS {COLUMN}, {_record(base, chain)} AS {RECORD} "
        f"FROM {base.table} b JOIN {base.gone} g USING (_sis_row) JOIN _sis_verdicts v ON v.code = g.code "
        f"WHERE {some} ORDER BY _sis_row"
    )


def _record(base: Base, chain: Chain) -> str:
    """The data columns as JSON text: decimals, dates and times as text, binary as base64, floats shortest."""
    pairs = ", ".join(
        f"{literal(name)}, {_shown(base, chain, name, f'b.{quote(name)}')}" for name in base.data.names
    )
    return f"CAST(json_object({pairs}) AS VARCHAR)"


def _shown(base: Base, chain: Chain, name: str, value: str) -> str:
    """A value as JSON. One that a later step masks is hidden here as well."""
    hiding = next((chain.hidden[raw] for raw in base.lineage.get(name, ()) if raw in chain.hidden), None)
    if hiding is None:
        return _json(value, base.data.field(name).type)
    return f"CASE WHEN {value} IS NOT NULL THEN to_json({hiding(value)}) END"


def _json(value: str, dtype: pa.DataType) -> str:
    if pa.types.is_floating(dtype):
        return f"CASE WHEN isfinite({value}) THEN to_json({value}) ELSE to_json(CAST({value} AS VARCHAR)) END"
    if pa.types.is_binary(dtype) or pa.types.is_large_binary(dtype) or pa.types.is_fixed_size_binary(dtype):
        return f"to_json(base64({value}))"
    if pa.types.is_integer(dtype) or pa.types.is_boolean(dtype) or pa.types.is_nested(dtype):
        return f"to_json({value})"
    return f"to_json(CAST({value} AS VARCHAR))"
