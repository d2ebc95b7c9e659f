"""A read of a SOAP operation: calls, page by page, and their records as batches."""

import base64
import binascii
import hashlib
from collections.abc import Callable, Generator
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from lxml import etree

from superinsight_sync.core.errors import ConfigError, DataError
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.records.cells import cast_texts
from superinsight_sync.records.message_values import Bad
from superinsight_sync.sources.soap.answers import children_of, json_of, records_in, text_of
from superinsight_sync.sources.soap.flat import flat_texts
from superinsight_sync.sources.soap.wsdl import Field, Records
from superinsight_sync.sources.topics.reading import Aside, kept

_UTC = pa.timestamp("us", tz="UTC")
_MOST_PAGES = 100_000

Call = Callable[[dict[str, Any]], Any]
"""Params → the answer's body."""


class OperationReader:
    """One read of one operation.

    Args:
        call: sends a call and gives the answer's body.
        options: the stream's `Options`.
        params: those of every call, references resolved.
    """

    def __init__(
        self,
        call: Call,
        request: ReadRequest,
        options: Any,
        params: dict[str, Any],
        records: Records,
    ) -> None:
        self._call = call
        self._request = request
        self._options = options
        self._params = params
        self._fields = records.fields
        self._path = records.path
        self.schema = pa.schema([(f.column.name, f.column.arrow) for f in records.fields])

    def batches(self, aside: Aside) -> Generator[pa.RecordBatch, None, None]:
        """The rows, an answer at a time, within the request's bounds."""
        keep, left = self._bounds(), self._request.limit
        for number, records, written in self._pages():
            batch = keep(self._batch(number, records, written, aside))
            batch = batch if left is None else batch.slice(0, left)
            left = None if left is None else left - batch.num_rows
            if batch.num_rows:
                yield batch
            if left == 0:
                return

    def _pages(self) -> Generator[tuple[int, list[Any], list[bytes]], None, None]:
        """(page number from 1, its records, these as XML). Raises DataError for a page that was there before."""
        page, params = self._options.page, {**self._params, **self._since()}
        if page is None:
            records = records_in(self._call(params), self._path)
            yield 1, records, _written(records)
            return
        if page.size_param:
            params[page.size_param] = page.size
        seen: set[bytes] = set()
        for number in range(1, _MOST_PAGES + 1):
            at = page.start + (number - 1) * (page.size if page.counts == "records" else 1)
            records = records_in(self._call({**params, page.param: at}), self._path)
            if not records:
                return
            written = _written(records)
            mark = hashlib.sha256(b"".join(written)).digest()
            if mark in seen:
                raise DataError(
                    f"page {number} is the same as one before",
                    where=self._where,
                    hint=f"Check that the operation pages by '{page.param}'",
                )
            seen.add(mark)
            yield number, records, written
            if page.size_param and len(records) < page.size and page.ends_short:
                return
        raise DataError(f"more than {_MOST_PAGES} pages", where=self._where)

    @property
    def _where(self) -> str:
        return f"operation '{self._request.stream.operation}'"

    def _since(self) -> dict[str, Any]:
        """The lower bound, as the operation's param."""
        window, after = self._request.window, self._request.after
        lows = [v for v in (after, window.start if window else None) if v is not None]
        if not lows or not self._options.since_param:
            return {}
        return {self._options.since_param: lows[0] if len(lows) == 1 else max(lows)}

    def _bounds(self) -> Callable[[pa.RecordBatch], pa.RecordBatch]:
        """Keeps the rows within the window and the lower bound of the cursor."""
        cursor, window, after = self._request.stream.sync.cursor, self._request.window, self._request.after
        bounds: list[tuple[Any, Any]] = [] if after is None else [(pc.greater_equal, after)]
        if window is not None:
            bounds += [(pc.greater_equal, window.start), (pc.less, window.end)]
        if not bounds or cursor is None:
            return lambda batch: batch

        def keep(batch: pa.RecordBatch) -> pa.RecordBatch:
            for compare, bound in bounds:
                values = batch.column(cursor)
                if pa.types.is_date(values.type):
                    values = values.cast(pa.timestamp("us"))
                if pa.types.is_timestamp(values.type) and values.type.tz is None:
                    values = values.cast(_UTC)
                mask = compare(values, _bound(bound, values.type, cursor))
                batch = batch.filter(mask if window is not None else pc.fill_null(mask, True))
            return batch

        return keep

    def _batch(self, number: int, records: list[Any], written: list[bytes], aside: Aside) -> pa.RecordBatch:
        bad: Bad = {}
        arrays = self._flat(records, written, bad) or self._arrays(records, bad)
        batch = pa.RecordBatch.from_arrays(arrays, schema=self.schema)
        for place, reason in sorted(bad.items()):
            aside.add(f"page {number}", place + 1, reason, written[place])
        return kept(batch, bad)

    def _flat(self, records: list[Any], written: list[bytes], bad: Bad) -> list[pa.Array] | None:
        """The columns, if the records are all of simple elements in the order of the fields."""
        if not records or any(f.form != "text" for f in self._fields):
            return None
        texts = flat_texts(written, records[0], [f.column.name for f in self._fields])
        return texts and [_typed(t, f, bad) for t, f in zip(texts, self._fields, strict=True)]

    def _arrays(self, records: list[Any], bad: Bad) -> list[pa.Array]:
        """The columns, an element at a time."""
        children = [children_of(r) for r in records]
        known = {f.column.name for f in self._fields if f.form != "attribute"}
        for place, found in enumerate(children):
            if not found.keys() <= known:
                bad[place] = "it holds an element that the WSDL does not declare"
        return [_array(f, records, children, bad) for f in self._fields]


