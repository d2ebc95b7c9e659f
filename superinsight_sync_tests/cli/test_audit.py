"""`sis audit`, and that commands leave their records."""

import json
import subprocess
import sys
from pathlib import Path

from sqlalchemy import text

from superinsight_sync.core.settings import load_settings
from superinsight_sync.pipeline.engine import open_engine
from superinsight_sync.pipeline.retain import maintain_state
from superinsight_sync.state import open_state
from superinsight_sync_tests.cli.commands import sis


def actions(*options: str) -> list[tuple[str, str, str]]:
    records = sis("audit", "list", "--limit", "1000", "--json", *options).document["records"]
    return [(r["action"], r["object"], r["result"]) for r in reversed(records)]


def test_commands_are_audited_and_the_log_is_verified_exported_and_broken(
    project: Path, tmp_path: Path
) -> None:
    assert sis("run", "web.visits", "--from", "2026-01-01", "--to", "2026-01-01").code == 0
    assert sis("preview", "web.visits", "--limit", "3", "--landed", "raw").code == 0
    assert sis("quarantine", "web.visits").code == 0
    assert sis("state", "reset", "web.visits", "--partition", "2026-01-01").code == 0
    load = json.loads(sis("history", "web.visits", "--json").out)["versions"][-1]["load_id"]
    assert sis("rollback", load, "--yes").code == 0
    assert sis("reset", "web.visits", "--yes").code == 0
    told = actions()
    for action, what in (
        ("load.pull", "web/visits"),
        ("rows.read", "web/visits"),
        ("quarantine.read", "web/visits"),
        ("checkpoint.reset", "web/visits"),
        ("stream.reset", "web/visits"),
    ):
        assert action in [a for a, o, _ in told if o == what], told
    assert ("load.rollback", "ok") in [(a, r) for a, _, r in told]
    assert actions("--action", "rows.read", "--since", "2026-01-01") == [("rows.read", "web/visits", "ok")]
    shown = sis("audit", "list", "--action", "rows.read").out
    assert "rows 3" in shown and "user" in shown
    assert sis("audit", "list", "--since", "yesterday").code == 2

    key = tmp_path / "audit-key.pub"
    key.write_text(sis("audit", "key").out)
    assert sis("audit", "checkpoint").code == 0
    verified = sis("audit", "verify", "--public-key", str(key), "--json")
    assert (
        verified.code == 0 and verified.document["findings"] == [] and verified.document["open_intents"] == 0
    )
    folder = tmp_path / "export"
    assert sis("audit", "export", str(folder), "--tenant", "default").code == 0
    assert sis("audit", "export", str(folder)).code == 2
    assert sis("audit", "export", str(tmp_path / "other"), "--tenant", "nobody").code == 2
    alone = [sys.executable, "-I", str(folder / "audit_verifier.py"), str(folder), "--public-key", str(key)]
    assert subprocess.run(alone, check=False, capture_output=True).returncode == 0

    state = open_state(load_settings().database_url)
    with state.database.write() as connection:
        connection.execute(text("DROP TRIGGER sis_audit_no_update"))
        connection.execute(text("UPDATE sis_audit SET body = replace(body, 'rows.read', 'rows.list')"))
    state.close()
    broken = sis("audit", "verify", "--json")
    first = next(n for n, (action, _, _) in enumerate(told, 1) if action == "rows.read")
    assert broken.code == 1 and broken.document["findings"][0]["seq"] == first
    assert "Tampered" in sis("audit", "verify").out


def test_upkeep_signs_the_log_and_writes_down_what_it_removes(new_project: Path) -> None:
    assert sis("run", "web.pages").code == 0
    engine = open_engine()
    done = maintain_state(engine)
    assert done["audit_checkpoints"] == 2 and done["bodies_sealed_anew"] == 0
    assert maintain_state(engine)["audit_checkpoints"] == 1  # the installation's own: of this upkeep
    verified = sis("audit", "verify", "--json")
    assert verified.code == 0 and verified.document["unsigned"] == 0
    told = actions("--tenant", "")
    assert told[:2] == [("state.purge", "history, inbox", "begun"), ("state.purge", "history, inbox", "ok")]


def test_what_cannot_be_written_down_is_not_shown(new_project: Path) -> None:
    assert sis("run", "web.pages").code == 0
    state = open_state(load_settings().database_url)
    with state.database.write() as connection:
        connection.execute(text("DROP TABLE sis_audit"))
    state.close()
    refused = sis("preview", "web.pages", "--landed", "raw")
    assert refused.code != 0 and refused.out == ""


def test_doctor_finds_secrets_in_plain_text_and_files_that_others_can_read(new_project: Path) -> None:
    def found(what: str) -> tuple[bool, str]:
        findings = sis("doctor", "--json").document["findings"]
        return next((f["ok"], f["detail"]) for f in findings if f["what"] == what)

    assert found("secrets")[0] and found("private files")[0]
    file = next(new_project.rglob("web/defs.yaml"))
    declared = file.read_text()
    file.write_text(declared.replace("path: data/web.db", 'path: data/web.db, password: "hunter2"'))
    (new_project / ".sis" / "state.db").chmod(0o644)
    ok, detail = found("secrets")
    assert not ok and "defs.yaml:5" in detail and "hunter2" not in detail
    ok, detail = found("private files")
    assert not ok and "state.db" in detail
