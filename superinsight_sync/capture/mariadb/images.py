"""Row images of a binlog → values in the form in which a pull's driver gives them, before `Converter`.

After "MySQL Internals Manual", row events, and MariaDB's "Rows_event". The library that reads the log can decode them
too, but loses zero dates, the order of sets, fractions of negative times and bytes of fixed length.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from superinsight_sync.capture.mariadb.catalogue import TableColumn
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.databases.mysql_types import MyColumn

Read = Callable[[bytes, int], tuple[Any, int]]
_DIG2BYTES = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)
_UNSIGNED, _BINARY, _TEXT = 32, 63, 45
_INTEGERS = {1: "b", 2: "h", 3: "i", 8: "q"}
_TIMES = {17: 7, 18: 12, 19: 11}
"""The log's numbers of types with fractions of seconds → those of results."""
_CODECS = {
    "utf8": "utf-8", "utf8mb3": "utf-8", "utf8mb4": "utf-8", "ascii": "ascii", "latin1": "latin1",
    "ucs2": "utf-16-be", "utf16": "utf-16-be", "utf16le": "utf-16-le", "utf32": "utf-32-be", "binary": "binary",
}  # fmt: skip
CHARSETS = frozenset(_CODECS)
"""Those that are decoded as the server does."""
WORD_CHARSETS = frozenset({"utf8", "utf8mb3", "utf8mb4", "ascii"})
"""Of these, the words of enums and sets too."""
OWN_BYTES = frozenset({"uuid", "inet4", "inet6"})
"""Types whose bytes in the log are the server's own."""
_CP1252 = {
    code: bytes([code]).decode("cp1252")
    for code in range(0x80, 0xA0)
    if code not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)
}


@dataclass(frozen=True)
class LoggedColumn:
    """A column as the log has it, and how its values are read there."""

    column: MyColumn
    read: Read

    @property
    def sent(self) -> pa.DataType:
        """What its values are before `Converter`."""
        match self.column.family:
            case "integer" | "float":
                return self.column.arrow
            case "timestamp":
                return pa.int64()
            case "bit":
                return pa.uint64()
            case "binary" | "geometry":
                return pa.binary()
        return pa.string()


def logged(column: Any, now: TableColumn | None) -> LoggedColumn:
    """A column of the log's table map.

    Args:
        column: as `pymysqlreplication` read it.
        now: as the catalogue has it, unless it is gone.

    Raises ConfigError for a type that cannot be read from a log.
    """
    kind, name, declared = int(column.type), str(column.name), now.declared if now else ""
    if kind in _INTEGERS or kind == 9:
        flags = _UNSIGNED if column.unsigned else 0
        return LoggedColumn(MyColumn(name, kind, flags, _BINARY, 0, 0, declared), _integer(kind, flags))
    if kind == 246:
        precision, scale = int(column.precision), int(column.decimals)
        flags = _UNSIGNED if column.unsigned else 0
        length = precision + (scale > 0) + (not flags)
        made = MyColumn(name, 246, flags, _BINARY, length, scale, declared)
        return LoggedColumn(made, _decimal(precision, scale))
    if kind in _TIMES:
        made = MyColumn(name, _TIMES[kind], 0, _BINARY, 0, int(column.fsp), declared)
        return LoggedColumn(made, {17: _timestamp, 18: _datetime, 19: _time}[kind](int(column.fsp)))
    simple: dict[int, Read] = {4: _fixed("<f"), 5: _fixed("<d"), 10: _date, 13: _year}
    if kind in simple:
        return LoggedColumn(MyColumn(name, kind, 0, _BINARY, 0, 0, declared), simple[kind])
    if kind == 16:
        size = int(column.bytes)
        made = MyColumn(name, 16, _UNSIGNED, _BINARY, int(column.bits), 0, declared)
        return LoggedColumn(made, lambda b, at: (int.from_bytes(b[at : at + size], "big"), at + size))
    return _of_bytes(column, kind, name, declared)


