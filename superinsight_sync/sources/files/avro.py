"""Avro: the types are those of the file's schema."""

import lzma
import struct
import zlib
from collections.abc import Iterator
from itertools import islice
from typing import Any
from uuid import UUID

import pyarrow as pa

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.extras import need
from superinsight_sync.model.types import MAX_DECIMAL_DIGITS
from superinsight_sync.sources.files.columnar import TypedLayout
from superinsight_sync.sources.files.layout import Member
from superinsight_sync.sources.files.streams import open_seekable

_BROKEN = (
    ValueError, EOFError, KeyError, IndexError, TypeError, OverflowError, MemoryError, AttributeError,
    StopIteration, OSError, RecursionError, struct.error, zlib.error, lzma.LZMAError,
)  # fmt: skip
_PLAIN = {
    "boolean": pa.bool_(), "int": pa.int32(), "long": pa.int64(), "float": pa.float32(), "null": pa.null(),
    "double": pa.float64(), "bytes": pa.binary(), "string": pa.string(), "fixed": pa.binary(),
    "enum": pa.string(),
}  # fmt: skip
_LOGICAL = {
    "date": pa.date32(), "time-millis": pa.time64("us"), "time-micros": pa.time64("us"),
    "timestamp-millis": pa.timestamp("us", "UTC"), "timestamp-micros": pa.timestamp("us", "UTC"),
    "local-timestamp-millis": pa.timestamp("us"), "local-timestamp-micros": pa.timestamp("us"),
}  # fmt: skip
_CHUNK_ROWS = 10_000


class AvroLayout(TypedLayout):
    """By record."""

    _format = "Avro"

    def _schema(self, member: Member) -> tuple[pa.Schema, int | None]:
        for reader in self._reader(member):
            schema = reader.writer_schema
            if schema.get("type") != "record":
                raise ConfigError("its values are no records", where=member.where)
            try:
                return pa.schema([(f["name"], _type(f["type"], {})) for f in schema["fields"]]), None
            except ConfigError as error:
                raise error.at(member.where) from None
        raise self._damaged(member)

    def _read(self, member: Member, batch_rows: int) -> Iterator[pa.RecordBatch]:
        schema, _ = self._schema(member)
        for reader in self._reader(member):
            while True:
                try:
                    rows = list(islice(reader, min(batch_rows, _CHUNK_ROWS)))
                    batch = pa.RecordBatch.from_pylist(_plain(rows), schema)
                except (*_BROKEN, pa.ArrowException):
                    raise self._damaged(member) from None
                if not rows:
                    return
                yield batch

    def _reader(self, member: Member) -> Iterator[Any]:
        need("avro", "reading Avro files")
        import fastavro
        from fastavro.schema import SchemaParseException

        with open_seekable(member.file) as raw:
            try:
                reader = fastavro.reader(raw)
            except (*_BROKEN, SchemaParseException):
                raise self._damaged(member) from None
            yield reader


def _type(schema: Any, named: dict[str, Any]) -> pa.DataType:
    """The Arrow type of an Avro type. Raises ConfigError where there is no exact one."""
    if isinstance(schema, list):
        kinds = [s for s in schema if s != "null"]
        if len(kinds) > 1:
            raise ConfigError("a union of several types has no column type", hint="Leave one type and null")
        return _type(kinds[0], named) if kinds else pa.null()
    if isinstance(schema, str):
        schema = named.get(schema, {"type": schema})
    kind, logical = schema["type"], schema.get("logicalType")
    if isinstance(kind, dict | list):
        return _type(kind, named)
    if "name" in schema:
        named = named | {schema["name"]: schema}
    if logical == "decimal":
        if schema["precision"] > MAX_DECIMAL_DIGITS:
            raise ConfigError(f"a decimal of {schema['precision']} digits has no column type")
        return pa.decimal128(schema["precision"], schema.get("scale", 0))
    if logical in _LOGICAL:
        return _LOGICAL[logical]
    if logical == "uuid":
        return pa.string()
    if kind == "array":
        return pa.list_(_type(schema["items"], named))
    if kind == "record" and schema["fields"]:
        return pa.struct([(f["name"], _type(f["type"], named)) for f in schema["fields"]])
    if kind not in _PLAIN:
        raise ConfigError(f"'{kind}' has no column type", hint="Have such values written as records or text")
    return _PLAIN[kind]


def _plain(value: Any) -> Any:
    """A value with every UUID as text."""
    match value:
        case dict():
            return {k: _plain(v) for k, v in value.items()}
        case list():
            return [_plain(v) for v in value]
        case UUID():
            return str(value)
    return value
