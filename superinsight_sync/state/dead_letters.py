"""Work that failed after all retries: its error and where its payload is, until replayed or discarded."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypedDict, Unpack

from sqlalchemy import select, update

from superinsight_sync.core.clock import utc_now
from superinsight_sync.state.audit import Entry, note
from superinsight_sync.state.database import Database, clean, insert_one, matching
from superinsight_sync.state.tables import dead_letters

LetterState = Literal["open", "replayed", "discarded"]


@dataclass(frozen=True)
class DeadLetter:
    """A kept failure. `at` is when it failed first, `marked_at` when it was replayed or discarded."""

    id: int
    tenant: str
    verb: str
    target: str
    payload: Mapping[str, Any]
    error_class: str
    error_text: str
    attempts: int
    state: LetterState
    at: datetime
    marked_at: datetime | None


class LetterFilter(TypedDict, total=False):
    """Columns that must equal a value."""

    id: int
    tenant: str
    verb: str
    target: str
    state: LetterState


class DeadLetters:
    """Every method may raise TransientError, AccessError and ConfigError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        *,
        verb: str,
        target: str,
        payload: Mapping[str, Any],
        error: BaseException,
        attempts: int = 1,
        tenant: str = "default",
    ) -> int:
        """Keeps work that could not be done, open; its id.

        Args:
            target: what it was about, such as ``crm/orders``.
            payload: JSON-like; says where the data is, never the data itself.
            error: its class and its text without secrets are kept.
            attempts: how many times it was tried in all.
        """
        row = {
            "tenant": tenant,
            "verb": verb,
            "target": target,
            "payload": dict(payload),
            "error_class": type(error).__name__,
            "error_text": clean(str(error)),
            "attempts": attempts,
            "state": "open",
            "at": utc_now(),
        }
        with self._database.write() as connection:
            return insert_one(connection, dead_letters, row)

    def failed_again(
        self, letter_id: int, payload: Mapping[str, Any], error: BaseException, attempts: int
    ) -> None:
        """Tells the newest failure of an open letter's work, and how many times it was tried in all."""
        told = {"error_class": type(error).__name__, "error_text": clean(str(error))}
        with self._database.write() as connection:
            connection.execute(
                update(dead_letters)
                .where(dead_letters.c.id == letter_id, dead_letters.c.state == "open")
                .values(payload=dict(payload), attempts=attempts, **told)
            )

    def list(self, limit: int = 100, **where: Unpack[LetterFilter]) -> tuple[DeadLetter, ...]:
        """Those that match, oldest first: ``list(state="open", verb="pull")``."""
        statement = select(dead_letters).where(*matching(dead_letters, where)).order_by(dead_letters.c.id)
        with self._database.read() as connection:
            return tuple(DeadLetter(**row) for row in connection.execute(statement.limit(limit)).mappings())

    def mark(self, letter_id: int, state: Literal["replayed", "discarded"]) -> bool:
        """Closes an open letter. False if somebody else was first: the replay is theirs."""
        is_open = (dead_letters.c.id == letter_id, dead_letters.c.state == "open")
        with self._database.write() as connection:
            closed = update(dead_letters).where(*is_open).values(state=state, marked_at=utc_now())
            told = closed.returning(dead_letters.c.tenant, dead_letters.c.verb, dead_letters.c.target)
            row = connection.execute(told).first()
            if row is None:
                return False
            detail = {"verb": row.verb, "target": row.target}
            note(connection, row.tenant, Entry(f"dead_letter.{state}", str(letter_id), detail))
            return True
