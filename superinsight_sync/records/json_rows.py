"""JSON records of pages into rows of one schema that a sample fixed; what does not fit is set aside."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import cached_property
from typing import Any

import pyarrow as pa

from superinsight_sync.core.errors import ConfigError, SisError
from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.model.naming import check_names
from superinsight_sync.model.read import Column
from superinsight_sync.model.tables import is_system
from superinsight_sync.model.types import arrow_type
from superinsight_sync.records.declared_columns import declared_array
from superinsight_sync.records.json_columns import ColumnReader
from superinsight_sync.records.json_document import Page
from superinsight_sync.records.json_known_types import with_known
from superinsight_sync.records.json_lines import fast_values
from superinsight_sync.records.json_text import record_of
from superinsight_sync.records.json_types import Seen
from superinsight_sync.records.rejects import Rejects

_INT64 = (-(2**63), 2**63 - 1)
_DECIMAL_INTS = 10**38
_DOUBLE_INTS = 2**53
_INSTANT = pa.timestamp("us", tz="UTC")
_TIMES = frozenset((datetime, type(None)))


class Shape:
    """The columns of a stream, and rows of them.

    Args:
        declared: column → type, as in the declaration.
        epoch_per_s: for a cursor written as an epoch, how many of its units are a second.
        known: what the stream's table holds.
        text_cursor: the cursor is text whose order is that of the records.
    """

    def __init__(
        self,
        stream: StreamSpec,
        declared: Mapping[str, str],
        epoch_per_s: int | None,
        known: pa.Schema | None = None,
        *,
        text_cursor: bool = False,
    ) -> None:
        self._text_cursor = text_cursor
        self._where = f"stream '{stream.name}'"
        self._types: dict[str, pa.DataType] = {}
        for name, text in declared.items():
            try:
                self._types[name] = arrow_type(text)
            except ConfigError as error:
                raise error.at(f"{self._where}, column '{name}'") from None
        self._seen: dict[str, Seen] = {}
        self._names: dict[str, None] = {}
        self._known = {f.name: f.type for f in known or () if not is_system(f.name)}
        self._stream = stream
        self._epoch_per_s = epoch_per_s
        self.columns: tuple[Column, ...] = ()
        self._reader: ColumnReader | None = None

    def sample(self, pages: Iterable[Page]) -> "Shape":
        """Fixes the columns by what pages hold. Raises ConfigError if they cannot be columns."""
        for page in pages:
            rows = [row for row in rows_of(page) if isinstance(row, dict)]
            for row in rows:
                self._names.update(dict.fromkeys(row))
            for name in self._names:
                self._seen.setdefault(name, Seen()).add([row.get(name) for row in rows])
        self._keep_known()
        self._names = self._names or dict.fromkeys(self._types)
        if not self._names:
            raise ConfigError(
                "there is no record to find the columns by",
                where=self._where,
                hint="Declare them: options: {columns: {…}}",
            )
        names = tuple(dict.fromkeys([*self._names, *self._types]))
        check_names(names, self._where)
        self.columns = tuple(self._column(n) for n in names)
        self._check()
        if not self._epoch_per_s:
            self._reader = ColumnReader([(c.name, c.arrow) for c in self.columns], self._seen, self._types)
        return self

    def _keep_known(self) -> None:
        """Lets columns keep the types of the table where these hold the sample. Those that it lacks stay in an
        incremental read: its records may have them yet."""
        sampled = {n.casefold() for n in self._names}
        for name, dtype in self._known.items():
            if name in self._types or (name not in self._names and name.casefold() in sampled):
                continue
            if name not in self._names and sampled and self._stream.sync.mode != "incremental":
                continue
            self._names[name] = None
            seen = self._seen.setdefault(name, Seen())
            held = with_known(seen, dtype)
            if held is not None:
                self._seen[name] = held
            elif not seen.kinds:
                self._types[name] = dtype

    def seen(self, name: str) -> Seen | None:
        """What a sample says of a column that is not declared."""
        return None if name in self._types else self._seen[name]

    @cached_property
    def times(self) -> frozenset[str]:
        """The columns that are declared as points in time; these may come as such."""
        return frozenset(name for name, dtype in self._types.items() if dtype == _INSTANT)

    @cached_property
    def schema(self) -> pa.Schema:
        return pa.schema([(c.name, c.arrow) for c in self.columns])

    def _column(self, name: str) -> Column:
        seen = self._seen.get(name, Seen())
        return Column(name, seen.source_type(), self._types.get(name) or seen.arrow_type())

    def _check(self) -> None:
        names = [c.name for c in self.columns]
        cursor = self._stream.sync.cursor
        for what, wanted in (
            ("sync.cursor", [cursor] if cursor else []),
            ("primary_key", self._stream.primary_key),
        ):
            for name in wanted:
                if name not in names:
                    close = get_close_matches(name, names, n=1)
                    hint = f"Did you mean '{close[0]}'? " if close else ""
                    raise ConfigError(
                        f"{what}: no record has a field '{name}'",
                        where=self._where,
                        hint=f"{hint}Fields: {', '.join(names)}",
                    )
        if cursor and self._stream.sync.mode == "incremental":
            dtype = self.schema.field(cursor).type
            timed = self._stream.sync.by == "timestamp"
            if self._text_cursor and pa.types.is_string(dtype):
                return
            if not (
                pa.types.is_timestamp(dtype) or pa.types.is_date(dtype)
                if timed
                else pa.types.is_integer(dtype)
            ):
                raise ConfigError(
                    f"cursor '{cursor}' is {dtype}, which cannot be the cursor of this read",
                    where=self._where,
                    hint=f"Declare options: {{columns: {{{cursor}: {'timestamp' if timed else 'int64'}}}}}",
                )

    def batch(self, page: Page, rejects: Rejects) -> pa.RecordBatch:
        """A page's rows; records that are none go to `rejects`."""
        if page.columns is not None:
            return page.columns
        if self._reader is not None and page.parsed is None and not page.extra:
            found = self._reader.read(page.records)
            if found is not None:
                return found
        rows, places = self._fitting(page, rejects)
        bad: dict[int, str] = {}
        arrays = [self._array(column, [r.get(column.name) for r in rows], bad) for column in self.columns]
        batch = pa.RecordBatch.from_arrays(arrays, schema=self.schema)
        for at, reason in sorted(bad.items()):
            self._reject(page, places[at], reason, rejects)
        return batch.filter(pa.array([i not in bad for i in range(len(rows))])) if bad else batch

    def _fitting(self, page: Page, rejects: Rejects) -> tuple[list[dict[str, Any]], Sequence[int]]:
        """A page's records that fit the columns, and which of its records they are."""
        found, known = rows_of(page), {c.name for c in self.columns}
        rows = [row for row in found if isinstance(row, dict)]
        if len(rows) == len(found) and self._all_fit(rows, known):
            return rows, range(len(rows))
        rows, places = [], list[int]()
        for place, row in enumerate(found):
            reason = row if isinstance(row, str) else self._misfit(row, known)
            if reason:
                self._reject(page, place, reason, rejects)
            elif isinstance(row, dict):
                rows.append(row)
                places.append(place)
        return rows, places

    def _all_fit(self, rows: list[dict[str, Any]], known: set[str]) -> bool:
        """Whether no row is a misfit, looked at by columns."""
        return all(map(known.issuperset, rows)) and all(
            all_fit(seen, [row.get(name) for row in rows])
            for name, seen in self._seen.items()
            if name not in self._types
        )

    def _reject(self, page: Page, place: int, reason: str, rejects: Rejects) -> None:
        kept = page.records if page.originals is None else page.originals
        text = kept[place].decode("utf-8", "replace")
        rejects.add(f"page {page.number}", place + 1, reason, text)

    def _misfit(self, row: dict[str, Any], known: set[str]) -> str | None:
        for name, value in row.items():
            if value is None:
                continue
            if name not in known:
                return "a field is there that no sampled record had; declare it under options.columns"
            if name not in self._types and not fits(self._seen[name], value):
                return f"'{name}' is not {self._seen[name].arrow_type()} as in the sample"
        return None

    def _array(self, column: Column, values: list[Any], bad: dict[int, str]) -> pa.Array:
        if column.name not in self._types:
            return self._seen[column.name].array(values)
        if self._epoch_per_s and column.name == self._stream.sync.cursor:
            values = [_moment(v, self._epoch_per_s) for v in values]
        if column.arrow == _INSTANT and set(map(type, values)) <= _TIMES:
            return pa.array(values, _INSTANT)
        array, places = declared_array(values, column.arrow)
        for place in places:
            bad.setdefault(place, f"'{column.name}' is not {column.arrow}")
        return array


