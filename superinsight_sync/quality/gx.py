"""The one door to Great Expectations: declared `expect_…` types on pandas batches of the columns they need.

Row-by-row expectations read any table, a bounded batch of rows after the other. The others need their columns
whole in memory; above a limit they are not run at all, and say so, rather than look at a sample.
"""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.extras import need
from superinsight_sync.model.declaration import ExpectSpec
from superinsight_sync.quality.builtin import Finding, no_column
from superinsight_sync.quality.catalogue import GX_TYPES

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.dataset

DEFAULT_MAX_ROWS = 5_000_000
DEFAULT_BATCH_ROWS = 1_000_000

_LOCK = threading.Lock()
"""Great Expectations keeps its context in a global of the process."""

_WHOLE_COLUMN = (
    "be_unique",
    "z_scores",
    "increasing",
    "decreasing",
    "outliers",
)
_COLUMN_ARGUMENTS = ("column", "column_A", "column_B", "column_list")
_HARMLESS_OBSERVED = (
    "expect_table_row_count",
    "expect_table_column_count",
    "expect_column_unique_value_count",
    "expect_column_proportion",
)
"""Types whose observed value is a count or a share; a maximum or a mean may be somebody's value."""


@dataclass(frozen=True)
class _Counts:
    """Great Expectations' result for one batch of rows."""

    passed: bool
    checked: int
    failed: int
    observed: str | None = None
    error: str | None = None


def max_rows_from_env() -> int:
    """``SIS_GX_MAX_ROWS``, default 5 million. Raises ConfigError."""
    text = os.environ.get("SIS_GX_MAX_ROWS") or str(DEFAULT_MAX_ROWS)
    if not text.isdigit() or not int(text):
        raise ConfigError("SIS_GX_MAX_ROWS is not a positive whole number", hint="Set it to a number of rows")
    return int(text)


def run_gx(
    specs: Sequence[ExpectSpec],
    data: "pyarrow.dataset.Dataset",
    *,
    max_rows: int | None = None,
    batch_rows: int = DEFAULT_BATCH_ROWS,
) -> list[Finding]:
    """A finding for each expectation, in order; counts only, never values.

    Args:
        specs: what `validate_specs` let pass.
        data: the table.
        max_rows: most rows held in memory for expectations over whole columns. Default: `max_rows_from_env`.
        batch_rows: rows held in memory for those that look at each row alone.
    """
    limit = max_rows_from_env() if max_rows is None else max_rows
    findings: dict[int, Finding] = {}
    by_row: dict[bool, list[int]] = {False: [], True: []}
    at_once: dict[tuple[str, ...] | None, list[int]] = {}
    for i, spec in enumerate(specs):
        columns = _columns(spec, data.schema)
        missing = [c for c in columns or () if c not in data.schema.names]
        if missing and spec.type != "expect_column_to_exist":
            findings[i] = Finding(error=no_column(missing[0], data.schema.names))
        elif _is_row_wise(spec):
            by_row["column" not in spec.arguments].append(i)
        else:
            at_once.setdefault(columns, []).append(i)
    with _LOCK:
        for across, indexes in by_row.items():
            findings |= _run_by_row({i: specs[i] for i in indexes}, data, batch_rows, across)
        for columns, indexes in at_once.items():
            findings |= _run_at_once({i: specs[i] for i in indexes}, data, columns, limit)
    return [findings[i] for i in range(len(specs))]


def _columns(spec: ExpectSpec, schema: "pa.Schema") -> tuple[str, ...] | None:
    """The columns it reads; () if it is about the number of rows; None if about the schema alone."""
    if spec.type.startswith("expect_table_column") or spec.type == "expect_column_to_exist":
        return None
    if spec.arguments.get("row_condition") is not None:
        return tuple(schema.names)
    found = [spec.arguments[k] for k in _COLUMN_ARGUMENTS if k in spec.arguments]
    return tuple(dict.fromkeys(c for f in found for c in ([f] if isinstance(f, str) else f)))


def _is_row_wise(spec: ExpectSpec) -> bool:
    if any(part in spec.type for part in _WHOLE_COLUMN) and "within_record" not in spec.type:
        return False
    return "mostly" in GX_TYPES[spec.type][2] or "mostly" in GX_TYPES[spec.type][1]


def _run_by_row(
    specs: Mapping[int, ExpectSpec], data: "pyarrow.dataset.Dataset", batch_rows: int, across: bool
) -> dict[int, Finding]:
    if not specs:
        return {}
    columns = sorted({c for s in specs.values() for c in _columns(s, data.schema) or ()})
    counts: dict[int, list[_Counts]] = {i: [] for i in specs}
    for table in _tables(data, columns, batch_rows):
        for i, found in _validate(specs, _frame(table, across)).items():
            counts[i].append(found)
    return {i: _total(specs[i], counts[i]) for i in specs}


def _total(spec: ExpectSpec, parts: Sequence[_Counts]) -> Finding:
    error = next((p.error for p in parts if p.error), None)
    checked, failed = sum(p.checked for p in parts), sum(p.failed for p in parts)
    if len(parts) == 1:
        passed = parts[0].passed
    else:
        mostly = float(spec.arguments.get("mostly", 1.0))
        passed = checked == 0 or (checked - failed) / checked >= mostly
    return Finding(passed=passed and not error, checked=checked, failed=failed, error=error)


