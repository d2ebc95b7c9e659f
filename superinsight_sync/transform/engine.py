"""Runs refine steps over a stream of raw rows, in a bounded and locked-down DuckDB."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import duckdb
import pyarrow as pa
from pydantic import ValidationError

from superinsight_sync.core.errors import ConfigError, DataError, ThresholdError
from superinsight_sync.core.sql import quote
from superinsight_sync.model.declaration import RESERVED_PREFIX, StepSpec
from superinsight_sync.model.tables import PARTITION
from superinsight_sync.transform.chain import Chain
from superinsight_sync.transform.parts import BATCH_ROWS, Scales
from superinsight_sync.transform.protocol import STEPS, Step, StepContext
from superinsight_sync.transform.quarantine import (
    keep_others,
    quarantine_schema,
    quarantine_selects,
    write_verdicts,
)
from superinsight_sync.transform.scratch import Scratch, told

_PLAN_MEMORY_BYTES = 256 << 20
_PLANS_KEPT = 256
"""A refine needs its plan two or three times, each 50 ms and more."""
_INTERNAL = ("_sis_row", "_sis_reject")


@dataclass(frozen=True)
class RowErrors:
    """What happens to records that fail, as `StreamDefaults` declares it."""

    on_row_error: Literal["quarantine", "fail"] = "quarantine"
    max_row_errors: int | None = None
    max_row_error_share: float | None = None


@dataclass(frozen=True)
class RefinePlan:
    """What a refine would do.

    Attributes:
        schema: the refined table's columns, data columns first, then the carried system columns.
        lineage: data column → the raw columns its values come from.
        row_wise: whether every refined row depends on one raw row alone: new rows can be refined alone.
        multiplies: whether one raw row may become several.
    """

    schema: pa.Schema
    lineage: Mapping[str, tuple[str, ...]]
    row_wise: bool
    multiplies: bool = False


class Refined:
    """The outcome of a refine, readable until it is closed. A context manager.

    Attributes:
        schema: of the rows that passed.
        quarantine_schema: of the rows that were set aside.
        lineage: data column → the raw columns its values come from.
        rows_read, rows_passed: counts.
        quarantined: rule → rows set aside by it; rules that set none aside are left out.
        warned: rule → rows that passed in spite of it (`else: warn`).
        dropped: name → rows left out though nothing is wrong with them: `duplicates`, `left_out_by_sql` (the
            rows a SELECT got less how many it gave; negative if it gave more).
        rows_by_partition: `_sis_partition` → rows that passed; empty for a stream without partitions.

    ``rows_read == rows_passed + sum(quarantined) + sum(dropped)``.
    """

    def __init__(self, scratch: Scratch, chain: Chain, rows_read: int, errors: RowErrors) -> None:
        self._scratch = scratch
        self._chain = chain
        self._errors = errors
        self.schema = _output_schema(chain)
        self.quarantine_schema = quarantine_schema(chain.carried)
        self.lineage = chain.lineage
        self.rows_read = rows_read
        self.dropped: Mapping[str, int] = dict(chain.dropped)
        self.quarantined: Mapping[str, int] = _by_rule(chain)
        self.warned: Mapping[str, int] = chain.warned()
        self._kept: Sequence[str] | None = None
        self._in_order = chain.settle()
        self.rows_passed = chain.count(chain.view)
        self.rows_by_partition = _by_partition(scratch.connection, chain)
        write_verdicts(scratch.connection, chain.verdicts)

    @property
    def hidden(self) -> frozenset[str]:
        """The raw columns whose values a step masks."""
        return frozenset(self._chain.hidden)

    @property
    def duplicates(self) -> int:
        return self.dropped.get("duplicates", 0)

    def check_threshold(self, failed_before: int = 0, rows_before: int = 0) -> None:
        """Raises ThresholdError, with counts by rule, if more rows were set aside than declared.

        The quarantine stays readable, so that it can be landed before the error goes on.

        Args:
            failed_before, rows_before: of the table's other rows, where not all were read.
        """
        failed, rows = sum(self.quarantined.values()) + failed_before, self.rows_read + rows_before
        share = failed / rows if rows else 0.0
        most, most_share = self._errors.max_row_errors, self._errors.max_row_error_share
        rules = ", ".join(
            f"{rule} {n}" for rule, n in sorted(self.quarantined.items(), key=lambda r: (-r[1], r[0]))
        )
        told_counts = f"{failed} of {rows} records failed ({rules or 'before'})"
        hint = "Nothing was published. The records and their reasons are in the quarantine"
        if most is not None and failed > most:
            raise ThresholdError(f"{told_counts}, more than max_row_errors: {most}", hint=hint)
        if most_share is not None and share > most_share:
            raise ThresholdError(f"{told_counts}, more than max_row_error_share: {most_share}", hint=hint)

    def open(self, *, ordered: bool = True) -> pa.RecordBatchReader:
        """The rows that passed, as a stream; every call starts anew. Raises DataError while it is read.

        They come in the order they were read, which costs a sort if any row was left out; `ordered=False`
        is for readers to whom the order means nothing.
        """
        order = " ORDER BY _sis_row" if ordered and not self._in_order else ""
        listed = ", ".join(quote(n) for n in self.schema.names)
        select = f"SELECT {listed} FROM {self._chain.view} WHERE "  # noqa: S608
        parts = [(select + some + order, rows) for some, rows in self._chain.parts()]
        return self._stream(parts, self.schema)

    def open_quarantine(self, *, only_new: bool = False) -> pa.RecordBatchReader:
        """The rows that were set aside, as a stream of `quarantine_schema`; every call starts anew. Those that
        `keep_quarantined` keeps come first, unless `only_new`."""
        parts = quarantine_selects(self._chain)
        if self._kept is not None and not only_new:
            listed = ", ".join(
                quote(n) if n in self._kept else f"NULL AS {quote(n)}" for n in self.quarantine_schema.names
            )
            parts = [(f"SELECT {listed} FROM _sis_kept", BATCH_ROWS), *parts]  # noqa: S608 - quoted names
        return self._stream(parts, self.quarantine_schema)

    def keep_quarantined(self, before: pa.RecordBatchReader, keys: Sequence[str]) -> int:
        """Lets the quarantine go on with those records set aside before whose key none of the rows read has.

        Returns how many these are.
        """
        with told("refine", with_data=True):
            kept = keep_others(self._chain, self._scratch.connection, before, keys)
        self._kept = before.schema.names
        return kept

    def failed_keys(self, keys: Sequence[str], limit: int) -> pa.Table:
        """The keys of rows that were set aside, as the rows have them; at most `limit`."""
        listed = ", ".join(map(quote, keys))
        sql = f"SELECT {listed} FROM _sis_base_0 SEMI JOIN _sis_gone_0 USING (_sis_row) LIMIT {limit}"  # noqa: S608
        return self._scratch.connection.sql(sql).to_arrow_table()

    def _stream(self, parts: Sequence[tuple[str, int]], schema: pa.Schema) -> pa.RecordBatchReader:
        cursor = self._scratch.connection.cursor()

        def batches() -> Iterator[pa.RecordBatch]:
            with told("refine", with_data=True):
                for sql, batch_rows in parts:
                    for batch in cursor.sql(sql).to_arrow_reader(batch_rows):
                        yield batch.cast(schema)
                cursor.close()

        return pa.RecordBatchReader.from_batches(schema, batches())

    def close(self) -> None:
        """Frees the memory and deletes the scratch files. May be called twice."""
        self._scratch.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def plan(steps: Sequence[StepSpec], schema: pa.Schema, context: StepContext) -> RefinePlan:
    """What `steps` make of rows of `schema`, found without data. A plan is made once.

    Raises ConfigError naming the step (counted from 1) for a wrong option, column, type or expression.
    """
    context = replace(context, masking=replace(context.masking, vault=None))
    return _planned(json.dumps([s.model_dump(mode="json") for s in steps]), schema, context)


@lru_cache(maxsize=_PLANS_KEPT)
def _planned(steps: str, schema: pa.Schema, context: StepContext) -> RefinePlan:
    declared = [StepSpec.model_validate(s) for s in json.loads(steps)]
    scratch = Scratch(None, _PLAN_MEMORY_BYTES)
    try:
        return _plan(scratch.connection, declared, schema, context)
    finally:
        scratch.close()


def refine(
    read: Callable[[], pa.RecordBatchReader],
    steps: Sequence[StepSpec],
    context: StepContext,
    *,
    scratch_dir: Path,
    memory_limit_bytes: int,
    row_errors: RowErrors | None = None,
) -> Refined:
    """Runs the steps over the rows of `read`, which is called once and drained.

    The rows are kept in memory up to `memory_limit_bytes`, beyond it in a private folder below `scratch_dir`
    that is deleted when the result is closed.

    Raises:
        ConfigError: for wrong steps, before a row is read, or for too little memory.
        DataError: with ``on_row_error: fail``, at the first failing rule; or a SELECT that fails on its data.
        SisError: whatever the reader raises.
    """
    errors = row_errors or RowErrors()
    reader = read()
    plan(steps, reader.schema, context)
    scratch = Scratch(scratch_dir, memory_limit_bytes)
    try:
        data, carried = _split_schema(reader.schema)
        scales = _load(scratch.connection, reader)
        with told("refine", with_data=True):
            chain = Chain(scratch.connection, data, carried, scales.parts)
        _build(chain, steps, context, with_data=True)
        with told("refine", with_data=True):
            refined = Refined(scratch, chain, scales.rows, errors)
        if errors.on_row_error == "fail":
            _fail(chain, scales.rows)
    except BaseException:
        scratch.close()
        raise
    return refined


def _plan(
    connection: duckdb.DuckDBPyConnection, steps: Sequence[StepSpec], schema: pa.Schema, context: StepContext
) -> RefinePlan:
    data, carried = _split_schema(schema)
    _load(connection, schema.empty_table().to_reader())
    chain = Chain(connection, data, carried)
    row_wise, multiplies = _build(chain, steps, context, with_data=False)
    return RefinePlan(_output_schema(chain), chain.lineage, row_wise, multiplies)


def _build(
    chain: Chain, steps: Sequence[StepSpec], context: StepContext, *, with_data: bool
) -> tuple[bool, bool]:
    """Whether all steps work row by row, and whether one makes several rows of one."""
    row_wise, multiplies, context = True, False, replace(context, system=chain.system)
    for number, spec in enumerate(steps, start=1):
        with told(f"refine step {number} ({spec.step})", with_data=with_data):
            compiled = _make(spec).compile(chain.schema, context)
            chain.add(f"{number}:{spec.step}", compiled)
            row_wise, multiplies = row_wise and compiled.row_wise, multiplies or compiled.multiplies
    with told("refine", with_data=with_data):
        chain.flush()
    return row_wise, multiplies


def _make(spec: StepSpec) -> Step:
    config, plugin = STEPS.config(spec.step), STEPS.load(spec.step)
    try:
        return plugin(config.model_validate(spec.arguments))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the step"
        valid = ", ".join(f.alias or name for name, f in config.model_fields.items())
        raise ConfigError(f"{place}: {first['msg']}", hint=f"Keys of this step: {valid}") from None


def _split_schema(schema: pa.Schema) -> tuple[pa.Schema, pa.Schema]:
    """Data columns and carried system columns. Raises ConfigError for names or types that cannot be held."""
    folded = [n.casefold() for n in schema.names]
    twice = [n for n in schema.names if folded.count(n.casefold()) > 1]
    if twice:
        raise ConfigError(
            f"two columns are called '{twice[0]}' but for the case", hint="Rename one at the source"
        )
    fields = [f.with_type(pa.string()) if pa.types.is_null(f.type) else f for f in schema]
    for field in fields:
        if (
            pa.types.is_decimal256(field.type)
            or pa.types.is_float16(field.type)
            or pa.types.is_duration(field.type)
        ):
            raise ConfigError(f"column '{field.name}' of type {field.type} cannot be refined")
    carried = [f for f in fields if f.name.startswith(RESERVED_PREFIX) and f.name not in _INTERNAL]
    return pa.schema([f for f in fields if not f.name.startswith(RESERVED_PREFIX)]), pa.schema(carried)


def _output_schema(chain: Chain) -> pa.Schema:
    return pa.schema([*chain.schema, *chain.carried])


def _load(connection: duckdb.DuckDBPyConnection, reader: pa.RecordBatchReader) -> Scales:
    """Stores the rows, numbered in the order they come, as the chain's first base, and weighs them."""
    data, carried = _split_schema(reader.schema)
    kept = pa.schema([*carried, *data])
    numbered = pa.schema([pa.field("_sis_row", pa.int64()), *kept])
    failure: list[BaseException] = []
    scales = Scales()

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            for batch in reader:
                columns = [batch.column(f.name).cast(f.type) for f in kept]
                numbers = pa.arange(scales.rows, scales.rows + batch.num_rows)
                scales.weigh(batch.num_rows, batch.nbytes)
                yield pa.RecordBatch.from_arrays([numbers, *columns], schema=numbered)
        except BaseException as error:
            failure.append(error)
            raise

    connection.register("_sis_incoming", pa.RecordBatchReader.from_batches(numbered, batches()))
    try:
        with told("refine", with_data=True):
            connection.execute("CREATE TABLE _sis_base_0 AS FROM _sis_incoming")
    finally:
        if failure:
            raise failure[0]
        connection.unregister("_sis_incoming")
    return scales


def _by_rule(chain: Chain) -> dict[str, int]:
    counts = chain.counts_by_code()
    rules: dict[str, int] = {}
    for verdict in chain.verdicts:
        if verdict.reject and counts.get(verdict.code):
            rules[verdict.reject.rule] = rules.get(verdict.reject.rule, 0) + counts[verdict.code]
    return rules


def _by_partition(connection: duckdb.DuckDBPyConnection, chain: Chain) -> dict[str, int]:
    if PARTITION not in chain.carried.names:
        return {}
    sql = f"SELECT coalesce({PARTITION}, ''), count(*) FROM {chain.view} GROUP BY 1 ORDER BY 1"  # noqa: S608
    return {str(key): int(rows) for key, rows in connection.execute(sql).fetchall()}


def _fail(chain: Chain, rows_read: int) -> None:
    counts = chain.counts_by_code()
    for verdict in chain.verdicts:
        if verdict.reject and counts.get(verdict.code):
            number, _, name = verdict.step.partition(":")
            raise DataError(
                f"{counts[verdict.code]} of {rows_read} records fail '{verdict.reject.rule}': "
                f"{verdict.reject.reason}",
                where=f"refine step {number} ({name})",
                hint="Correct the data or the step, or set on_row_error: quarantine",
            )
