"""The columns that a stream's waiting records have, and rows of them.

A column keeps the type that its table has as long as every value fits it exactly; so numbers that happen to be
whole one day change nothing. Objects and arrays are kept as JSON text: their shape changes from one to the next.
What a table is in the end does not depend on which records were looked at together.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from superinsight_sync.core.errors import SisError
from superinsight_sync.model.read import Column
from superinsight_sync.model.tables import is_system
from superinsight_sync.model.types import arrow_type
from superinsight_sync.model.written import RESERVED_PREFIX
from superinsight_sync.records.declared_columns import declared_array
from superinsight_sync.records.json_lines import fast_values
from superinsight_sync.records.json_text import record_of
from superinsight_sync.sources.inbox.forms import (
    Convert,
    Kinds,
    array_of,
    fits,
    kinds_of,
    kinds_of_type,
    rewrite,
    told,
    type_of,
)

DELIVERY = Column("_sis_delivery", "delivery's id", pa.string(), nullable=False)
SEQ = Column("_sis_seq", "delivery's order number", pa.int64(), nullable=False)
RECEIVED_AT = Column("_sis_received_at", "delivery's time", pa.timestamp("us", "UTC"), nullable=False)
OWN = (DELIVERY, SEQ, RECEIVED_AT)
MAX_COLUMNS = 2_000
Rows = list[dict[str, Any] | str]
Misfit = tuple[int, str]
"""Which record, from 0, and why it is no row."""


class Held(NamedTuple):
    """One column: its type, the kinds of all values that were ever pushed to it, those before this stretch, and
    those of it."""

    dtype: pa.DataType
    kinds: Kinds
    before: Kinds
    fresh: Kinds


class Shape:
    """Takes records first by `see`, then gives rows of them by `rows`.

    Args:
        declared: column → type, as in the declaration: other values set their record aside.
        known: what the table holds already.
        keys: columns of the primary key: a record without one of them is none.
        kinds: column → kinds of values pushed to it before, as `kinds` gave them.
        grows: whether a column that exists may become of another type.
        headers: columns that are filled by the reader: a record that has a value under such a name is none.
    """

    def __init__(
        self,
        declared: Mapping[str, str],
        known: pa.Schema | None,
        keys: Sequence[str] = (),
        *,
        kinds: Mapping[str, Sequence[str]] | None = None,
        grows: bool = True,
        headers: Sequence[str] = (),
    ) -> None:
        self._keys, self._grows, self.headers = keys, grows, tuple(headers)
        self._taken = {n.casefold() for n in headers}
        self._declared = {name: arrow_type(text) for name, text in declared.items()}
        self._known = {
            f.name: f.type
            for f in known or ()
            if not f.name.startswith(RESERVED_PREFIX) and f.name not in self.headers
        }
        self._before = {name: frozenset(found) for name, found in (kinds or {}).items()}
        self._fresh: dict[str, Kinds] = {}
        self._found: dict[str, Held] | None = None
        self._folded = {n.casefold(): n for n in (*self._known, *self._declared)}

    def see(self, texts: Sequence[bytes]) -> None:
        """Takes records into account."""
        rows = [row for row in self._rows(texts) if isinstance(row, dict)]
        for name in dict.fromkeys(n for row in rows for n in row):
            found = kinds_of([row.get(name) for row in rows])
            self._fresh[name] = self._fresh.get(name, frozenset()) | found
            if found:
                self._folded.setdefault(name.casefold(), name)
        self._found = None

    @property
    def columns(self) -> tuple[Column, ...]:
        """Those of the table, those that hold a value, and those that are declared, then our own; none if nothing is
        known of any, or a key is missing."""
        found = [Column(n, told(held.fresh), held.dtype) for n, held in self._held.items()]
        has_keys = self._held.keys() >= set(self._keys)
        sent = [Column(n, "header", pa.string()) for n in self.headers]
        return (*found, *sent, *OWN) if found and has_keys else ()

    @property
    def kinds(self) -> dict[str, list[str]]:
        """Column → kinds of all values that were ever pushed to it, of those that are not declared; to be kept with
        the rows."""
        return {n: sorted(held.kinds) for n, held in self._held.items() if n not in self._declared}

    def rewrites(self) -> dict[str, Convert]:
        """Columns of the table whose values have to be written anew before these rows can stand beside them."""
        found = {
            name: rewrite(self._known[name], held.dtype, held.before, held.kinds)
            for name, held in self._held.items()
            if name in self._known and name not in self._declared
        }
        return {name: convert for name, convert in found.items() if convert is not None}

    @property
    def _held(self) -> dict[str, Held]:
        if self._found is None:
            fresh = [name for name, kinds in self._fresh.items() if kinds]
            names = dict.fromkeys([*self._known, *fresh, *self._declared])
            self._found = {name: self._held_of(name) for name in names}
        return self._found

    def _held_of(self, name: str) -> Held:
        fresh, nothing = self._fresh.get(name, frozenset()), frozenset[str]()
        if name in self._declared:
            return Held(self._declared[name], nothing, nothing, fresh)
        known = self._known.get(name)
        before = self._before.get(name) or (nothing if known is None else kinds_of_type(known))
        total = before | fresh
        if known is not None and fits(fresh, known, before):
            return Held(known, total, before, fresh)
        if known is not None and not self._grows and not pa.types.is_string(known):
            return Held(type_of(fresh), before, before, fresh)
        is_text = known is not None and pa.types.is_string(known)
        if is_text and not self._grows and not pa.types.is_string(type_of(fresh)):
            return Held(type_of(fresh), before, before, fresh)
        return Held(pa.string() if is_text else type_of(total), total, before, fresh)

    def rows(self, texts: Sequence[bytes]) -> tuple[dict[str, pa.Array], list[int], list[Misfit]]:
        """The values by column, which of the records these rows are, and those that are none, with the reason."""
        rows = self._rows(texts)
        places = [n for n, row in enumerate(rows) if isinstance(row, dict)]
        found = [row for row in rows if isinstance(row, dict)]
        misfits = [(n, row) for n, row in enumerate(rows) if isinstance(row, str)]
        bad: dict[int, str] = {}
        arrays = {
            name: self._array(name, held, [row.get(name) for row in found], bad)
            for name, held in self._held.items()
        }
        if bad:
            keep = pa.array([at not in bad for at in range(len(found))], pa.bool_())
            arrays = {n: a.filter(keep) for n, a in arrays.items()}
            misfits = sorted([*misfits, *((places[at], reason) for at, reason in bad.items())])
            places = [n for at, n in enumerate(places) if at not in bad]
        return arrays, places, misfits

    def _array(self, name: str, held: Held, values: list[Any], bad: dict[int, str]) -> pa.Array:
        if name in self._declared:
            array, places = declared_array(values, held.dtype)
            for place in places:
                bad.setdefault(place, f"'{name}' is not {held.dtype}")
            return array
        return array_of(values, held.kinds, held.dtype) if held.fresh else pa.nulls(len(values), held.dtype)

    def _rows(self, texts: Sequence[bytes]) -> Rows:
        """Each record, or why it is none."""
        rows: Rows = [self._keyed(row) for row in fast_values(texts) or map(_row, texts)]
        names = {n for row in rows if isinstance(row, dict) for n in row}
        folded = {n.casefold() for n in names}
        many = len(folded | self._folded.keys()) > MAX_COLUMNS
        if not many and len(folded) == len(names) and not any(map(self._is_odd, names)):
            return rows
        return [self._named(row) if isinstance(row, dict) else row for row in rows]

    def _keyed(self, row: dict[str, Any] | str) -> dict[str, Any] | str:
        if isinstance(row, dict) and (missing := [k for k in self._keys if row.get(k) is None]):
            return f"it has no '{missing[0]}', which is of the primary key"
        return row

    def _is_odd(self, name: str) -> bool:
        folded = name.casefold()
        return _unusable(name) is not None or folded in self._taken or self._folded.get(folded, name) != name

    def _named(self, row: dict[str, Any]) -> dict[str, Any] | str:
        """A record by itself: the first one that brings a value under a name has it."""
        if wrong := [reason for name in row if (reason := _unusable(name))]:
            return wrong[0]
        given = {n.casefold(): n for n, value in row.items() if value is not None}
        if given.keys() & self._taken:
            return "a field has the name of a column that is declared for a header"
        if len({n.casefold() for n in row}) < len(row) or any(
            self._folded.get(folded, name) != name for folded, name in given.items()
        ):
            return "a field's name differs from another's only by upper and lower case"
        fresh = {folded: name for folded, name in given.items() if folded not in self._folded}
        if len(fresh) + len(self._folded) > MAX_COLUMNS:
            return f"it brings more fields than the {MAX_COLUMNS} that a stream may have"
        self._folded.update(fresh)
        return row


def _unusable(name: str) -> str | None:
    if not name.strip():
        return "a field has no name"
    return f"a field's name begins with {RESERVED_PREFIX}" if is_system(name) else None


def _row(text: bytes) -> dict[str, Any] | str:
    try:
        return record_of(text.decode())
    except UnicodeDecodeError:
        return "it is no UTF-8"
    except SisError as error:
        return error.message
    except ValueError as error:
        return str(error)
