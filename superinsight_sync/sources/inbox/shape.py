"""The columns that a stream's waiting records have, and rows of them.

A column keeps the type that its table has as long as every value fits it exactly; so numbers that happen to be
whole one day change nothing. Objects and arrays are kept as JSON text: their shape changes from one to the next.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from superinsight_sync.core.errors import SisError
from superinsight_sync.model.tables import is_system
from superinsight_sync.model.types import arrow_type
from superinsight_sync.model.written import RESERVED_PREFIX
from superinsight_sync.sources.files.jsonlines import fast_values
from superinsight_sync.sources.files.jsonrows import declared_array
from superinsight_sync.sources.files.jsontext import record_of
from superinsight_sync.sources.files.jsontypes import MAX_DEPTH, Seen
from superinsight_sync.sources.protocol import Column

DELIVERY = Column("_sis_delivery", "delivery's id", pa.string(), nullable=False)
SEQ = Column("_sis_seq", "delivery's order number", pa.int64(), nullable=False)
RECEIVED_AT = Column("_sis_received_at", "delivery's time", pa.timestamp("us", "UTC"), nullable=False)
OWN = (DELIVERY, SEQ, RECEIVED_AT)
MAX_COLUMNS = 2_000
Rows = list[dict[str, Any] | str]
Misfit = tuple[int, str]
"""Which record, from 0, and why it is no row."""


class Shape:
    """Takes records first by `see`, then gives rows of them by `batch`.

    Args:
        declared: column → type, as in the declaration: other values set their record aside.
        known: what the table holds already.
        keys: columns of the primary key: a record without one of them is none.
    """

    def __init__(
        self, declared: Mapping[str, str], known: pa.Schema | None, keys: Sequence[str] = ()
    ) -> None:
        self._keys = keys
        self._declared = {name: arrow_type(text) for name, text in declared.items()}
        self._known = {} if known is None else {f.name: f.type for f in known}
        self._seen: dict[str, Seen] = {}
        self._folded = {n.casefold(): n for n in (*self._known, *self._declared)}

    def see(self, texts: Sequence[bytes]) -> None:
        """Takes records into account."""
        rows = [row for row in self._rows(texts) if isinstance(row, dict)]
        for name in dict.fromkeys(n for row in rows for n in row):
            self._folded.setdefault(name.casefold(), name)
            self._seen.setdefault(name, Seen(MAX_DEPTH)).add([row.get(name) for row in rows])

    @property
    def columns(self) -> tuple[Column, ...]:
        """Those that are declared or hold a value, or else all of the table, then our own; none if nothing is
        known of any."""
        names = dict.fromkeys(n for n, seen in self._seen.items() if seen.kinds)
        if not names and not self._declared:
            names = dict.fromkeys(n for n in self._known if not is_system(n))
        keys = [n for n in self._keys if n in self._known]
        found = [self._column(n) for n in dict.fromkeys([*names, *self._declared, *keys])]
        has_keys = {c.name for c in found}.issuperset(self._keys)
        return (*found, *OWN) if found and has_keys else ()

    def _column(self, name: str) -> Column:
        seen = self._seen.get(name, Seen())
        return Column(name, seen.source_type(), self._type(name, seen))

    def _type(self, name: str, seen: Seen) -> pa.DataType:
        if name in self._declared:
            return self._declared[name]
        known = self._known.get(name)
        return known if known is not None and _all_fit(seen, known) else seen.arrow_type()

    def rows(self, texts: Sequence[bytes]) -> tuple[dict[str, pa.Array], list[int], list[Misfit]]:
        """The values by column, which of the records these rows are, and those that are none, with the reason."""
        rows = self._rows(texts)
        places = [n for n, row in enumerate(rows) if isinstance(row, dict)]
        found = [row for row in rows if isinstance(row, dict)]
        misfits = [(n, row) for n, row in enumerate(rows) if isinstance(row, str)]
        bad: dict[int, str] = {}
        arrays = {
            c.name: self._array(c, [row.get(c.name) for row in found], bad) for c in self.columns[: -len(OWN)]
        }
        if bad:
            keep = pa.array([at not in bad for at in range(len(found))], pa.bool_())
            arrays = {n: a.filter(keep) for n, a in arrays.items()}
            misfits = sorted([*misfits, *((places[at], reason) for at, reason in bad.items())])
            places = [n for at, n in enumerate(places) if at not in bad]
        return arrays, places, misfits

    def _array(self, column: Column, values: list[Any], bad: dict[int, str]) -> pa.Array:
        if column.name in self._declared:
            array, places = declared_array(values, column.arrow)
            for place in places:
                bad.setdefault(place, f"'{column.name}' is not {column.arrow}")
            return array
        seen = self._seen.get(column.name)
        if seen is None:
            return pa.nulls(len(values), column.arrow)
        if column.arrow == seen.arrow_type():
            return seen.array(values)
        make = float if pa.types.is_floating(column.arrow) else _decimal
        if not pa.types.is_integer(column.arrow):
            values = [None if v is None else make(v) for v in values]
        return pa.array(values, column.arrow)

    def _rows(self, texts: Sequence[bytes]) -> Rows:
        """Each record, or why it is none."""
        rows: Rows = [self._keyed(row) for row in fast_values(texts) or map(_row, texts)]
        names = {n for row in rows if isinstance(row, dict) for n in row}
        wrong = {name: reason for name in names if (reason := self._unusable(name))}
        many = len(names | self._folded.keys()) > MAX_COLUMNS
        if not wrong and not many and len({n.casefold() for n in names}) == len(names):
            return rows
        return [self._named(row, wrong) if isinstance(row, dict) else row for row in rows]

    def _keyed(self, row: dict[str, Any] | str) -> dict[str, Any] | str:
        if isinstance(row, dict) and (missing := [k for k in self._keys if row.get(k) is None]):
            return f"it has no '{missing[0]}', which is of the primary key"
        return row

    def _named(self, row: dict[str, Any], wrong: Mapping[str, str]) -> dict[str, Any] | str:
        """A record by itself: the first one that brings a name has it."""
        for name in row:
            if name in wrong:
                return wrong[name]
            if self._folded.get(name.casefold(), name) != name:
                return "a field's name differs from another's only by upper and lower case"
        fresh = [n for n in row if n.casefold() not in self._folded]
        if len({n.casefold() for n in row}) < len(row):
            return "a field's name differs from another's only by upper and lower case"
        if len(fresh) + len(self._folded) > MAX_COLUMNS:
            return f"it brings more fields than the {MAX_COLUMNS} that a stream may have"
        self._folded.update({n.casefold(): n for n in fresh})
        return row

    def _unusable(self, name: str) -> str | None:
        if not name.strip():
            return "a field has no name"
        if is_system(name):
            return f"a field's name begins with {RESERVED_PREFIX}"
        if self._folded.get(name.casefold(), name) != name:
            return "a field's name differs from another's only by upper and lower case"
        return None


def _row(text: bytes) -> dict[str, Any] | str:
    try:
        return record_of(text.decode())
    except UnicodeDecodeError:
        return "it is no UTF-8"
    except SisError as error:
        return error.message
    except ValueError as error:
        return str(error)


def _decimal(value: Any) -> Decimal:
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)


def _all_fit(seen: Seen, known: pa.DataType) -> bool:
    """Whether every value seen keeps its meaning in the table's type."""
    if not seen.kinds or seen.arrow_type() == known:
        return True
    if seen.kinds == {int} and pa.types.is_floating(known):
        return seen.fits_double and pa.types.is_float64(known)
    if seen.kinds == {int} and pa.types.is_integer(known):
        most = 2 ** (known.bit_width - 1)
        return bool(-most <= seen.low and seen.high < most)
    if seen.kinds == {int} and pa.types.is_decimal(known):
        return bool(max(-seen.low, seen.high) < 10 ** (known.precision - known.scale))
    return False
