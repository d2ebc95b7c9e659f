"""Which split a row belongs to: a hash of its group, so that a group is never torn and never moves.

A row's bucket is the first 16 hexadecimal digits of the SHA-256 (FIPS 180-4) of this UTF-8 text:

    <seed> "|g" { <column> }     the row's group: the `group_by` columns in their declared order
    <seed> "|r" { <column> }     the whole row: all columns, in the SELECT's order
    <column> = "|v" <length of the text in bytes> ":" <the value as DuckDB casts it to VARCHAR, in UTC>
             | "|n"              for NULL

The bucket, read as a number and divided by 2^64, is compared with the ratios added up in their declared
order. Without `group_by` the row itself is the group. So is a row whose group has a NULL in it: nobody knows
what such rows belong to, and taking them as one group would put them all into one split. Both zeros of a
float are one value.

A group's split depends on its value, the seed and the ratios alone. It changes when those or the type of the
column (`decimal(12,2)` to `decimal(12,3)`) change; for rows that are their own group, also with the columns
selected.
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
    row = _digest(spec.seed, "r", columns)
    if not spec.group_by:
        return row
    group = _digest(spec.seed, "g", {name: columns[name] for name in spec.group_by})
    unknown = " OR ".join(f"{quote(name)} IS NULL" for name in spec.group_by)
    return f"CASE WHEN {unknown} THEN {row} ELSE {group} END"


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
    parts = " || ".join(_part(name, kind) for name, kind in columns.items())
    return f"substr(sha256({literal(f'{seed}|{tag}')} || {parts}), 1, 16)"


def _part(name: str, kind: str) -> str:
    column = quote(name)
    text = f"CAST({column} AS VARCHAR)"
    if kind in ("FLOAT", "DOUBLE"):
        text = f"CASE WHEN {column} = 0 THEN '0.0' ELSE {text} END"
    return f"coalesce('|v' || strlen({text}) || ':' || {text}, '|n')"
