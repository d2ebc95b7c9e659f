"""A dataset's masks, and the check that nobody stands alone in it."""

# ruff: noqa: S608 - every name in this SQL is quoted or made here, every expression comes compiled

from collections.abc import Mapping
from typing import Any

import duckdb

from superinsight_sync.core.duckdb_lookups import look_up
from superinsight_sync.core.duckdb_secrets import add_secrets
from superinsight_sync.core.errors import ConfigError, DataError
from superinsight_sync.core.sql import close_to, quote
from superinsight_sync.model.dataset import AnonymitySpec
from superinsight_sync.model.masking import Mask
from superinsight_sync.security.mask_keys import Masking
from superinsight_sync.security.masking import compile_masks


def masked_sql(
    connection: duckdb.DuckDBPyConnection,
    rows: str,
    declared: Mapping[str, Mask],
    masking: Masking,
    carried: tuple[str, ...],
) -> str:
    """SQL of `rows` (a SELECT) with masked columns; `carried` are columns of ours that go along.

    Raises ConfigError for a column that is not there, a mask that does not fit it, or a missing key.
    """
    found = connection.sql(f"SELECT * FROM ({rows}) LIMIT 0").to_arrow_table().schema
    names = [name for name in found.names if name not in carried]
    spelled = {name.casefold(): name for name in names}
    masks = {spelled.get(name.casefold(), name): mask for name, mask in declared.items()}
    masked = compile_masks(masks, found, masking)
    add_secrets(connection, masked.secrets)
    joins = [
        look_up(connection, f"({rows})", name, lookup, f"_sis_lookup{name}")
        for name, lookup in masked.lookups.items()
    ]
    columns = [f"{masked.columns.get(name, quote(name))} AS {quote(name)}" for name in names]
    listed = ", ".join((*columns, *carried))
    return f"SELECT {listed} FROM ({rows}) AS _sis_unmasked {' '.join(joins)}"


def anonymous_sql(
    connection: duckdb.DuckDBPyConnection, rows: str, spec: AnonymitySpec
) -> tuple[str, dict[str, int]]:
    """SQL of the rows whose class is large and diverse enough, and the numbers for the manifest.

    Raises ConfigError for a column that is not there, DataError with `otherwise: fail` where rows had to go.
    """
    found = connection.sql(f"SELECT * FROM ({rows}) LIMIT 0").columns
    spelled = {name.casefold(): name for name in found}
    for name in (*spec.quasi_identifiers, *spec.sensitive):
        if name.casefold() not in spelled:
            raise ConfigError(f"anonymity: there is no column '{name}'", hint=close_to(name, found))
    quasi = [quote(spelled[name.casefold()]) for name in spec.quasi_identifiers]
    kinds = [
        f"count(DISTINCT {column}) + max(CAST({column} IS NULL AS INTEGER))"
        for column in (quote(spelled[name.casefold()]) for name in spec.sensitive)
    ]
    diverse = f"least({', '.join(kinds)})" if kinds else str(spec.l)
    listed = ", ".join(f"{column} AS q{at}" for at, column in enumerate(quasi))
    connection.execute(
        f"CREATE TEMP TABLE _sis_classes AS SELECT {listed}, count(*) AS rows_in, {diverse} AS values_in "
        f"FROM ({rows}) GROUP BY {', '.join(quasi)}"
    )
    good = f"rows_in >= {spec.k} AND values_in >= {spec.l}"
    count = f"SELECT count(*), coalesce(sum(rows_in) FILTER (NOT ({good})), 0) FROM _sis_classes"
    classes, suppressed = (int(n) for n in connection.execute(count).fetchall()[0])
    numbers: dict[str, int] = {"k": spec.k, "classes": classes, "suppressed_rows": suppressed}
    if spec.sensitive:
        numbers["l"] = spec.l
    if suppressed and spec.otherwise == "fail":
        raise DataError(
            f"{suppressed} rows are in classes that are smaller than k or have fewer values than l",
            where="anonymity",
            hint="Generalise the quasi-identifiers further, or leave the rows out with `otherwise: suppress`",
        )
    same = " AND ".join(f"r.{column} IS NOT DISTINCT FROM c.q{at}" for at, column in enumerate(quasi))
    chosen = f"SELECT r.* FROM ({rows}) AS r SEMI JOIN (FROM _sis_classes WHERE {good}) AS c ON {same}"
    return chosen, numbers


def told(numbers: Mapping[str, Any]) -> tuple[str, ...]:
    """For people: how many rows were left out, if any."""
    if not numbers.get("suppressed_rows"):
        return ()
    rule = f"k = {numbers['k']}" + (f", l = {numbers['l']}" if "l" in numbers else "")
    return (f"{numbers['suppressed_rows']} rows were left out for anonymity ({rule})",)
