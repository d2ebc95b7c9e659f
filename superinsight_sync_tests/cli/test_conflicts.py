"""Entities from the declaration to the command line: two databases that disagree about the same people."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from superinsight_sync.pipeline.engine import open_engine
from superinsight_sync.pipeline.project import load_project
from superinsight_sync_tests.cli.commands import sis

PEOPLE = """type: superinsight_sync.SyncSource
attributes:
  name: crm
  connection: {kind: sqlite, path: data/crm.db}
  streams: [{name: people, table: people, primary_key: [id], sync: {mode: incremental, cursor: changed}}]
---
type: superinsight_sync.SyncSource
attributes:
  name: store
  connection: {kind: sqlite, path: data/store.db}
  streams: [{name: buyers, table: people, primary_key: [id], sync: {mode: incremental, cursor: changed}}]
---
type: superinsight_sync.Entity
attributes:
  name: person
  streams:
    - {stream: crm/people, key: [id], time: changed, columns: {email: email, phone: phone, city: city}}
    - {stream: store/buyers, key: [id], time: changed, columns: {email: email, phone: phone, city: city}}
  match: [{equal: [email]}]
  strategy: [{strategy: newest}]
  fields: {phone: {strategy: [{strategy: manual}], critical: true}}
---
type: superinsight_sync.Dataset
attributes:
  name: phones
  inputs: {person: entities/person}
  select: SELECT entity_id, email, phone FROM person WHERE deleted_at IS NULL
  split: {ratios: {whole: 1.0}}
"""


def write(folder: Path, name: str, *rows: tuple[int, str, str | None, str, str]) -> None:
    with closing(sqlite3.connect(folder / "data" / f"{name}.db")) as db, db:
        db.execute(
            "CREATE TABLE IF NOT EXISTS people (id INTEGER PRIMARY KEY, email TEXT, phone TEXT, city TEXT, changed TIMESTAMP)"
        )
        db.executemany("INSERT OR REPLACE INTO people VALUES (?,?,?,?,?)", rows)


def published() -> list[dict[str, Any]]:
    engine = open_engine()
    spec = load_project(engine.settings).entity("person")
    return sorted(engine.lake.scan(spec.table).read_all().to_pylist(), key=lambda r: str(r["email"]))


def run() -> None:
    done = sis("run", "crm", "store", "person", "person_conflicts", "datasets/phones", "--json")
    assert done.code == 0, done.err


def test_two_databases_that_disagree_become_one_table_a_queue_and_a_dataset(new_project: Path) -> None:
    declared = new_project / new_project.name / "defs" / "people"
    declared.mkdir()
    (declared / "defs.yaml").write_text(PEOPLE)
    at = "2026-01-0{} 10:00:00".format
    write(new_project, "crm", (1, "ann@x.org", "11", "Rome", at(1)), (2, "bob@x.org", "22", "Oslo", at(1)))
    write(new_project, "store", (7, "ann@x.org", "99", "Lima", at(2)), (8, "eve@x.org", None, "Bern", at(2)))
    assert sis("check", "--no-connections").code in (0, 2)
    run()
    ann, bob, eve = published()
    assert (ann["phone"], ann["city"], ann["undecided"]) == (None, "Lima", ["phone"])
    assert (bob["phone"], eve["city"]) == ("22", "Bern")

    (waiting,) = sis("conflicts", "list", "--json").document["conflicts"]
    assert (waiting["field"], waiting["type"], waiting["downstream"]) == (
        "phone",
        "insert/insert",
        ["phones"],
    )
    short = waiting["conflict_id"][:8]
    assert short in sis("conflicts", "list", "person").out
    shown = sis("conflicts", "show", short)
    assert "crm/people" in shown.out and "store/buyers" in shown.out
    assert sis("conflicts", "assign", short, "li@x.org").code == 0
    assert sis("conflicts", "list", "--json").document["conflicts"][0]["assigned_to"] == "li@x.org"
    assert sis("conflicts", "resolve", short).code == 2
    decided = sis(
        "conflicts", "resolve", short, "--take", "store/buyers", "--note", "asked", "--json"
    ).document
    run()
    assert published()[0]["phone"] == "99"
    assert sis("conflicts", "list", "--json").document["conflicts"] == []
    (known,) = sis("conflicts", "decisions", "person", "--json").document["decisions"]
    assert (known["id"], known["note"]) == (decided["decision"], "asked")

    assert sis("conflicts", "undo", str(decided["decision"])).code == 0
    assert sis("conflicts", "undo", str(decided["decision"])).code == 2
    split = published()[0]["records"][1]
    number = sis("conflicts", "split", "person", split, "--json").document["decision"]
    run()
    assert [r["email"] for r in published()] == ["ann@x.org", "ann@x.org", "bob@x.org", "eve@x.org"]
    assert published()[0]["undecided"] == []
    assert sis("conflicts", "undo", str(number)).code == 0
    assert sis("conflicts", "undo-load", "person", "nothing").code == 2
    assert sis("conflicts", "learn", "person", "--json").document["decides"] == {}
