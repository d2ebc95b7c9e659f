"""The audit log: whole with the change it is about, and every tampering is found at its first record."""

import json
import shutil
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from superinsight_sync.core import clock
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.security.acting import Actor, acting_as, current_actor
from superinsight_sync.security.audit_signing import Checkpoints
from superinsight_sync.security.audit_verifier import FIRST, Finding, Verified, verify_chain
from superinsight_sync.state import State, open_state
from superinsight_sync.state.audit import AuditFilter, Entry, note
from superinsight_sync.state.audit_checkpoints import export_log, make_checkpoints, verify_log
from superinsight_sync_tests.state.audit_tampering import TAMPERINGS, Tampering, Thief, chain_of


@pytest.fixture
def kept(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "apart", tmp_path / "keys" / "audit.pem")


def fill(state: State, tenant: str, count: int) -> None:
    for n in range(count):
        state.audit.record(tenant, Entry("rows.read", f"crm/s{n}", {"rows": n, "of": "source"}))


def filled(state: State, kept: Checkpoints) -> None:
    """Two chains; of acme records 1 to 11 are signed in two checkpoints, 12 is not."""
    fill(state, "acme", 5)
    fill(state, "other", 3)
    make_checkpoints(state, kept)
    fill(state, "acme", 4)
    make_checkpoints(state, kept)
    fill(state, "acme", 1)


def test_what_was_done_is_listed_newest_first_with_who_and_from_where(state: State) -> None:
    with acting_as(Actor("key", "1a2b3c4d", "203.0.113.7")):
        made = state.api_keys.create("till 🛒", "pusher", tenant="acme", sources=["sales"])
        state.api_keys.revoke(made.id)
    state.workers.want("capture", "acme", "crm", "pause")
    records = state.audit.list("acme")
    assert [(r["seq"], r["action"], r["object"]) for r in records] == [
        (3, "capture.pause", "crm"),
        (2, "key.revoke", made.id),
        (1, "key.make", made.id),
    ]
    me = current_actor()
    assert (records[0]["actor"], records[0]["actor_kind"], records[0]["origin"]) == (
        me.name,
        "user",
        me.origin,
    )
    assert (records[1]["actor"], records[1]["origin"]) == ("1a2b3c4d", "203.0.113.7")
    assert records[2]["detail"]["name"] == "till 🛒" and records[2]["detail"]["sources"] == ["sales"]
    assert made.secret not in json.dumps(records)
    assert state.audit.list("default") == () and state.audit.tenants() == ("acme",)


def test_records_are_found_by_action_actor_object_result_and_time(state: State) -> None:
    fill(state, "acme", 3)
    state.audit.record("acme", Entry("key.make", "k", result="failed"))
    found = state.audit.list
    assert [r["seq"] for r in found("acme", AuditFilter(action="rows.read"), limit=2)] == [3, 2]
    assert [r["seq"] for r in found("acme", AuditFilter(object="crm/s1"))] == [2]
    assert [r["seq"] for r in found("acme", AuditFilter(result="failed"))] == [4]
    assert found("acme", AuditFilter(actor="nobody' OR '1'='1")) == ()
    assert [r["seq"] for r in found("acme", before=3)] == [2, 1]
    now = clock.utc_now()
    assert len(found("acme", AuditFilter(until=now + timedelta(hours=1)))) == 4
    assert found("acme", AuditFilter(since=now + timedelta(hours=1))) == ()


def test_a_change_that_is_rolled_back_leaves_no_record(state: State) -> None:
    with pytest.raises(RuntimeError), state.database.write() as connection:
        note(connection, "acme", Entry("key.make", "k"))
        raise RuntimeError
    assert chain_of(state, "acme") == 0


def test_a_change_whose_record_cannot_be_written_is_not_made(state: State) -> None:
    with state.database.write() as connection:
        connection.execute(text("DROP TABLE sis_audit"))
    with pytest.raises(Exception, match="sis_audit"):
        state.api_keys.create("n", "viewer")
    assert state.api_keys.list() == ()
    ran = []
    with pytest.raises(Exception, match="sis_audit"), state.audit.act("acme", "stream.reset", "crm/s"):
        ran.append(1)
    assert ran == []


def test_processes_and_threads_make_one_chain_without_gaps(state: State, kept: Checkpoints, url: str) -> None:
    def write() -> None:
        other = open_state(url)
        fill(other, "acme", 25)
        other.close()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [seq for seq, _, _ in state.audit.chain("acme")] == list(range(1, 101))
    result = verify_log(state, kept)
    assert (result.records, result.unsigned, result.findings) == (100, 100, [])


