"""What a thief of the database can do to the audit log, with every right on it and without the signing key."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import delete, insert, select, text, update

from superinsight_sync.security.audit_signing import Checkpoints
from superinsight_sync.security.audit_verifier import FIRST, folder_of, hash_of
from superinsight_sync.state import State
from superinsight_sync.state.tables import audit as t

ACME = t.c.tenant == "acme"


@dataclass(frozen=True)
class Thief:
    """One with the log, its checkpoints' folder, and another folder to take a key of his own from."""

    state: State
    kept: Checkpoints
    home: Path

    def run(self, *statements: Any) -> None:
        """As the owner of the database, who can drop what guards the table."""
        with self.state.database.write() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("ALTER TABLE sis_audit DISABLE TRIGGER USER"))
            else:
                connection.execute(text("DROP TRIGGER IF EXISTS sis_audit_no_update"))
                connection.execute(text("DROP TRIGGER IF EXISTS sis_audit_no_delete"))
            for statement in statements:
                connection.execute(statement)

    def rows(self) -> list[tuple[int, str, str]]:
        """The chain of acme."""
        return list(self.state.audit.chain("acme"))

    def put(self, number: int, **values: object) -> None:
        """Changes columns of one record."""
        self.run(update(t).where(ACME, t.c.seq == number).values(**values))

    def said(self, record: int, **fields: object) -> str:
        """The body of a record with other fields, written as it must be."""
        body = next(body for number, body, _ in self.rows() if number == record)
        return json.dumps({**json.loads(body), **fields}, separators=(",", ":"))

    def rewrite(self, first: int, last: int, **fields: object) -> None:
        """Changes fields of the record `first`, and chains all anew from there to `last`."""
        prev: str | None = None
        for seq in range(first, last + 1):
            changed = fields if seq == first else {"prev": prev}
            body = self.said(seq, **changed)
            prev = hash_of(body)
            self.put(seq, body=body, hash=prev)

    def renumber(self, taken: int) -> None:
        """Takes the first records away and numbers the others from 1, chained anew."""
        rows = self.rows()[taken:]
        self.run(delete(t).where(ACME))
        prev, made = FIRST, []
        for seq, (_, body, _) in enumerate(rows, 1):
            new = json.dumps({**json.loads(body), "seq": seq, "prev": prev}, separators=(",", ":"))
            prev = hash_of(new)
            made.append({"tenant": "acme", "seq": seq, "body": new, "hash": prev})
        self.run(insert(t).values(made))


def _swap(thief: Thief) -> None:
    rows = {seq: (body, digest) for seq, body, digest in thief.rows()}
    thief.put(3, body=rows[4][0], hash=rows[4][1])
    thief.put(4, body=rows[3][0], hash=rows[3][1])


def _insert(thief: Thief) -> None:
    rows = thief.rows()
    thief.run(delete(t).where(ACME, t.c.seq > 3))
    forged = rows[2][1].replace('"seq":3', '"seq":4').replace(json.loads(rows[2][1])["prev"], rows[2][2])
    made = [{"tenant": "acme", "seq": 4, "body": forged, "hash": hash_of(forged)}]
    made += [{"tenant": "acme", "seq": seq + 1, "body": body, "hash": d} for seq, body, d in rows[3:]]
    thief.run(insert(t).values(made))


def _swap_tenants(thief: Thief) -> None:
    for one, other in (("acme", "third"), ("other", "acme"), ("third", "other")):
        thief.run(update(t).where(t.c.tenant == one).values(tenant=other))


def _forge_checkpoint(thief: Thief) -> None:
    """Cuts the chain and signs its new end with a key of his own."""
    thief.run(delete(t).where(ACME, t.c.seq > 4))
    shutil.rmtree(thief.kept.folder / folder_of("acme"))
    _, body, digest = thief.rows()[-1]
    Checkpoints(thief.kept.folder, thief.home / "own.pem").sign("acme", json.loads(body)["at"], 4, digest)


def _drop_checkpoint(thief: Thief) -> None:
    thief.run(delete(t).where(ACME, t.c.seq > 4))
    (thief.kept.folder / folder_of("acme") / "checkpoint-00000001.json").unlink()


