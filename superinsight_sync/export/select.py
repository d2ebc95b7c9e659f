"""Runs a dataset's SELECT in a locked and bounded DuckDB: rows in a fixed order, each with its split."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import duckdb
import pyarrow as pa
import pyarrow.dataset

from superinsight_sync.core.duckdb_session import open_duckdb
from superinsight_sync.core.errors import ConfigError, DataError, SisError, TransientError
from superinsight_sync.core.sql import SafeSelect, close_to, quote, safe_select
from superinsight_sync.export.masked import anonymous_sql, masked_sql
from superinsight_sync.export.order import in_order
from superinsight_sync.export.split import bucket_sql, split_sql
from superinsight_sync.lake.bounded import bounded_reader
from superinsight_sync.model.dataset import DatasetSpec, SplitSpec
from superinsight_sync.model.declaration import RESERVED_PREFIX
from superinsight_sync.security.mask_keys import Masking

BUCKET = "_sis_bucket"
SPLIT = "_sis_split"
_TIE = "_sis_tie"
_VECTOR_ROWS = 2_048
"""What the engine has in hand at a time: more would be as many long texts at once."""
_INPUT_BYTES = 16 << 20

Input: TypeAlias = pyarrow.dataset.Dataset | Callable[[], pa.RecordBatchReader]
"""A table of the SELECT: a dataset, or what opens a new stream over the same rows at each call."""

_AS_TEXT = {"uuid", "enum", "bit", "time with time zone", "null"}
_AS_DECIMAL = {"hugeint", "uhugeint"}


@dataclass(frozen=True)
class Selected:
    """The SELECT's rows, readable while the `select_rows` context is open.

    Attributes:
        columns: names in the SELECT's order.
        lineage: column → the (input's alias, column) pairs its values come from.
        rows: all rows, ordered by split and then as declared, with `_sis_bucket` and `_sis_split` after
            those of the SELECT.
        split: the declared split, its columns spelled as the SELECT does.
        anonymity: what the check for anonymity found, as the manifest has it; empty without one.
    """

    columns: tuple[str, ...]
    lineage: Mapping[str, tuple[tuple[str, str], ...]]
    rows: pa.RecordBatchReader
    split: SplitSpec
    anonymity: Mapping[str, int]


@contextmanager
def select_rows(
    spec: DatasetSpec,
    inputs: Mapping[str, Input],
    *,
    scratch_dir: Path,
    memory_limit_bytes: int,
    masking: Masking | None = None,
) -> Iterator[Selected]:
    """Raises ConfigError for a SELECT that is refused or does not fit its inputs, before a row is read."""
    with duckdb_errors(), open_duckdb(memory_limit_bytes, scratch_dir) as connection:
        tables = {alias: _register(connection, alias, inputs[alias], spec.select) for alias in spec.inputs}
        safe = safe_select(spec.select, tables)
        for name, value in (
            ("threads", "1" if _depends_on_row_order(safe.sql) else "2"),
            ("preserve_insertion_order", "true"),
            ("enable_progress_bar", "false"),
            ("lock_configuration", "true"),
        ):
            connection.execute(f"SET {name} = {value}")
        types = _column_types(connection, safe)
        resolved = _resolved(spec, types)
        chosen, anonymity = _chosen(connection, resolved, safe, types, masking or Masking(spec.tenant))
        rows = connection.sql(_keyed_sql(connection, resolved.split, chosen)).to_arrow_reader(_VECTOR_ROWS)
        with TemporaryDirectory(prefix="order-", dir=scratch_dir) as folder:
            ordered = in_order(
                rows,
                tuple(dict.fromkeys((SPLIT, *resolved.order_by, _TIE))),
                folder=Path(folder),
                memory_limit_bytes=memory_limit_bytes,
            )
            reader = pa.RecordBatchReader.from_batches(rows.schema, ordered)
            yield Selected(tuple(types), safe.lineage, reader, resolved.split, anonymity)


@contextmanager
def duckdb_errors(where: str = "select") -> Iterator[None]:
    """DuckDB's errors as ours. Those of running rows quote values, so their text is not passed on."""
    try:
        yield
    except SisError as error:
        raise error.at(where) from None
    except (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException) as error:
        raise ConfigError(str(error).splitlines()[0], where=where) from None
    except duckdb.OutOfMemoryException:
        raise ConfigError(
            "the rows do not fit into the memory and scratch space the export may use",
            where=where,
            hint="Raise SIS_MEMORY_LIMIT_MB, or free disk space",
        ) from None
    except duckdb.IOException:
        raise TransientError("the scratch folder cannot be written", where=where) from None
    except (duckdb.Error, pa.ArrowInvalid) as error:
        raise DataError(
            f"a value cannot be computed ({type(error).__name__})",
            where=where,
            hint="Guard the expression with TRY(…) or TRY_CAST, or filter such rows out",
        ) from None


class Reopened:
    """Lets DuckDB scan an input again each time the SELECT names it."""

    def __init__(self, opener: Callable[[], pa.RecordBatchReader]) -> None:
        self._open = opener

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._open().__arrow_c_stream__(requested_schema)


def _register(connection: duckdb.DuckDBPyConnection, alias: str, given: Input, sql: str) -> Sequence[str]:
    """Makes the input a table without our system columns, which change with every load."""
    source = f"{RESERVED_PREFIX}input_{alias}"
    if isinstance(given, pyarrow.dataset.Dataset):
        data = [name for name in given.schema.names if not name.startswith(RESERVED_PREFIX)]
        used = columns_used(sql, data)
        connection.register(source, Reopened(lambda: bounded_reader(given, used, batch_bytes=_INPUT_BYTES)))
    else:
        data = used = [name for name in given().schema.names if not name.startswith(RESERVED_PREFIX)]
        connection.register(source, Reopened(given))
    listed = ", ".join(quote(name) for name in used)
    connection.execute(f"CREATE TEMP VIEW {quote(alias)} AS SELECT {listed} FROM {quote(source)}")  # noqa: S608
    return data


def columns_used(sql: str, columns: Sequence[str]) -> list[str]:
    """The columns that a SELECT may read, so that the others are not: all of them with a star, one at least."""
    folded = sql.casefold()
    if re.search(r"(?<!\()\*(?!\))", sql):
        return list(columns)
    return [name for name in columns if quote(name)[1:-1].casefold() in folded] or list(columns[:1])


def _depends_on_row_order(sql: str) -> bool:
    """Whether two threads could give other values: sums of floats, first values, ties, a limit."""
    import sqlglot
    from sqlglot import exp

    sensitive = (exp.AggFunc, exp.Window, exp.Limit, exp.Fetch, exp.Distinct)
    return sqlglot.parse_one(sql, read="duckdb").find(*sensitive) is not None


def _column_types(connection: duckdb.DuckDBPyConnection, safe: SafeSelect) -> dict[str, Any]:
    relation = connection.sql(safe.sql)
    names = relation.columns
    folded = [name.casefold() for name in names]
    for name in names:
        if name.startswith(RESERVED_PREFIX):
            raise ConfigError(f"column '{name}' begins with {RESERVED_PREFIX}", hint="Rename it with AS")
        if folded.count(name.casefold()) > 1:
            raise ConfigError(f"the SELECT gives column '{name}' twice", hint="Rename one with AS")
    return dict(zip(names, relation.types, strict=True))


def _chosen(
    connection: duckdb.DuckDBPyConnection,
    spec: DatasetSpec,
    safe: SafeSelect,
    types: Mapping[str, Any],
    masking: Masking,
) -> tuple[str, Mapping[str, int]]:
    """SQL of the rows with the bucket of their split, masked, and those left that may be shown."""
    typed = ", ".join(f"{_exportable(name, kind)} AS {quote(name)}" for name, kind in types.items())
    bucket = bucket_sql(spec.split, {name: str(kind) for name, kind in types.items()})
    rows = (
        f"WITH _sis_typed AS (SELECT {typed} FROM ({safe.sql}) AS _sis_chosen) "  # noqa: S608
        f"SELECT *, {bucket} AS {BUCKET} FROM _sis_typed"
    )
    if spec.mask:
        rows = masked_sql(connection, rows, spec.mask, masking, (BUCKET,))
    return anonymous_sql(connection, rows, spec.anonymity) if spec.anonymity else (rows, {})


def _keyed_sql(connection: duckdb.DuckDBPyConnection, split: SplitSpec, chosen: str) -> str:
    """The rows with their split, and a hash of their content that orders those whose declared order is equal."""
    relation = connection.sql(chosen)
    types = {n: k for n, k in zip(relation.columns, relation.types, strict=True) if n != BUCKET}
    content = [
        *map(quote, types),
        *(tie for name, kind in types.items() if (tie := _tie_breaker(name, kind))),
    ]
    return (
        f"WITH _sis_masked AS ({chosen}), "  # noqa: S608
        f"_sis_keyed AS (SELECT *, hash({', '.join(content)}) AS {_TIE} FROM _sis_masked) "
        f"SELECT *, CAST({split_sql(split, BUCKET)} AS INTEGER) AS {SPLIT} FROM _sis_keyed"
    )


def _resolved(spec: DatasetSpec, columns: Collection[str]) -> DatasetSpec:
    """With `order_by` and `group_by` spelled as the SELECT's columns are. Raises ConfigError for one that is none."""
    known = {name.casefold(): name for name in columns}

    def found(where: str, names: Sequence[str]) -> tuple[str, ...]:
        for name in names:
            if name.casefold() not in known:
                raise ConfigError(f"{where}: there is no column '{name}'", hint=close_to(name, columns))
        return tuple(known[name.casefold()] for name in names)

    split = spec.split.model_copy(update={"group_by": found("split.group_by", spec.split.group_by)})
    return spec.model_copy(update={"order_by": found("order_by", spec.order_by), "split": split})


def _exportable(name: str, kind: Any) -> str:
    """The column, as text or decimal where DuckDB has a type that Arrow has not."""
    column = quote(name)
    if kind.id in _AS_TEXT or str(kind) == "JSON":
        return f"CAST({column} AS VARCHAR)"
    if kind.id in _AS_DECIMAL:
        return f"CAST({column} AS DECIMAL(38, 0))"
    if lost := set(_leaf_ids(kind)) & {"bit", "time with time zone"}:
        raise ConfigError(
            f"column '{name}' has {min(lost)} inside a list, struct or map", hint="Cast it to VARCHAR"
        )
    return column


def _leaf_ids(kind: Any) -> Iterator[str]:
    if kind.id not in ("list", "array", "struct", "tuple", "map"):
        yield kind.id
        return
    for _, inner in kind.children:
        if not isinstance(inner, int):
            yield from _leaf_ids(inner)


def _tie_breaker(name: str, kind: Any) -> str:
    """Tells apart what DuckDB's hash takes for equal: the two zeros of a float."""
    text = str(kind)
    if text in ("FLOAT", "DOUBLE"):
        return f"signbit({quote(name)})"
    return f"CAST({quote(name)} AS VARCHAR)" if "FLOAT" in text or "DOUBLE" in text else ""
