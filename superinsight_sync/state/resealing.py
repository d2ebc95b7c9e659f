"""Seals anew what rests in the inbox, beside the work: after a key was replaced, or sealing was turned on."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from sqlalchemy import func, select, update

from superinsight_sync.core.errors import DataError
from superinsight_sync.security.sealing import HEADER_BYTES, key_id_of
from superinsight_sync.state.bodies import context_of, sealed_name
from superinsight_sync.state.database import Database
from superinsight_sync.state.inbox import Inbox
from superinsight_sync.state.tables import inbox as t

_PAGE_ROWS = 500
_HEAD_BYTES = HEADER_BYTES + 16


class _Row(NamedTuple):
    seq: int
    tenant: str
    fingerprint: str
    head: bytes | None


def reseal(database: Database, inbox: Inbox) -> Mapping[str, int]:
    """Seals every body that is not sealed with its tenant's current key. A pass that finds none to seal deletes the
    replaced keys that seal nothing any more.

    It may end at any moment and be done again. Bodies that are damaged or gone are left as they are and counted.
    Raises ConfigError where a key is lost.
    """
    keys = inbox.bodies.keys
    sealed = damaged = retired = 0
    used: set[str] = set()
    plain: set[str] = set()
    for row in _rows(database):
        head = _file_head(inbox, row) if row.head is None else row.head
        if row.head is None and inbox.files.has(row.fingerprint):
            plain.add(row.fingerprint)
        current = keys.current(row.tenant)
        found = key_id_of(head)
        if found != current.id:
            try:
                _seal(database, inbox, row)
            except DataError:
                damaged += 1
                plain.discard(row.fingerprint)
                used |= {found} if found else set()
                continue
            sealed += 1
        used.add(current.id)
    inbox.files.forget(
        plain
    )  # those that are an hour old: a gateway without the master key may be writing one
    if not sealed:
        retired = keys.retire(frozenset(used))
    return {"sealed": sealed, "damaged": damaged, "keys_retired": retired}


def _seal(database: Database, inbox: Inbox, row: _Row) -> None:
    with database.read() as connection:
        kept = connection.scalar(select(t.c.body).where(t.c.seq == row.seq))
    body = inbox.bodies.opened(row.tenant, row.fingerprint, kept)
    if kept is None:
        inbox.bodies.keep_anew(row.tenant, body, row.fingerprint)
        return
    new = inbox.bodies.keys.current(row.tenant).seal(body, context_of(row.tenant, row.fingerprint))
    with database.write() as connection:
        connection.execute(update(t).where(t.c.seq == row.seq, t.c.body == kept).values(body=new))


def _rows(database: Database) -> Iterator[_Row]:
    last = 0
    columns = (t.c.seq, t.c.tenant, t.c.fingerprint, func.substr(t.c.body, 1, _HEAD_BYTES))
    while True:
        page = select(*columns).where(t.c.seq > last).order_by(t.c.seq).limit(_PAGE_ROWS)
        with database.read() as connection:
            rows = [_Row(*row) for row in connection.execute(page)]
        if not rows:
            return
        yield from rows
        last = rows[-1].seq


def _file_head(inbox: Inbox, row: _Row) -> bytes:
    name = sealed_name(row.tenant, row.fingerprint)
    if not inbox.files.has(name):
        return b""
    with inbox.files.open(name) as file:
        return file.read(_HEAD_BYTES)
