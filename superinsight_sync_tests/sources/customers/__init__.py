"""A customer's system to test each kind of source on: `customers/<kind>.py` has `customer(request)`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

OUTSIDE = {"oracle": "SIS_TEST_ORACLE_DSN", "mssql": "SIS_TEST_MSSQL_DSN"}
"""Kinds whose servers cannot be started here, and the variable that says where one runs."""

ROWS = 600
FIRST = datetime(2026, 1, 1, tzinfo=UTC)

Row = tuple[int, str | None, Decimal, datetime]


@cache
def rows() -> list[Row]:
    """(id, note, amount, updated_at): an hour apart, notes NULL at first, then with emoji and quotes."""
    notes = ("plain", "größe 😀", 'o\'hara "q"', "line\nend", "", None)
    return [
        (
            n,
            None if n < 300 else notes[n % len(notes)],
            Decimal(n * 7919 % 100_000_000) / 100,
            FIRST + timedelta(hours=n),
        )
        for n in range(ROWS)
    ]


@dataclass(frozen=True)
class Customer:
    """A running system that holds `rows()`.

    Attributes:
        connection: what a declaration says of it.
        place: where the rows are, as stream keys.
        wrong_place: a place close to it that is not there, and the name the error should propose.
        wrong_password: connection and the secret that no text may hold; None if the kind knows no accounts.
        unreachable: a connection to where nothing listens; None if the kind has no network.
        busy: how many statements or open transactions of ours the system sees now.
    """

    connection: dict[str, Any]
    place: dict[str, Any]
    wrong_place: tuple[dict[str, Any], str]
    wrong_password: tuple[dict[str, Any], str] | None = None
    unreachable: dict[str, Any] | None = None
    busy: Callable[[], int] = field(default=lambda: 0)
    own_columns: tuple[str, ...] = ()
    """Columns that the kind adds to the customer's."""
    exact_amount: bool = True
    """Whether the amount lands as a decimal instead of text."""
    empty_text: bool = True
    """Whether the system tells empty text from NULL."""
    query: str = "SELECT id, upper(note) AS note, updated_at FROM orders WHERE id % 2 = 0 -- even"
    """The even rows, where the kind reads queries."""
    cursors: bool = True
    """Whether a column can be the cursor of an incremental read."""