def _run_at_once(
    specs: Mapping[int, ExpectSpec],
    data: "pyarrow.dataset.Dataset",
    columns: tuple[str, ...] | None,
    limit: int,
) -> dict[int, Finding]:
    import pandas as pd

    if columns is None:
        names = [n for n in data.schema.names if not n.startswith("_sis_")]
        frame = data.schema.empty_table().select(names).to_pandas()
        rows = 0
    else:
        rows = data.count_rows()
        if columns and rows > limit:
            text = (
                f"not run: it needs whole columns in memory, and {rows} rows are over the limit of {limit}; "
            )
            return dict.fromkeys(specs, Finding(error=text + "use a built-in check or raise SIS_GX_MAX_ROWS"))
        table = data.to_table(columns=list(columns)) if columns else None
        frame = pd.DataFrame(index=range(rows)) if table is None else _frame(table)
    found = _validate(specs, frame)
    return {i: Finding(c.passed, c.checked or rows, c.failed, c.observed, c.error) for i, c in found.items()}


def _tables(data: "pyarrow.dataset.Dataset", columns: Sequence[str], batch_rows: int) -> "Iterator[pa.Table]":
    """Tables of about `batch_rows` rows; at least one, so that an empty table is checked too."""
    import pyarrow as pa

    schema = pa.schema([data.schema.field(c) for c in columns])
    held: list[pa.RecordBatch] = []
    rows = 0
    given = False
    for batch in data.to_batches(columns=list(columns), batch_size=min(batch_rows, 131_072)):
        held.append(batch)
        rows += batch.num_rows
        if rows >= batch_rows:
            yield pa.Table.from_batches(held, schema)
            held, rows, given = [], 0, True
    if rows or not given:
        yield pa.Table.from_batches(held, schema)


def _frame(table: "pa.Table", across: bool = False) -> "pd.DataFrame":
    """The table in pandas.

    Integers and booleans with NULLs stay what they are, so that large ones are not rounded. Expectations
    across columns cannot take that (NA is neither true nor false): there they become floats if that is exact.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.types as pt

    kept = {
        pa.int8(): pd.Int8Dtype(),
        pa.int16(): pd.Int16Dtype(),
        pa.int32(): pd.Int32Dtype(),
        pa.int64(): pd.Int64Dtype(),
        pa.uint8(): pd.UInt8Dtype(),
        pa.uint16(): pd.UInt16Dtype(),
        pa.uint32(): pd.UInt32Dtype(),
        pa.uint64(): pd.UInt64Dtype(),
        pa.bool_(): pd.BooleanDtype(),
    }
    frame = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        holed = column.null_count and (pt.is_integer(column.type) or pt.is_boolean(column.type))
        keeps = holed and not (across and _is_exact_as_float(column))
        frame[name] = column.to_pandas(types_mapper=kept.get if keeps else None)
    return pd.DataFrame(frame, index=range(table.num_rows))


def _is_exact_as_float(column: "pa.ChunkedArray") -> bool:
    import pyarrow.compute as pc
    import pyarrow.types as pt

    if pt.is_boolean(column.type):
        return True
    bounds = pc.min_max(column).as_py()
    return all(b is None or abs(b) <= 2**53 for b in bounds.values())


def _validate(specs: Mapping[int, ExpectSpec], frame: "pd.DataFrame") -> dict[int, _Counts]:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    need("quality", "this expectation")
    import great_expectations as gx
    import great_expectations.expectations as classes
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    found: dict[int, _Counts] = {}
    suite = gx.ExpectationSuite(name="declared")
    for i, spec in specs.items():
        arguments = dict(spec.arguments)
        if arguments.get("row_condition") is not None:
            arguments["condition_parser"] = "pandas"
        try:
            made = getattr(classes, GX_TYPES[spec.type][0])(**arguments, meta={"index": i})
        except (ValueError, TypeError) as error:
            found[i] = _Counts(False, 0, 0, error=f"its arguments are not accepted{_fields(error)}")
        else:
            suite.add_expectation(made)
    asset = context.data_sources.add_pandas("rows").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch(batch_parameters={"dataframe": frame})
    result = batch.validate(suite, result_format={"result_format": "BASIC", "partial_unexpected_count": 0})
    for one in result.results:
        i = (one.expectation_config.meta or {})["index"] if one.expectation_config else -1
        found[i] = _read(specs[i], one)
    return found


def _fields(error: Exception) -> str:
    """Names of the arguments a validation error is about."""
    try:
        places = {str(e["loc"][0]) for e in error.errors()}  # type: ignore[attr-defined]
    except (AttributeError, KeyError, IndexError, TypeError):
        return ""
    return f": {', '.join(sorted(places))}"


def _read(spec: ExpectSpec, one: Any) -> _Counts:
    if _raised(one.exception_info):
        return _Counts(
            False, 0, 0, error="Great Expectations could not run it; does the type of the column suit it?"
        )
    result = one.result or {}
    elements = int(result.get("element_count") or 0)
    failed = int(result.get("unexpected_count") or 0)
    observed = result.get("observed_value")
    shown = spec.type.startswith(_HARMLESS_OBSERVED) and isinstance(observed, int | float)
    return _Counts(
        passed=bool(one.success),
        checked=elements - int(result.get("missing_count") or 0),
        failed=failed,
        observed=f"{observed:.6g}"
        if shown and isinstance(observed, float)
        else str(observed)
        if shown
        else None,
    )


def _raised(info: Mapping[str, Any]) -> bool:
    """Whether a check raised: the library gives one record, or one for each metric that failed."""
    if "raised_exception" in info:
        return bool(info["raised_exception"])
    return bool(info)