def _of_bytes(column: Any, kind: int, name: str, declared: str) -> LoggedColumn:
    if kind == 255:
        return LoggedColumn(
            MyColumn(name, 255, 0, _BINARY, 0, 0, declared), _prefixed(int(column.length_size))
        )
    charset = str(column.collation_name or "binary").partition("_")[0]
    if kind in (247, 248):
        if charset not in WORD_CHARSETS and not (declared and declared.isascii()):
            raise _no_charset(name, charset)  # the library that reads the log takes the words for UTF-8
        values = [str(v) for v in (column.enum_values if kind == 247 else column.set_values)]
        read = _enum(values, int(column.size)) if kind == 247 else _set(values, int(column.size))
        return LoggedColumn(MyColumn(name, 254, 0, _TEXT, 0, 0, declared), read)
    if kind not in (15, 252, 253, 254):
        raise ConfigError(
            f"column '{name}' has a type that cannot be read from the log ({declared or kind})",
            hint="Read the stream with mode: incremental or full",
        )
    if declared in OWN_BYTES:
        raise ConfigError(
            f"column '{name}' is {declared}, whose bytes in the log are the server's own",
            hint="Read the stream with mode: incremental or full",
        )
    size = int(column.length_size) if kind == 252 else 1 + (int(column.max_length) > 255)
    if charset not in CHARSETS:
        raise _no_charset(name, charset)
    raw = _prefixed(size)
    if charset == "binary":
        fixed = int(column.max_length) if kind == 254 else 0
        made = MyColumn(name, kind, 0, _BINARY, 0, 0, declared)
        return LoggedColumn(made, _padded(raw, fixed) if fixed else raw)
    return LoggedColumn(MyColumn(name, kind, 0, _TEXT, 0, 0, declared), _decoded(raw, charset))


def _no_charset(name: str, charset: str) -> ConfigError:
    return ConfigError(
        f"column '{name}' has the character set {charset}, which cannot be read from the log",
        hint="Convert the column to utf8mb4, or read the stream with mode: incremental or full",
    )


