"""Rows, commits and Hypothesis strategies that the tests of the save strategies share."""

import itertools
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from superinsight_sync.lake.store import ReadBatches
from superinsight_sync.lake.system_columns import add_system_columns
from superinsight_sync.model.tables import PARTITION, Checkpoint, Commit, TableRef

REF = TableRef("default", "crm", "orders", "refined")
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
_NUMBERS = itertools.count()


def new_ref() -> TableRef:
    return TableRef("default", "crm", f"t{next(_NUMBERS)}", "refined")


def commit(load_id: str = "", cursor: Any = None, **metadata: str) -> Commit:
    load_id = load_id or f"load-{next(_NUMBERS)}"
    return Commit(load_id, {"": Checkpoint(load_id, AT, cursor=cursor)}, metadata)


def landed(rows: pa.Table, load_id: str, *, partition: str | None = None, at: datetime = AT) -> pa.Table:
    """The rows with their system columns."""
    rows = rows.append_column(PARTITION, pa.array([partition] * rows.num_rows, pa.string()))
    return add_system_columns(rows.to_reader(), load_id=load_id, extracted_at=at).read_all()


def reads(rows: pa.Table, batch_rows: int = 1000) -> ReadBatches:
    return lambda: rows.to_reader(max_chunksize=batch_rows)


def content(rows: pa.Table, *, system: bool = False) -> list[str]:
    """The rows in an order of their own, comparable also where NaN occurs."""
    names = sorted(n for n in rows.column_names if system or not n.startswith("_sis_"))
    return sorted(repr([(n, row[n]) for n in names]) for row in rows.to_pylist())


TYPES: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "flag": (pa.bool_(), st.booleans()),
    "small": (pa.int16(), st.integers(-(2**15), 2**15 - 1)),
    "whole": (pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    "big": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "single": (pa.float32(), st.floats(width=32)),
    "double": (pa.float64(), st.floats()),
    "amount": (
        pa.decimal128(12, 2),
        st.decimals("-9999999999.99", "9999999999.99", places=2).map(Decimal.normalize),
    ),
    "huge": (
        pa.decimal128(38, 10),
        st.integers(-(10**38) + 1, 10**38 - 1).map(lambda n: Decimal(f"{n}e-10")),
    ),
    "text": (pa.string(), st.text(st.characters(codec="utf-8", exclude_characters="\0"))),
    "bytes": (pa.binary(), st.binary()),
    "day": (pa.date32(), st.dates()),
    "instant": (
        pa.timestamp("us", "UTC"),
        st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),
    ),
    "local": (pa.timestamp("us"), st.datetimes()),
    "numbers": (pa.list_(pa.int64()), st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=4)),
    "words": (
        pa.list_(pa.string()),
        st.lists(st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0")), max_size=4),
    ),
    "prices": (
        pa.list_(pa.decimal128(9, 3)),
        st.lists(st.none() | st.decimals("-9", "9", places=3), max_size=3),
    ),
    "moments": (
        pa.list_(pa.timestamp("us", "UTC")),
        st.lists(
            st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),
            max_size=3,
        ),
    ),
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Up to 12 rows of up to 6 columns of any supported types, NULLs among them."""
    names = draw(st.lists(st.sampled_from(sorted(TYPES)), min_size=1, max_size=6, unique=True))
    count = draw(st.integers(0, 12))
    columns = {}
    for name in names:
        type_, values = TYPES[name]
        column = draw(st.lists(st.none() | values, min_size=count, max_size=count))
        columns[name] = pa.array(column, type_)
    return pa.table(columns)


def orders(ids: list[int | None], amounts: list[str], load_id: str, **kwargs: Any) -> pa.Table:
    rows = pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "amount": pa.array([Decimal(a) for a in amounts], pa.decimal128(12, 2)),
        }
    )
    return landed(rows, load_id, **kwargs)


def amounts(rows: pa.Table) -> list[tuple[int | None, str]]:
    pairs = zip(rows["id"].to_pylist(), rows["amount"].to_pylist(), strict=True)
    return sorted(((i, str(a)) for i, a in pairs), key=lambda p: (p[0] is not None, p[0] or 0, p[1]))


EVERYTHING = pa.table(
    {
        "amount": pa.array([Decimal("-0.01"), None], pa.decimal128(38, 10)),
        "text": pa.array(["Grüße 😀 \\ ' \"", None]),
        "instant": pa.array(
            [datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=UTC), None], pa.timestamp("us", "UTC")
        ),
        "local": pa.array([datetime(2026, 3, 29, 2, 30), None], pa.timestamp("us")),
        "day": pa.array([date(1, 1, 1), None]),
        'odd "name" %s {0}': pa.array([1, None]),
    }
)