def _edit_checkpoint(thief: Thief) -> None:
    path = thief.kept.folder / folder_of("acme") / "checkpoint-00000002.json"
    outer = json.loads(path.read_text())
    outer["body"] = outer["body"].replace('"seq":11', '"seq":10')
    path.write_text(json.dumps(outer))


_FIELDS = {
    "actor": "mallory",
    "actor_kind": "key",
    "origin": "192.0.2.1",
    "action": "key.list",
    "object": "another",
    "phase": "outcome",
    "result": "failed",
    "ref": 1,
    "detail": {"n": 99},
    "at": "2020-01-01T00:00:00.000000Z",
    "v": 2,
    "tenant": "other",
    "seq": 4,
    "prev": FIRST,
}


def _edit(field: str) -> Callable[[Thief], None]:
    return lambda thief: thief.put(3, body=thief.said(3, **{field: _FIELDS[field]}))


def _edit_with_hash(field: str) -> Callable[[Thief], None]:
    def tamper(thief: Thief) -> None:
        body = thief.said(3, **{field: _FIELDS[field]})
        thief.put(3, body=body, hash=hash_of(body))

    return tamper


Tampering = tuple[str, Callable[[Thief], object], tuple[str, int]]
"""What it is, what does it, and the first bad record that `verify` must name (0: a checkpoint)."""

# The chain of acme: records 1 to 5, 6 is the first checkpoint's, 7 to 10, 11 is the second's, 12 is not signed.
TAMPERINGS: tuple[Tampering, ...] = (
    *((f"edit {name}", _edit(name), ("acme", 3)) for name in _FIELDS),
    *((f"edit {name} and hash", _edit_with_hash(name), ("acme", 3)) for name in _FIELDS),
    ("edit the hash", lambda x: x.put(3, hash=FIRST), ("acme", 3)),
    ("edit the number", lambda x: x.put(12, seq=14), ("acme", 14)),
    ("edit the tenant", lambda x: x.put(12, tenant="z"), ("z", 12)),
    ("edit and chain anew", lambda x: x.rewrite(3, 12, actor="mallory"), ("acme", 1)),
    ("edit behind a checkpoint and chain anew", lambda x: x.rewrite(8, 12, actor="mallory"), ("acme", 7)),
    ("backdate the newest", lambda x: x.rewrite(12, 12, at="2020-01-01T00:00:00.000000Z"), ("acme", 12)),
    ("backdate and chain anew", lambda x: x.rewrite(8, 12, at="2020-01-01T00:00:00.000000Z"), ("acme", 8)),
    ("insert", _insert, ("acme", 5)),
    ("take out", lambda x: x.run(delete(t).where(ACME, t.c.seq == 3)), ("acme", 3)),
    ("reorder", _swap, ("acme", 3)),
    ("cut the tail", lambda x: x.run(delete(t).where(ACME, t.c.seq > 8)), ("acme", 9)),
    ("cut the head", lambda x: x.run(delete(t).where(ACME, t.c.seq < 3)), ("acme", 1)),
    ("drop the chain", lambda x: x.run(delete(t).where(ACME)), ("acme", 1)),
    ("drop everything", lambda x: x.run(delete(t)), ("acme", 1)),
    ("reset the numbers", lambda x: x.renumber(2), ("acme", 1)),
    ("swap tenants", _swap_tenants, ("acme", 1)),
    ("forge a checkpoint", _forge_checkpoint, ("acme", 0)),
    ("drop a checkpoint", _drop_checkpoint, ("acme", 0)),
    ("edit a checkpoint", _edit_checkpoint, ("acme", 0)),
    ("no JSON", lambda x: x.put(3, body="{", hash=hash_of("{")), ("acme", 3)),
)


def chain_of(state: State, tenant: str) -> int:
    """The number of the last record."""
    with state.database.read() as connection:
        last = select(t.c.seq).where(t.c.tenant == tenant).order_by(t.c.seq.desc()).limit(1)
        return connection.scalar(last) or 0
