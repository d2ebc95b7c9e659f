"""`sis plan`: what `sis run` would read and write, for every stage, without a trace."""

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from superinsight_sync.pipeline.engine import open_engine
from superinsight_sync.state.inbox_writer import Delivery
from superinsight_sync_tests.cli.commands import sis

PUSHED = """type: superinsight_sync.PushSource
attributes:
  name: tower
  streams:
    - name: events
"""
DATABASE = """type: superinsight_sync.SyncSource
attributes:
  name: far
  connection: {kind: sqlite, path: data/web.db}
  streams:
    - name: pages
      table: pages
      save: {raw: memory, refined: {strategy: database, dsn: "{{ env.NOT_SET }}"}}
    - name: gone
      table: gone
"""


def plan(*args: str) -> dict[str, Any]:
    done = sis("plan", *args, "--json")
    assert done.code == 0, done.out + done.err
    return {a["asset"]: a for a in done.document["assets"]}


def outcomes(*args: str) -> dict[str, str]:
    return {name: a["outcome"] for name, a in plan(*args).items()}


def traces(project: Path) -> set[tuple[str, int, int]]:
    return {
        (str(p), p.stat().st_size, p.stat().st_mtime_ns)
        for p in project.rglob("*")
        if "__pycache__" not in p.parts
    }


@contextmanager
def declared(project: Path, name: str, text: str) -> Iterator[None]:
    file = project / project.name / "defs" / name / "defs.yaml"
    file.parent.mkdir()
    file.write_text(text)
    try:
        yield
    finally:
        file.unlink()
        file.parent.rmdir()


def test_before_the_first_run_every_asset_has_its_line(new_project: Path) -> None:
    before = traces(new_project)
    found = plan()
    assert traces(new_project) == before
    assert set(found) == {
        "shop/raw_orders",
        "shop/orders",
        "shop/orders_dictionary",
        "datasets/orders_sample",
        "web/raw_visits",
        "web/visits",
        "web/visits_dictionary",
        "web/raw_pages",
        "web/pages",
        "web/pages_dictionary",
    }
    assert {a["outcome"] for a in found.values()} == {"made"}
    assert (found["web/raw_pages"]["would"], found["web/raw_pages"]["rows"]) == ("read everything", 5)
    assert found["web/raw_pages"]["reads"] == ["sqlite: pages"]
    assert found["web/raw_pages"]["into"] == "default/web/pages/raw"
    visits = found["web/raw_visits"]
    assert visits["would"] == (
        "read seen_at from 2026-01-01T00:00:00+00:00 to before 2026-04-01T00:00:00+00:00"
    )
    assert (visits["rows"], visits["from"], visits["to"]) == (90, "2026-01-01", "2026-03-01")
    assert found["shop/orders"]["how"] == ["cast", "rule"]
    assert found["datasets/orders_sample"]["reads"] == ["shop/orders"]
    assert "Plan (nothing was changed)" in sis("plan").out


def test_a_selection_is_what_run_takes(new_project: Path) -> None:
    assert set(plan("web.pages")) == {"web/raw_pages", "web/pages", "web/pages_dictionary"}
    assert set(plan("orders_sample")) == {"datasets/orders_sample"}
    assert set(plan("datasets/orders_sample")) == {"datasets/orders_sample"}
    assert set(plan("key:web/pages+", "web/raw_pages")) == set(plan("web.pages"))
    assert set(plan("tag:stage=raw")) == {"shop/raw_orders", "web/raw_visits", "web/raw_pages"}
    assert set(plan("--all")) == set(plan())
    narrow = plan("web.visits", "--from", "2026-02-10", "--to", "2026-02-10")
    assert (narrow["web/raw_visits"]["rows"], narrow["web/visits"]["to"]) == (30, "2026-02-01")
    assert sis("plan", "web.visit", "--json").code == 2
    assert sis("plan", "web", "--from", "soon", "--json").code == 2


def test_what_lacks_its_input_is_told_as_a_run_would(new_project: Path) -> None:
    found = plan("datasets/orders_sample", "web/pages")
    assert {a["outcome"] for a in found.values()} == {"fails"}
    assert "has no table in the lake" in found["datasets/orders_sample"]["would"]
    assert "there are no raw rows yet" in found["web/pages"]["would"]


def test_nothing_is_known_of_what_was_never_pushed(new_project: Path) -> None:
    with declared(new_project, "tower", PUSHED):
        assert outcomes("tower") == {
            "tower/raw_events": "waits",
            "tower/events": "waits",
            "tower/events_dictionary": "waits",
        }
    assert not (new_project / ".sis").exists()


def test_a_stream_that_cannot_be_planned_harms_only_its_own_lines(new_project: Path) -> None:
    with declared(new_project, "far", DATABASE):
        found = plan("far", "web.pages")
    assert found["far/raw_gone"]["outcome"] == "fails"
    assert "there is no table 'gone'" in found["far/raw_gone"]["would"]
    assert found["far/gone"]["would"] == "wait: nothing comes of far/raw_gone"
    assert found["far/pages"]["into"] == "database table far.pages"
    assert found["far/raw_pages"]["into"] == "default/far/pages/raw (memory of the run)"
    assert found["web/pages"]["outcome"] == "made"


def test_after_a_run_it_says_what_is_new_and_what_is_not(new_project: Path) -> None:
    assert sis("run", "--all", "--json").code == 0
    before = traces(new_project)
    assert set(outcomes().values()) == {"unchanged"}
    assert traces(new_project) == before
    assert {a["unchanged"] for a in sis("run", "web", "--json").document["assets"]} == {True}
    with closing(sqlite3.connect(new_project / "data" / "web.db")) as db, db:
        db.execute("INSERT INTO pages VALUES ('p9', 'nine')")
    found = plan("web.pages", "orders_sample")
    assert found["web/raw_pages"]["rows"] == 6
    assert found["web/pages"]["would"] == "refine what the pull lands"
    assert found["web/pages_dictionary"]["outcome"] == "made"
    assert found["datasets/orders_sample"]["outcome"] == "unchanged"
    assert found["datasets/orders_sample"]["reads"] == ["shop/orders version 1"]
    assert outcomes("web/pages") == {"web/pages": "unchanged"}
    assert sis("run", "web/raw_pages", "--json").code == 0
    assert plan("web/pages")["web/pages"]["would"] == "refine all rows"
    assert plan("web/pages")["web/pages"]["reads"] == ["default/web/pages/raw version 2"]


def test_what_waits_is_counted_without_being_opened(
    new_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_: Any, **__: Any) -> None:
        raise AssertionError("a delivery was opened")

    monkeypatch.setattr("superinsight_sync.state.inbox.Inbox.between", opened)
    with declared(new_project, "tower", PUSHED):
        for number in range(3):
            body = json.dumps([{"id": number}, {"id": -number}]).encode()
            digest = hashlib.sha256(body).hexdigest()
            told = (f"d{number}", "default", "tower", "events", f"d{number}", digest, "json", "", body)
            open_engine().inbox.accept(Delivery(*told, len(body), 2))
        found = plan("tower")["tower/raw_events"]
    assert (found["outcome"], found["rows"]) == ("made", 6)
