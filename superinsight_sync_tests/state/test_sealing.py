"""Encryption at rest: what a thief of the disk finds, rotation beside work, and lost keys."""

import hashlib
import os
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text, update

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import ConfigError, DataError
from superinsight_sync.security import sealing
from superinsight_sync.security.master_keys import load_master_keys, new_master_key
from superinsight_sync.security.sealing import DataKey, key_id_of
from superinsight_sync.state import State
from superinsight_sync.state.bodies import sealed_name
from superinsight_sync.state.data_keys import RETIRED_AFTER
from superinsight_sync.state.inbox import Inbox
from superinsight_sync.state.resealing import reseal
from superinsight_sync.state.tables import data_keys
from superinsight_sync_tests.state.test_inbox import delivery

CANARY = b"canary-4711 "
SMALL, BIG = CANARY * 5, CANARY * 200_000
KEY = DataKey("00112233aabbccdd", b"k" * 32)


@pytest.fixture
def master(monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("SIS_MASTER_KEY_FILE", "SIS_MASTER_KEY_COMMAND"):
        monkeypatch.delenv(name, raising=False)
    key = new_master_key()
    monkeypatch.setenv("SIS_MASTER_KEY", key)
    return key


@pytest.fixture
def inbox(state: State, tmp_path: Path, master: str) -> Inbox:
    return Inbox(state.database, tmp_path / "landing")


def put(inbox: Inbox, key: str, body: bytes, tenant: str = "acme") -> str:
    made = delivery(key, body)._replace(tenant=tenant)
    assert inbox.accept(made).kind == "stored"
    return made.id


def on_disk(state: State, folder: Path) -> bytes:
    """Everything that rests: files of the folder, and all rows of the inbox."""
    with state.database.read() as connection:
        rows = [bytes(row.body) for row in connection.execute(text("SELECT body FROM sis_inbox")) if row.body]
    return b"".join([*rows, *(p.read_bytes() for p in folder.rglob("*") if p.is_file())])


def test_a_thief_of_the_disk_finds_no_body_and_readers_get_them_as_they_came(
    inbox: Inbox, state: State, tmp_path: Path
) -> None:
    small, big = put(inbox, "s", SMALL), put(inbox, "b", BIG)
    other = put(inbox, "b", BIG, "other")
    assert CANARY not in on_disk(state, tmp_path)
    assert (inbox.body(small), inbox.body(big), inbox.body(other)) == (SMALL, BIG, BIG)
    assert len([p for p in (tmp_path / "landing").rglob("*") if p.is_file()]) == 2
    parts = inbox.body_parts(big)
    assert parts is not None and max(map(len, parts)) <= sealing.CHUNK_BYTES
    read = [body for found in inbox.pending("acme") for _, body in inbox.read(found)]
    assert read == [SMALL, BIG]
    again = inbox.replay(small)
    assert again is not None and inbox.body(again) == SMALL


def test_bodies_from_before_stay_readable_and_are_sealed_by_a_pass(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SIS_MASTER_KEY", raising=False)
    plain = Inbox(state.database, tmp_path / "landing")
    ids = [put(plain, "s", SMALL), put(plain, "b", BIG), put(plain, "l", sealing.MAGIC + b"x" * 60)]
    monkeypatch.setenv("SIS_MASTER_KEY", new_master_key())
    inbox = Inbox(state.database, tmp_path / "landing")
    bodies = [SMALL, BIG, sealing.MAGIC + b"x" * 60]
    assert [inbox.body(i) for i in ids] == bodies
    assert reseal(state.database, inbox) == {"sealed": 3, "damaged": 0, "keys_retired": 0}
    assert [inbox.body(i) for i in ids] == bodies
    digest = hashlib.sha256(BIG).hexdigest()
    assert inbox.files.has(digest) and inbox.files.has(sealed_name("acme", digest))
    old = (utc_now() - timedelta(hours=2)).timestamp()
    os.utime(inbox.files.folder / digest[:2] / digest, (old, old))
    assert reseal(state.database, inbox)["sealed"] == 0
    assert not inbox.files.has(digest) and CANARY not in on_disk(state, tmp_path / "landing")
    assert inbox.body(ids[1]) == BIG


def test_keys_rotate_beside_a_writer_and_old_ones_retire_when_nothing_needs_them(
    inbox: Inbox, state: State, tmp_path: Path
) -> None:
    writing = Inbox(state.database, tmp_path / "landing")  # as another process, which remembers its key
    ids = [put(writing, "s", SMALL), put(writing, "b", BIG)]
    first = inbox.bodies.keys.current("acme").id
    second = inbox.bodies.keys.rotate("acme")
    ids.append(put(writing, "late", SMALL))
    assert second != first and inbox.bodies.keys.current("acme").id == second
    assert reseal(state.database, inbox) == {"sealed": 3, "damaged": 0, "keys_retired": 0}
    assert reseal(state.database, inbox)["keys_retired"] == 0  # it was replaced just now
    with state.database.write() as connection:
        values = {"replaced_at": utc_now() - RETIRED_AFTER - timedelta(seconds=1)}
        connection.execute(update(data_keys).where(data_keys.c.id == first).values(values))
    assert reseal(state.database, inbox)["keys_retired"] == 1
    assert [key["id"] for key in inbox.bodies.keys.list()] == [second]
    fresh = Inbox(state.database, tmp_path / "landing")
    assert [fresh.body(i) for i in ids] == [SMALL, BIG, SMALL]
    told = [r["action"] for r in state.audit.list("acme") if r["action"].startswith("data_key")]
    assert told == ["data_key.retire", "data_key.make", "data_key.make"]


def test_the_master_key_rotates_and_the_old_one_can_go(
    inbox: Inbox, state: State, tmp_path: Path, master: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = put(inbox, "s", SMALL)
    newer = new_master_key()
    monkeypatch.setenv("SIS_MASTER_KEY", f"{newer}\n{master}\n")
    both = Inbox(state.database, tmp_path / "landing")
    assert both.body(found) == SMALL and both.bodies.keys.rewrap() == 1 and both.bodies.keys.rewrap() == 0
    monkeypatch.setenv("SIS_MASTER_KEY", newer)
    assert Inbox(state.database, tmp_path / "landing").body(found) == SMALL


def test_a_lost_key_is_a_clear_error_and_no_body_is_taken_for_gone(
    inbox: Inbox, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, big = put(inbox, "s", SMALL), put(inbox, "b", BIG)
    for value, said in (("", "there is no master key"), (new_master_key(), "is needed and not there")):
        monkeypatch.setenv("SIS_MASTER_KEY", value)
        blind = Inbox(state.database, tmp_path / "landing")
        for one in (small, big):
            with pytest.raises(ConfigError, match=said) as raised:
                blind.body(one)
            assert "SIS_MASTER_KEY_FILE" in str(raised.value)
        with pytest.raises(ConfigError, match=said):
            list(blind.read(blind.pending()[0]))
    with state.database.write() as connection:
        connection.execute(text("DELETE FROM sis_data_keys"))
    monkeypatch.setenv("SIS_MASTER_KEY", new_master_key())
    with pytest.raises(ConfigError, match="data key .* is lost"):
        Inbox(state.database, tmp_path / "landing").body(small)


def test_a_body_opens_as_no_other_tenants_and_as_no_other_body(inbox: Inbox, state: State) -> None:
    mine, other = put(inbox, "s", SMALL), put(inbox, "s", b"their", "other")
    with state.database.write() as connection:
        statement = "UPDATE sis_inbox SET body = (SELECT body FROM sis_inbox WHERE id = :a) WHERE id = :b"
        connection.execute(text(statement), {"a": mine, "b": other})
    with pytest.raises(DataError, match="sealed for something else"):
        inbox.body(other)
    assert reseal(state.database, inbox)["damaged"] in (0, 1) and inbox.body(mine) == SMALL


def test_no_key_and_no_secret_is_in_the_database_in_plain(inbox: Inbox, state: State, master: str) -> None:
    put(inbox, "s", SMALL)
    key = inbox.bodies.keys.current("acme")
    with state.database.read() as connection:
        row = connection.execute(text("SELECT * FROM sis_data_keys")).one()
    assert key.secret not in bytes(row.wrapped) and master not in repr(row)
    assert key.secret.hex() not in repr(key) and repr(key.secret) not in repr(key)


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"SIS_MASTER_KEY": "short"}, "is no master key"),
        ({"SIS_MASTER_KEY_FILE": "/nowhere/key"}, "gives no secret"),
        ({"SIS_MASTER_KEY_COMMAND": "false"}, "gives no secret"),
        ({"SIS_MASTER_KEY_COMMAND": "echo"}, "is no master key"),
        ({"SIS_MASTER_KEY": "a", "SIS_MASTER_KEY_FILE": "b"}, "are set"),
    ],
)
def test_what_gives_no_master_key_is_refused(env: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_master_keys(env)


def test_a_master_key_comes_from_a_file_or_a_command(tmp_path: Path) -> None:
    path, key = tmp_path / "key", new_master_key()
    path.write_text(f"{key}\n{new_master_key()}\n")
    by_file = load_master_keys({"SIS_MASTER_KEY_FILE": str(path)})
    by_command = load_master_keys({"SIS_MASTER_KEY_COMMAND": f"cat {path}"})
    assert by_file is not None and by_file == by_command and len(by_file.secrets) == 2
    assert by_file == load_master_keys({"SIS_MASTER_KEY": path.read_text()})
    assert key not in repr(by_file) and load_master_keys({}) is None


@settings(max_examples=150)
@given(body=st.binary(max_size=40), context=st.text(max_size=5), data=st.data())
def test_what_was_sealed_opens_and_any_change_of_it_does_not(
    body: bytes, context: str, data: st.DataObject
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealing, "CHUNK_BYTES", 7)
        sealed = KEY.seal(body, context)
        assert key_id_of(sealed) == KEY.id
        assert b"".join(KEY.open_parts(BytesIO(sealed), context)) == body
        changed = data.draw(
            st.one_of(
                st.integers(0, len(sealed) - 1).map(
                    lambda n: sealed[:n] + bytes([sealed[n] ^ 1]) + sealed[n + 1 :]
                ),
                st.integers(0, len(sealed) - 1).map(lambda n: sealed[:n]),
                st.binary(min_size=1, max_size=30).map(lambda more: sealed + more),
            )
        )
        for wrong, said in ((changed, context), (sealed, context + "x")):
            with pytest.raises(DataError):
                b"".join(KEY.open_parts(BytesIO(wrong), said))
