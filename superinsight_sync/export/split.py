"""Which split a row belongs to: a hash of its group, so that a group is never torn and never moves.

A row's bucket is the first 16 hexadecimal digits of the SHA-256 (FIPS 180-4) of this UTF-8 text:

    <seed> "|g" { <column> }     the row's group: the `group_by` columns in their declared order
    <seed> "|r" { <column> }     the whole row: all columns, in the SELECT's order
    <column> = "|v" <length of the text in bytes> ":" <the value as text>
             | "|n"              for NULL

The bucket, read as a number and divided by 2^64, is compared with the ratios added up in their declared
order. Without `group_by` the row itself is the group. `null_groups` says what a row is whose group has a NULL in it.

Values that are equal have one text, whatever the type of their column: whole numbers their digits, other numbers
the shortest text of the nearest double, points in time their date if they are a midnight in UTC, else date and
time in UTC without an offset, all other values what DuckDB casts to VARCHAR. So a group stays in its split when its
column becomes wider (`int64` to `double`, `decimal(12,2)` to `decimal(12,3)`, `date` to `timestamp`, a number to text).

A group's split depends on its value, the seed and the ratios alone; for rows that are their own group, also on the
columns selected.
"""

from collections.abc import Mapping
from fractions import Fraction

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.sql import close_to, literal, quote
from superinsight_sync.model.dataset import SplitSpec


def bucket_sql(spec: SplitSpec, columns: Mapping[str, str]) -> str:
    """SQL of a row's bucket, 16 hexadecimal digits.

    Args:
        columns: the dataset's columns and their DuckDB types, in the SELECT's order.

    Raises ConfigError if a `group_by` column is not among them.
    """
    for name in spec.group_by:
        if name not in columns:
            raise ConfigError(f"split.group_by: there is no column '{name}'", hint=close_to(name, columns))
    if not spec.group_by:
        return _digest(spec.seed, "r", columns)
    group = _digest(spec.seed, "g", {name: columns[name] for name in spec.group_by})
    if spec.null_groups != "each_row":
        return group
    unknown = " OR ".join(f"{quote(name)} IS NULL" for name in spec.group_by)
    return f"CASE WHEN {unknown} THEN {_digest(spec.seed, 'r', columns)} ELSE {group} END"


def split_sql(spec: SplitSpec, bucket: str) -> str:
    """SQL of the split's number (0 for the first ratio) for the SQL of a bucket."""
    inner = bounds(spec)[:-1]
    cases = "".join(f" WHEN {bucket} < '{bound}' THEN {number}" for number, (_, bound) in enumerate(inner))
    return f"CASE{cases} ELSE {len(inner)} END" if inner else str(len(inner))


def bounds(spec: SplitSpec) -> list[tuple[str, str]]:
    """Split names and the bucket each ends before (not used of the last one), in their declared order."""
    total, found = Fraction(0), []
    for name, ratio in spec.ratios.items():
        total += Fraction(str(ratio))
        found.append((name, f"{min(round(total * 2**64), 2**64 - 1):016x}"))
    return found


def _digest(seed: int, tag: str, columns: Mapping[str, str]) -> str:
    parts = ", ".join(_part(name, kind) for name, kind in columns.items())
    return f"substr(sha256(concat({literal(f'{seed}|{tag}')}, {parts})), 1, 16)"


def _part(name: str, kind: str) -> str:
    text = value_text(quote(name), kind)
    return f"coalesce('|v' || strlen({text}) || ':' || {text}, '|n')"


def value_text(column: str, kind: str) -> str:
    """SQL of a value's text, the same for equal values of every type."""
    whole = f"CAST(CAST({column} AS HUGEINT) AS VARCHAR)"
    broken = f"CAST(CAST({column} AS DOUBLE) AS VARCHAR)"
    if kind in ("FLOAT", "DOUBLE"):
        is_whole = f"{column} = trunc({column}) AND abs({column}) < 1e38"
        return f"CASE WHEN {is_whole} THEN {whole} ELSE {broken} END"
    if kind.startswith("DECIMAL") and not kind.endswith(",0)"):
        return f"CASE WHEN {column} = trunc({column}) THEN {whole} ELSE {broken} END"
    if kind.startswith("TIMESTAMP"):
        at = f"CAST({column} AS TIMESTAMP)"
        day = f"CAST({at} AS DATE)"
        return f"CASE WHEN {at} = {day} THEN CAST({day} AS VARCHAR) ELSE CAST({at} AS VARCHAR) END"
    return f"CAST({column} AS VARCHAR)"