def _written(records: list[Any]) -> list[bytes]:
    return [etree.tostring(r, encoding="utf-8", with_tail=False) for r in records]


def _bound(value: Any, dtype: pa.DataType, cursor: str) -> pa.Scalar:
    if type(value) is date:
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    try:
        return pa.scalar(value) if pa.types.is_decimal(dtype) else pa.scalar(value, dtype)
    except (pa.ArrowException, TypeError, ValueError):
        raise ConfigError(
            f"cursor '{cursor}' is {dtype}, but its bounds are {type(value).__name__}",
            hint=f"Declare options.columns: {{{cursor}: timestamp}}, or reset the checkpoint",
        ) from None


def _array(field: Field, records: list[Any], children: list[dict[str, list[Any]]], bad: Bad) -> pa.Array:
    """One column of all records; what is not of its type is marked in `bad`."""
    name, dtype = field.column.name, field.column.arrow
    if field.form == "attribute":
        return _typed(pa.array([r.get(name) for r in records], pa.string()), field, bad)
    found = [c.get(name, []) for c in children]
    if field.form == "json":
        return pa.array([_json(e, place, bad) for place, e in enumerate(found)], pa.string())
    if field.form == "list":
        lists = [[text_of(e) for e in elements] for elements in found]
        return _lists(lists, dtype, field, bad)
    for place, elements in enumerate(found):
        if len(elements) > 1:
            bad.setdefault(place, f"'{name}' is there more than once")
    return _typed(pa.array([text_of(e[0]) if e else None for e in found], pa.string()), field, bad)


def _json(elements: list[Any], place: int, bad: Bad) -> str | None:
    try:
        texts = [json_of(e) or "null" for e in elements]
    except DataError as error:
        bad.setdefault(place, error.message)
        return None
    if not texts or texts == ["null"]:
        return None
    return texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"


def _typed(texts: pa.Array, field: Field, bad: Bad) -> pa.Array:
    if pa.types.is_binary(field.column.arrow):
        return pa.array(
            [_decoded(t, field, place, bad) for place, t in enumerate(texts.to_pylist())], pa.binary()
        )
    array, places = cast_texts(texts, field.column.arrow)
    for place in places:
        bad.setdefault(place, f"'{field.column.name}' is not {field.column.source_type}")
    return array


def _decoded(text: str | None, field: Field, place: int, bad: Bad) -> bytes | None:
    if text is None:
        return None
    try:
        if field.xsd == "hexBinary":
            return binascii.unhexlify(text.strip())
        if field.xsd == "base64Binary":
            return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        bad.setdefault(place, f"'{field.column.name}' is not {field.xsd}")
        return None
    return text.encode()


def _lists(lists: list[list[str | None]], dtype: pa.DataType, field: Field, bad: Bad) -> pa.Array:
    """Lists of simple values: all values are typed at once, then cut into lists again."""
    flat, places = cast_texts(pa.array([v for li in lists for v in li], pa.string()), dtype.value_type)
    if places:
        owners = [place for place, li in enumerate(lists) for _ in li]
        for at in places:
            bad.setdefault(owners[at], f"'{field.column.name}' is not {field.xsd}")
    offsets = [0]
    for li in lists:
        offsets.append(offsets[-1] + len(li))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat).cast(dtype)
