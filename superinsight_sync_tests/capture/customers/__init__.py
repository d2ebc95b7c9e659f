"""For each change feed a customer's database that it can follow: `customer` in the file of the feed's name."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Customer:
    """A database of its own.

    Attributes:
        dsn: of an account that may do all.
        run: runs statements, each committed by itself, in SQL that all databases know.
    """

    dsn: str
    run: Callable[..., object]