def rows_of(page: Page) -> list[dict[str, Any] | str]:
    """Each record of a page with what it gets besides, or why it is none."""
    found = fast_values(page.records) if page.parsed is None else page.parsed
    if found is None:
        return [_row(raw, page.extra) for raw in page.records]
    return [{**row, **page.extra} for row in found] if page.extra else [*found]


def _row(raw: bytes, extra: dict[str, Any]) -> dict[str, Any] | str:
    """The record, or why it is none."""
    try:
        return {**record_of(raw.decode()), **extra}
    except UnicodeDecodeError:
        return "it is no UTF-8"
    except (ValueError, SisError) as error:
        return str(error)


def _moment(value: Any, per_s: int) -> Any:
    if type(value) is not int:
        return value
    try:
        return (
            datetime.fromtimestamp(value // per_s, UTC)
            .replace(microsecond=value % per_s * (10**6 // per_s))
            .isoformat()
        )
    except (OverflowError, ValueError, OSError):
        return value


def all_fit(seen: Seen, values: list[Any]) -> bool:
    """Whether all values fit."""
    dtype, kinds = seen.arrow_type(), set(map(type, values)) - {type(None)}
    if kinds == {str} and pa.types.is_string(dtype):
        return True
    if kinds == {float} and pa.types.is_floating(dtype):
        return True
    if kinds == {bool} and pa.types.is_boolean(dtype):
        return True
    if kinds == {int} and pa.types.is_integer(dtype):
        integers = [v for v in values if v is not None]
        low, high = min(integers), max(integers)
        return bool(_INT64[0] <= low and high <= _INT64[1])
    return all(fits(seen, v) for v in values)


def fits(seen: Seen, value: Any) -> bool:
    """Whether a value keeps its meaning in the type that the sample gave; types are never converted."""
    dtype, kind = seen.arrow_type(), type(value)
    if value is None or seen.is_json_text:
        return True
    if pa.types.is_string(dtype):
        return kind is str
    if pa.types.is_boolean(dtype):
        return kind is bool
    if pa.types.is_floating(dtype):
        return kind is float or (kind is int and -_DOUBLE_INTS <= value <= _DOUBLE_INTS)
    if pa.types.is_integer(dtype):
        return kind is int and _INT64[0] <= value <= _INT64[1]
    if pa.types.is_decimal(dtype):
        return kind is int and -_DECIMAL_INTS < value < _DECIMAL_INTS
    if pa.types.is_struct(dtype):
        return kind is dict and all(
            v is None or (k in seen.fields and fits(seen.fields[k], v)) for k, v in value.items()
        )
    return kind is list and seen.element is not None and all(fits(seen.element, v) for v in value)
