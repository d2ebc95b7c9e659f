"""Every command as its user meets it: what it prints, what it changes, how it ends."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from superinsight_sync.cli import doctoring
from superinsight_sync.cli.main import main
from superinsight_sync.pipeline.engine import open_engine
from superinsight_sync.state.inbox import Inbox
from superinsight_sync.state.inbox_writer import Delivery
from superinsight_sync_tests.cli.commands import sis


def every_command(group: click.Group = main, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    with click.Context(group) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if isinstance(command, click.Group):
                yield from every_command(command, (*prefix, name))
            else:
                yield (*prefix, name)


COMMANDS = list(every_command())


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example_and_knows_json(path: tuple[str, ...]) -> None:
    done = sis(*path, "--help")
    assert done.code == 0
    assert "Example:" in done.out
    assert f"sis {' '.join(path)}" in done.out
    assert "--json" in done.out
    group: click.Command = main
    for name in path:
        assert isinstance(group, click.Group)
        group = group.get_command(click.Context(group), name) or group
    silent = [p.name for p in group.params if isinstance(p, click.Option) and not p.help]
    assert silent == []


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_wrong_usage_with_json_prints_one_document_and_ends_with_2(path: tuple[str, ...]) -> None:
    done = sis(*path, "--no-such-option", "--json")
    assert done.code == 2
    assert "--no-such-option" in done.document["error"]["message"]


def test_no_command_shows_help_and_completion() -> None:
    done = sis("--help")
    assert done.code == 0
    assert "_SIS_COMPLETE=bash_source" in " ".join(done.out.split())
    assert sis("nonsense", "--json").document["error"]["class"] == "UsageError"


@pytest.mark.parametrize(
    "args",
    [
        ("check",),
        ("discover", "x"),
        ("preview", "x.y"),
        ("plan",),
        ("run", "--all"),
        ("backfill", "x", "--from", "2026-01-01", "--to", "2026-01-01"),
        ("state", "get", "x.y"),
        ("state", "set", "x.y", "2026-01-01"),
        ("state", "reset", "x.y"),
        ("history", "x.y"),
        ("quarantine", "x.y"),
        ("maintain",),
        ("doctor",),
    ],
    ids=" ".join,
)
def test_outside_a_project_every_command_says_so(
    args: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = sis(*args, "--json")
    assert done.code == 2
    assert "sis init" in done.document["error"]["message"]
    assert list(tmp_path.iterdir()) == []


def test_the_made_project_passes_its_checks(project: Path) -> None:
    assert sis("check", "--offline", "--json").document["ok"]
    found = sis("check", "--json")
    assert found.code == 0
    assert {c["source"] for c in found.document["connections"]} == {"shop", "web"}
    assert "0 problems" in sis("check").err
    assert sis("init", str(project), "--json").code == 2


def test_discovery_proposes_a_declaration_that_check_accepts(project: Path) -> None:
    declared = project / project.name / "defs" / "web" / "defs.yaml"
    before = declared.read_text()
    target = project / project.name / "defs" / "web2" / "defs.yaml"
    try:
        found = sis("discover", "web", "--write", str(target), "--json")
        assert {s["name"] for s in found.document["streams"]} == {"visits", "pages"}
        assert sis("discover", "web", "--write", str(target), "--json").code == 2
        assert "declared twice" in json.dumps(sis("check", "--offline", "--json").document)
        declared.unlink()
        checked = sis("check", "web", "--json")
        assert (checked.code, checked.document["problems"]) == (0, [])
    finally:
        declared.write_text(before)
        target.unlink()
        target.parent.rmdir()


def test_preview_shows_rows_as_they_are_and_refined(project: Path) -> None:
    plain = sis("preview", "shop.orders", "--limit", "3", "--json").document
    assert (len(plain["rows"]), plain["columns"]["amount"]) == (3, "string")
    refined = sis("preview", "shop/orders", "--limit", "3", "--refined", "--json").document
    assert refined["columns"]["amount"] == "decimal128(12, 2)"
    assert "[bold] [/x] 1" in sis("preview", "web.pages").out


def test_a_dry_run_names_the_runs_and_makes_none(project: Path) -> None:
    runs = sis("run", "web.visits", "--from", "2026-02-10", "--dry-run", "--json").document["runs"]
    assert runs[0] == {"assets": ["web/raw_visits", "web/visits"], "from": "2026-02-01", "to": "2026-03-01"}
    assert runs[1]["assets"] == ["web/visits_dictionary"]
    runs = sis("run", "web/visits", "--dry-run", "--json").document["runs"]
    assert [r["assets"] for r in runs] == [["web/visits"]]
    assert not (project / ".sis" / "lake" / "default" / "web").exists()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("run",), "nothing is selected"),
        (("run", "web.visit"), "Did you mean 'web/visits'"),
        (("run", "web", "--from", "soon"), "'soon' is neither a date nor a partition"),
        (("run", "web", "--from", "2027-01-01"), "There are 2026-01-01 to 2026-03-01"),
        (("run", "web", "--from", "2026-03-01", "--to", "2026-02-01"), "no partition between"),
        (("backfill", "shop", "--from", "2026-01-01", "--to", "2026-01-02"), "no partitions to backfill"),
        (("state", "set", "shop.orders", "yesterday"), "'yesterday' is no timestamp"),
        (("state", "set", "web.visits", "2026-01-31", "--partition", "spring"), "'spring' is no partition"),
        (("state", "reset", "shop.orders", "--partition", "2026-01-01"), "'shop.orders' has no partitions"),
        (("rollback", "no-such-load", "--yes"), "no table has a load"),
        (("preview", "web.nothing"), "has no stream 'nothing'. Valid: pages, visits"),
        (("discover", "wep"), "Did you mean 'web'"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, tuple) else "",
)
def test_what_cannot_be_is_refused_with_what_can(project: Path, args: tuple[str, ...], said: str) -> None:
    done = sis(*args, "--json")
    assert done.code == 2
    assert said in done.document["error"]["message"]


def test_run_then_look_at_it_take_it_back_and_repair(project: Path) -> None:
    ran = sis("run", "--all", "--json")
    assert ran.code == 0, ran.err
    rows = {a["asset"]: a["rows"] for a in ran.document["assets"] if a["stage"] != "dictionary"}
    assert rows == {
        "shop/raw_orders": 500,
        "shop/orders": 499,
        "datasets/orders_sample": 499,
        "web/raw_visits": 90,
        "web/visits": 90,
        "web/raw_pages": 5,
        "web/pages": 5,
    }
    again = sis("run", "shop", "--json").document["assets"]
    assert all(a["unchanged"] for a in again)

    backfilled = sis("backfill", "web.visits", "--from", "2026-02-01", "--to", "2026-03-01", "--json")
    assert (backfilled.code, len(backfilled.document["run_ids"])) == (0, 1)
    assert not any(a["unchanged"] for a in backfilled.document["assets"])

    status = sis("status", "--source", "web", "--json").document
    assert {e["source"] for e in status["executions"]} == {"web"}
    assert "web/visits" in sis("status").out
    assert len(sis("quarantine", "shop.orders", "--json").document["records"]) == 1

    versions = sis("history", "web.pages", "--json").document["versions"]
    load = versions[0]["load_id"]
    assert sis("rollback", load, "--json", answer="n\n").code == 1
    back = sis("rollback", load, "--yes", "--json")
    assert (back.code, list(back.document["tables"])) == (0, ["default/web/pages/raw"])

    assert set(sis("state", "get", "web.visits", "--json").document["checkpoints"]) >= {"2026-02-01"}
    assert sis("state", "reset", "web.visits", "--partition", "2026-02-01", "--json").document["reset"]
    assert "2026-02-01" not in sis("state", "get", "web.visits", "--json").document["checkpoints"]
    assert sis("state", "set", "shop.orders", "2026-01-31", "--json").code == 0
    month = ("--partition", "2026-02-01")
    assert sis("state", "set", "web.visits", "2026-02-03", *month, "--json").document["partition"] == month[1]
    points = sis("state", "get", "web.visits", "--json").document["checkpoints"]
    assert points["2026-02-01"]["cursor"] == "2026-02-03T00:00:00"
    assert "" not in points

    assert sis("maintain", "--json").document["tables"] >= 6
    found = sis("doctor", "--json")
    assert (found.code, found.document["ok"]) == (0, True)


def test_the_doctor_warns_before_a_bound_is_reached(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sis("run", "web.pages", "--json").code == 0
    engine = open_engine()
    body = b'{"id": 1}'
    digest = hashlib.sha256(body).hexdigest()
    made = Delivery("d1", "default", "till", "s", "d1", digest, "json", "", body, len(body), 1)
    Inbox(engine.state.database, engine.settings.landing_dir).accept(made)
    monkeypatch.setattr(doctoring, "_MANY_COLUMNS", 2)
    monkeypatch.setattr(doctoring, "_MANY_WAITING", 0)
    found = sis("doctor", "--json")
    assert found.code == 1
    told = {f["what"]: f["detail"] for f in found.document["findings"] if not f["ok"]}
    assert told.keys() == {"tables", "inbox"}
    assert "measured up to 2" in told["tables"] and "1 deliveries wait" in told["inbox"]


def test_an_unforeseen_error_is_one_document_too(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("boom postgresql://u:hunter2@h/db")

    monkeypatch.setattr("superinsight_sync.pipeline.project.load_project", broken)
    done = sis("plan", "--json")
    assert done.code == 1
    assert done.document["error"]["class"] == "RuntimeError"
    assert "hunter2" not in done.out + done.err


def test_the_shell_completes_commands() -> None:
    from click.testing import CliRunner

    asked = {"_SIS_COMPLETE": "bash_complete", "COMP_WORDS": "sis ba", "COMP_CWORD": "1"}
    done = CliRunner().invoke(main, [], env=asked, prog_name="sis")
    assert done.stdout.split() == ["plain,backfill"]


def test_a_source_without_streams_is_filled_by_discovery(project: Path) -> None:
    """In its own file; `check` says so, and never tells to run `check`."""
    (project / "drop").mkdir()
    (project / "drop" / "people.csv").write_text("id,name\n1,Ada\n")
    file = project / project.name / "defs" / "drop" / "defs.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(
        "# mine\ntype: superinsight_sync.SyncSource\nattributes:\n  name: drop\n  owners: ['team:a']\n"
        "  connection: {kind: files, path: drop, settle: 0s}  # here\n"
    )
    try:
        checked = sis("check", "drop", "--offline", "--json")
        assert checked.code == 2 and "`sis check`" not in checked.out
        problems = sis("check", "--offline", "--json").document["problems"]
        assert [f"sis discover <source> --write {file}" in p["message"] for p in problems] == [True]
        assert sis("discover", "drop", "--json").document["streams"][0]["name"] == "people"
        assert sis("discover", "drop", "--write", str(file)).code == 0
        text = file.read_text()
        assert "# mine" in text and "# here" in text and "team:a" in text
        assert "id: int64" in text and "primary_key" in text
        assert sis("check", "drop", "--json").code == 0
        assert sis("discover", "drop", "--write", str(file)).code == 2
    finally:
        file.unlink()
        file.parent.rmdir()


def test_numbers_of_rows_are_exact_or_marked(project: Path) -> None:
    found = sis("discover", "web", "--json").document["streams"]
    assert all(s["counted"] for s in found)
    assert "≈" not in sis("discover", "web").out