def test_an_untouched_log_verifies(state: State, kept: Checkpoints) -> None:
    filled(state, kept)
    result = verify_log(state, kept)
    assert (result.records, result.unsigned, result.findings) == (16, 1, [])
    assert make_checkpoints(state, kept)[0].seq == 13 and make_checkpoints(state, kept) == ()
    assert verify_log(state, kept, tenant="acme").unsigned == 0


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a filled log, to be copied."""
    home = tmp_path_factory.mktemp("audit")
    state = open_state(f"sqlite:///{home}/state.db")
    filled(state, Checkpoints(home / "apart", home / "audit.pem"))
    state.close()
    return home


@pytest.mark.parametrize("tampering", TAMPERINGS, ids=[name for name, _, _ in TAMPERINGS])
def test_a_tampering_is_found_at_the_first_bad_record_and_no_later_checkpoint_heals_it(
    tampering: Tampering, made_once: Path, tmp_path: Path
) -> None:
    home = shutil.copytree(made_once, tmp_path / "home")
    state, kept = open_state(f"sqlite:///{home}/state.db"), Checkpoints(home / "apart", home / "audit.pem")
    key = kept.public_key
    _, tamper, (tenant, seq) = tampering
    tamper(Thief(state, kept, tmp_path))
    findings = verify_log(state, kept, (key,)).findings
    assert [(f.tenant, f.seq) for f in findings if f.tenant == tenant][:1] == [(tenant, seq)], findings
    state.audit.record("acme", Entry("rows.read", "crm/later"))
    make_checkpoints(state, kept)
    assert verify_log(state, kept, (key,)).findings != []
    state.close()


def test_the_table_refuses_changes_and_truncate(state: State, kept: Checkpoints) -> None:
    fill(state, "acme", 2)
    statements = ["UPDATE sis_audit SET body = ''", "DELETE FROM sis_audit"]
    if state.database.engine.dialect.name == "postgresql":
        statements += ["TRUNCATE sis_audit", "TRUNCATE sis_audit CASCADE"]
    for statement in statements:
        with pytest.raises(DBAPIError, match="only appended to"), state.database.engine.begin() as connection:
            connection.execute(text(statement))
    assert verify_log(state, kept).records == 2


def test_what_cannot_share_a_transaction_has_an_intent_and_an_outcome(state: State) -> None:
    with state.audit.act("acme", "stream.reset", "crm/s", partition="p") as act:
        assert state.audit.open() == (("acme", act.seq),) and state.audit.settle(0) == 0
        act.detail["rows"] = 7
    with pytest.raises(ConfigError), state.audit.act("acme", "stream.reset", "crm/s"):
        raise ConfigError("no")
    said = [(r["phase"], r["result"], r["ref"], r["detail"]) for r in reversed(state.audit.list("acme"))]
    assert said == [
        ("intent", "begun", None, {"partition": "p"}),
        ("outcome", "ok", 1, {"rows": 7}),
        ("intent", "begun", None, {}),
        ("outcome", "failed", 3, {"error": "ConfigError"}),
    ]
    assert state.audit.open() == ()


def test_an_intent_whose_process_died_is_settled_once(state: State) -> None:
    act = state.audit.act("acme", "stream.reset", "crm/s")
    act.__enter__()
    with state.database.write() as connection:  # as if the process were gone, and its lease had run out
        connection.execute(text("DELETE FROM sis_leases"))
    assert state.audit.settle(60) == 0
    assert state.audit.settle(0) == 1 and state.audit.settle(0) == 0
    last = state.audit.list("acme")[0]
    assert (last["phase"], last["result"], last["ref"]) == ("outcome", "interrupted", 1)
    act.__exit__(None, None, None)  # it lived after all: how it ended is written too
    assert state.audit.list("acme")[0]["result"] == "ok"


def test_loads_are_noted_once_begun_and_once_ended(state: State) -> None:
    key = state.executions.start(run_id="r", verb="pull", source="crm", stream="orders", tenant="acme")
    state.executions.finish(key, "succeeded", rows=5, size_bytes=50, load_id="l1")
    ended, begun = state.audit.list("acme")
    assert (begun["action"], begun["object"], begun["phase"]) == ("load.pull", "crm/orders", "intent")
    assert (ended["phase"], ended["result"], ended["detail"]["rows"]) == ("outcome", "succeeded", 5)
    dead = state.executions.start(run_id="r", verb="pull", source="crm", stream="orders", tenant="acme")
    assert state.executions.sweep_orphans(0) == 1
    last = state.audit.list("acme")[0]
    assert (last["result"], last["detail"]["execution"]) == ("interrupted", dead)


def test_a_clock_that_goes_back_makes_no_record_older_than_the_one_before(
    state: State, kept: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(state, "acme", 1)
    earlier = clock.utc_now() - timedelta(days=1)
    monkeypatch.setattr("superinsight_sync.state.database.utc_now", lambda: earlier)
    fill(state, "acme", 1)
    newer, older = state.audit.list("acme")
    assert newer["at"] >= older["at"] and verify_log(state, kept).findings == []


def test_an_export_verifies_alone_and_shows_what_was_changed_in_it(tmp_path: Path, kept: Checkpoints) -> None:
    state = open_state(f"sqlite:///{tmp_path}/home/state.db")
    filled(state, kept)
    key = tmp_path / "audit-key.pub"
    key.write_bytes(kept.public_key)
    folder = tmp_path / "export"
    assert export_log(state, kept, folder, ("acme",)) == {"acme": 13}
    assert "other" not in "".join(p.read_text() for p in folder.rglob("*.json*"))

    def verify() -> tuple[int, str]:
        command = [
            sys.executable,
            "-I",
            str(folder / "audit_verifier.py"),
            str(folder),
            "--public-key",
            str(key),
        ]
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", env={}, check=False)
        return done.returncode, done.stdout + done.stderr

    assert verify() == (0, "13 records verified, 0 of them newer than the last checkpoint, 0 findings\n")
    records = next(folder.rglob("records.jsonl"))
    whole = records.read_bytes()
    lines = whole.splitlines(keepends=True)
    changed: dict[str, tuple[bytes, str]] = {
        "edited": (whole.replace(b'"crm/s2"', b'"crm/s3"', 1), "record 3:"),
        "reordered": (b"".join([*lines[:4], lines[5], lines[4], *lines[6:]]), "record 5:"),
        "cut": (b"".join(lines[:9]), "records 10 to 13 are gone"),
        "taken out": (b"".join([*lines[:4], *lines[5:]]), "records 5 to 5 are gone"),
        "empty": (b"", "the whole chain is gone"),
    }
    for content, said in changed.values():
        records.write_bytes(content)
        code, told = verify()
        assert code == 1 and said in told, told
    state.close()


@pytest.mark.parametrize("tenant", ["", "acme", "Ünï/../x", "a'b\"c\\", "t" * 300])
def test_any_text_can_be_a_tenant(tenant: str, state: State, kept: Checkpoints) -> None:
    fill(state, tenant, 2)
    make_checkpoints(state, kept)
    assert verify_log(state, kept).findings == [] and kept.tenants() == {tenant}
    assert len(state.audit.list(tenant)) == 3


def test_nothing_is_done_behind_a_record_that_is_none(
    state: State, kept: Checkpoints, tmp_path: Path
) -> None:
    fill(state, "default", 2)
    Thief(state, kept, tmp_path).run(text("UPDATE sis_audit SET body = '{' WHERE seq = 2"))
    with pytest.raises(ConfigError, match="sis audit verify"):
        state.api_keys.create("n", "viewer")
    assert state.api_keys.list() == ()


def test_a_signing_key_that_cannot_be_used_is_a_clear_error(
    state: State, kept: Checkpoints, tmp_path: Path
) -> None:
    fill(state, "acme", 1)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "audit.pem").write_text("secret no key")
    with pytest.raises(ConfigError, match="cannot be used") as raised:
        make_checkpoints(state, kept)
    assert "SIS_AUDIT_KEY" in str(raised.value) and "secret" not in str(raised.value)


texts = st.text(max_size=20)


@settings(max_examples=100)
@given(
    st.lists(st.tuples(texts, texts, st.dictionaries(texts, texts | st.integers() | st.none())), max_size=8),
    st.data(),
)
def test_any_one_changed_character_of_any_record_is_found(
    entries: list[tuple[str, str, dict[str, object]]], data: st.DataObject
) -> None:
    from superinsight_sync.security.audit_verifier import hash_of
    from superinsight_sync.state.audit import _body

    rows: list[tuple[int, str, str]] = []
    prev = FIRST
    for seq, (action, what, detail) in enumerate(entries, 1):
        body = _body(
            "acme", seq, prev, "2027-01-01T00:00:00.000000Z", {"actor": what}, Entry(action, what, detail)
        )
        prev = hash_of(body)
        rows.append((seq, body, prev))
        assert body.isascii() and json.loads(body)["detail"] == detail
    good, bad = Verified(), Verified()
    verify_chain("acme", rows, (), good)
    assert good.findings == [] and good.records == len(rows)
    if rows:
        n = data.draw(st.integers(0, len(rows) - 1))
        seq, body, digest = rows[n]
        at = data.draw(st.integers(0, len(body) - 1))
        rows[n] = (seq, f"{body[:at]}{'x' if body[at] != 'x' else 'y'}{body[at + 1 :]}", digest)
        verify_chain("acme", rows, (), bad)
        assert bad.findings == [Finding("acme", seq, "its body or its hash was changed")]
