"""The messages of PostgreSQL's pgoutput, protocol version 1.

Format: PostgreSQL's documentation, "Logical Replication Message Formats".
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Final

from superinsight_sync.core.errors import DataError

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_BEGIN, _COMMIT, _INT, _SHORT = Struct("!qqI"), Struct("!Bqqq"), Struct("!I"), Struct("!h")
_COLUMN, _MESSAGE = Struct("!Ii"), Struct("!Bq")
_LENGTH_AT: Callable[[bytes, int], tuple[int]] = Struct("!i").unpack_from
_TEXT, _NULL, _UNCHANGED = ord("t"), ord("n"), ord("u")


class Unchanged:
    """Stands for a value that the log does not repeat."""


UNCHANGED: Final = Unchanged()
Value = bytes | None | Unchanged
Row = list[Value]


@dataclass(frozen=True)
class Begin:
    """A transaction that was committed at `lsn`; its changes follow."""

    lsn: int
    at_us: int
    xid: int


@dataclass(frozen=True)
class Committed:
    """The transaction's end; whoever has it goes on at `end_lsn`."""

    lsn: int
    end_lsn: int
    at_us: int


@dataclass(frozen=True)
class RelationColumn:
    """`is_key`: whether it is part of the replica identity."""

    name: str
    is_key: bool
    type_oid: int
    modifier: int


@dataclass(frozen=True)
class Relation:
    """A table as it was when the rows that follow were written. `identity`: d(efault), n(othing), f(ull), i(ndex)."""

    oid: int
    schema: str
    name: str
    identity: str
    columns: tuple[RelationColumn, ...]


@dataclass(frozen=True)
class Insert:
    relation: int
    new: Row


@dataclass(frozen=True)
class Update:
    """`old` has only the key's values unless `whole_old`; None if the key is what it was."""

    relation: int
    new: Row
    old: Row | None
    whole_old: bool


@dataclass(frozen=True)
class Delete:
    relation: int
    old: Row
    whole_old: bool


@dataclass(frozen=True)
class Truncate:
    relations: tuple[int, ...]


@dataclass(frozen=True)
class Marked:
    """A message that somebody wrote into the log."""

    prefix: str
    content: bytes


Message = Begin | Committed | Relation | Insert | Update | Delete | Truncate | Marked


def moment_of(at_us: int) -> datetime:
    """The instant of microseconds since 2000, as the log counts."""
    return _EPOCH + timedelta(microseconds=at_us)


def lsn_text(lsn: int) -> str:
    """As PostgreSQL writes it: ``16/B374D848``."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def lsn_of(text: str) -> int:
    """The inverse of `lsn_text`."""
    high, _, low = text.partition("/")
    return int(high, 16) << 32 | int(low, 16)


def message_of(data: bytes) -> Message | None:
    """One message; None for those that change nothing (types, origins). Raises DataError for one we do not know."""
    try:
        return _READ[data[0]](data)
    except (KeyError, IndexError) as error:
        raise DataError(
            "the server sent a replication message that is not known",
            hint="Use PostgreSQL 14 to 18, and no proxy in between",
        ) from error


def _row(data: bytes, at: int) -> tuple[Row, int]:
    (count,) = _SHORT.unpack_from(data, at)
    at += 2
    values: Row = []
    add = values.append
    for _ in range(count):
        kind = data[at]
        if kind == _TEXT:
            (length,) = _LENGTH_AT(data, at + 1)
            at += 5
            add(data[at : at + length])
            at += length
        else:
            add(None if kind == _NULL else UNCHANGED)
            at += 1
    return values, at


def _insert(data: bytes) -> Insert:
    return Insert(_INT.unpack_from(data, 1)[0], _row(data, 6)[0])


def _update(data: bytes) -> Update:
    relation, kind = _INT.unpack_from(data, 1)[0], data[5]
    if kind == ord("N"):
        return Update(relation, _row(data, 6)[0], None, False)
    old, at = _row(data, 6)
    return Update(relation, _row(data, at + 1)[0], old, kind == ord("O"))


def _delete(data: bytes) -> Delete:
    return Delete(_INT.unpack_from(data, 1)[0], _row(data, 6)[0], data[5] == ord("O"))


def _text(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(0, at)
    return data[at:end].decode(), end + 1


def _relation(data: bytes) -> Relation:
    schema, at = _text(data, 5)
    name, at = _text(data, at)
    identity = chr(data[at])
    (count,) = _SHORT.unpack_from(data, at + 1)
    at += 3
    columns = []
    for _ in range(count):
        is_key = bool(data[at] & 1)
        column, at = _text(data, at + 1)
        columns.append(RelationColumn(column, is_key, *_COLUMN.unpack_from(data, at)))
        at += 8
    return Relation(_INT.unpack_from(data, 1)[0], schema, name, identity, tuple(columns))


def _truncate(data: bytes) -> Truncate:
    (count,) = _INT.unpack_from(data, 1)
    return Truncate(tuple(_INT.unpack_from(data, 6 + 4 * n)[0] for n in range(count)))


def _marked(data: bytes) -> Marked:
    prefix, at = _text(data, 1 + _MESSAGE.size)
    (length,) = _INT.unpack_from(data, at)
    return Marked(prefix, data[at + 4 : at + 4 + length])


def _nothing(data: bytes) -> None:
    return None


_READ: dict[int, Callable[[bytes], Message | None]] = {
    ord("B"): lambda data: Begin(*_BEGIN.unpack_from(data, 1)),
    ord("C"): lambda data: Committed(*_COMMIT.unpack_from(data, 1)[1:]),
    ord("R"): _relation,
    ord("I"): _insert,
    ord("U"): _update,
    ord("D"): _delete,
    ord("T"): _truncate,
    ord("M"): _marked,
    ord("Y"): _nothing,
    ord("O"): _nothing,
}