def read_row(
    image: bytes, at: int, columns: Sequence[Read], present: Sequence[bool]
) -> tuple[list[Any], int]:
    """One row image from there on: a value for each column, None for NULL and for those that are not present."""
    count = sum(present)
    nulls = int.from_bytes(image[at : at + (count + 7) // 8], "little")
    at += (count + 7) // 8
    values: list[Any] = []
    for read, is_present in zip(columns, present, strict=True):
        if not is_present:
            values.append(None)
            continue
        if nulls & 1:
            values.append(None)
        else:
            value, at = read(image, at)
            values.append(value)
        nulls >>= 1
    return values, at


def bits(data: bytes, count: int) -> list[bool]:
    """The first bits of a bitmap."""
    number = int.from_bytes(data, "little")
    return [bool(number >> n & 1) for n in range(count)]


def _integer(kind: int, flags: int) -> Read:
    if kind == 9:
        return lambda b, at: (int.from_bytes(b[at : at + 3], "little", signed=not flags), at + 3)
    code = _INTEGERS[kind]
    return _fixed("<" + (code.upper() if flags else code))


def _fixed(layout: str) -> Read:
    reader = struct.Struct(layout)

    def read(data: bytes, at: int) -> tuple[Any, int]:
        return reader.unpack_from(data, at)[0], at + reader.size

    return read


def _year(data: bytes, at: int) -> tuple[int, int]:
    return (data[at] + 1900 if data[at] else 0), at + 1


def _date(data: bytes, at: int) -> tuple[str, int]:
    number = int.from_bytes(data[at : at + 3], "little")
    return f"{number >> 9:04d}-{number >> 5 & 15:02d}-{number & 31:02d}", at + 3


def _micros(data: bytes, at: int, fraction: int) -> tuple[int, int]:
    size = (fraction + 1) // 2
    return int.from_bytes(data[at : at + size], "big") * 100 ** (3 - size), at + size


def _timestamp(fraction: int) -> Read:
    def read(data: bytes, at: int) -> tuple[int, int]:
        seconds = int.from_bytes(data[at : at + 4], "big")
        micros, at = _micros(data, at + 4, fraction)
        return seconds * 1_000_000 + micros, at

    return read


def _datetime(fraction: int) -> Read:
    def read(data: bytes, at: int) -> tuple[str, int]:
        number = int.from_bytes(data[at : at + 5], "big") - 0x8000000000
        micros, at = _micros(data, at + 5, fraction)
        day, clock = number >> 17, number & 0x1FFFF
        year, month = divmod(day >> 5, 13)
        text = (
            f"{year:04d}-{month:02d}-{day & 31:02d} {clock >> 12:02d}:{clock >> 6 & 63:02d}:{clock & 63:02d}"
        )
        return text + (f".{micros:06d}"[: fraction + 1] if fraction else ""), at

    return read


def _time(fraction: int) -> Read:
    size = (fraction + 1) // 2

    def read(data: bytes, at: int) -> tuple[str, int]:
        number = int.from_bytes(data[at : at + 3 + size], "big") - (0x800000 << 8 * size)
        sign, number = ("-", -number) if number < 0 else ("", number)
        clock, part = number >> 8 * size, number & ((1 << 8 * size) - 1)
        text = f"{sign}{clock >> 12 & 0x3FF:02d}:{clock >> 6 & 63:02d}:{clock & 63:02d}"
        micros = part * 100 ** (3 - size)
        return text + (f".{micros:06d}"[: fraction + 1] if fraction else ""), at + 3 + size

    return read


def _decimal(precision: int, scale: int) -> Read:
    whole, whole_rest = divmod(precision - scale, 9)
    parts, parts_rest = divmod(scale, 9)
    sizes = [(_DIG2BYTES[whole_rest], whole_rest)] if whole_rest else []
    sizes += [(4, 9)] * whole
    fraction = [(4, 9)] * parts + ([(_DIG2BYTES[parts_rest], parts_rest)] if parts_rest else [])
    total = sum(size for size, _ in (*sizes, *fraction))

    def read(data: bytes, at: int) -> tuple[str, int]:
        image = bytearray(data[at : at + total])
        negative = not image[0] & 0x80
        image[0] ^= 0x80
        if negative:
            image = bytearray(b ^ 0xFF for b in image)
        place, digits = 0, ""
        for size, width in (*sizes, *fraction):
            digits += f"{int.from_bytes(image[place : place + size], 'big'):0{width}d}"
            place += size
        left = digits[: len(digits) - scale].lstrip("0") or "0"
        right = "." + digits[len(digits) - scale :] if scale else ""
        return ("-" if negative else "") + left + right, at + total

    return read


def _prefixed(size: int) -> Read:
    def read(data: bytes, at: int) -> tuple[bytes, int]:
        begin = at + size
        end = begin + int.from_bytes(data[at:begin], "little")
        return data[begin:end], end

    return read


def _padded(raw: Read, length: int) -> Read:
    def read(data: bytes, at: int) -> tuple[bytes, int]:
        value, at = raw(data, at)
        return value.ljust(length, b"\0"), at

    return read


def _decoded(raw: Read, charset: str) -> Read:
    codec = _CODECS[charset]

    def read(data: bytes, at: int) -> tuple[str, int]:
        value, at = raw(data, at)
        text: str = value.decode(codec)
        return (text.translate(_CP1252) if charset == "latin1" else text), at

    return read


def _enum(values: Sequence[str], size: int) -> Read:
    known = values if values[:1] == [""] else ["", *values]

    def read(data: bytes, at: int) -> tuple[str, int]:
        return known[int.from_bytes(data[at : at + size], "little")], at + size

    return read


def _set(values: Sequence[str], size: int) -> Read:
    def read(data: bytes, at: int) -> tuple[str, int]:
        mask = int.from_bytes(data[at : at + size], "little")
        return ",".join(v for n, v in enumerate(values) if mask >> n & 1), at + size

    return read
