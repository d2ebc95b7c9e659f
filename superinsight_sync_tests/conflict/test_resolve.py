"""What becomes of records of two streams: the whole verb, on a real lake and state."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.lake.system_columns import add_system_columns
from superinsight_sync.model.entity import OWN_COLUMNS, EntitySpec
from superinsight_sync.model.tables import Checkpoint, Commit, TableRef
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.pipeline.project import Project
from superinsight_sync.pipeline.resolve import resolve_entity
from superinsight_sync.pipeline.review import Conflict, decide, list_conflicts, undo, undo_load
from superinsight_sync_tests.conflict.entities import SCHEMA, conflicts, customer, entities, land, minute


def row(id_: str, at: float, **values: Any) -> dict[str, Any]:
    return {"id": id_, "email": "ann@example.com", "name": "Ann", "at": minute(at), "gone": False, **values}


def test_records_that_agree_are_one_entity_without_a_conflict(engine: Engine) -> None:
    land(engine, "crm", [row("c1", 1, phone="1"), row("c2", 1, email="bob@example.com", name="Bob")], "l1")
    land(engine, "shop", [row("s1", 2, phone="1")], "l2")
    result = resolve_entity(engine, customer())
    ann, bob = entities(engine, customer())
    assert (ann["name"], ann["phone"], ann["records"]) == (
        "Ann",
        "1",
        ['crm/customers ["c1"]', 'shop/customers ["s1"]'],
    )
    assert (bob["name"], bob["phone"], bob["aliases"]) == ("Bob", None, [])
    assert (result.rows, result.conflict_rows, result.new_versions) == (2, 0, 3)
    assert resolve_entity(engine, customer()).unchanged


def test_a_change_that_the_others_have_not_followed_is_no_conflict(engine: Engine) -> None:
    land(engine, "crm", [row("c1", 1, phone="1")], "l1")
    land(engine, "shop", [row("s1", 2, phone="1")], "l2")
    resolve_entity(engine, customer(strategy=[{"strategy": "manual"}]))
    land(engine, "crm", [row("c1", 3, phone="2")], "l3")
    resolve_entity(engine, customer(strategy=[{"strategy": "manual"}]))
    (ann,) = entities(engine, customer())
    assert (ann["phone"], ann["undecided"]) == ("2", [])
    assert ann["decided_by"] == [{"field": "phone", "how": "update: crm/customers"}]
    assert conflicts(engine, customer()) == []


def test_two_changes_since_the_last_agreed_state_are_a_conflict(engine: Engine) -> None:
    manual = customer(strategy=[{"strategy": "manual"}])
    land(engine, "crm", [row("c1", 1, phone="1")], "l1")
    land(engine, "shop", [row("s1", 2, phone="1")], "l2")
    resolve_entity(engine, manual)
    land(engine, "crm", [row("c1", 3, phone="2")], "l3")
    land(engine, "shop", [row("s1", 4, phone="3")], "l4")
    result = resolve_entity(engine, manual)
    (ann,) = entities(engine, manual)
    assert (ann["phone"], ann["undecided"]) == ("1", ["phone"])
    (found,) = conflicts(engine, manual)
    assert (found["type"], found["state"], found["agreed"]) == ("update/update", "waiting", "1")
    assert sorted((c["value"], c["streams"]) for c in found["claims"]) == [
        ("2", "crm/customers"),
        ("3", "shop/customers"),
    ]
    assert result.waiting == 1
    resolve_entity(engine, customer())
    (ann,) = entities(engine, customer())
    assert (ann["phone"], ann["undecided"]) == ("3", [])
    assert engine.state.reviews.count("default", "customer") == 0


def waiting(engine: Engine, spec: EntitySpec) -> Conflict:
    """The one conflict that waits."""
    (found,) = list_conflicts(
        engine, Project(Path(), entities={spec.name: spec}), spec, state="waiting", limit=9
    )
    return found


def test_a_delete_and_an_update_are_a_conflict_and_a_delete_alone_is_none(engine: Engine) -> None:
    spec = customer(strategy=[{"strategy": "manual"}])
    bob = {"email": "bob@example.com", "name": "Bob", "phone": "2"}
    land(engine, "crm", [row("c1", 1, phone="1"), row("c2", 1, **bob)], "l1")
    land(engine, "shop", [row("s1", 1, phone="1"), row("s2", 1, **bob)], "l2")
    resolve_entity(engine, spec)
    land(engine, "crm", [row("c1", 5, phone="1", gone=True), row("c2", 5, **bob, gone=True)], "l3")
    land(engine, "shop", [row("s1", 4, phone="7")], "l4")
    resolve_entity(engine, spec)
    ann, bob_now = entities(engine, spec)
    assert (ann["deleted_at"], ann["undecided"], ann["phone"]) == (None, ["deleted_at"], "7")
    assert bob_now["deleted_at"] == minute(5)
    assert [(c["field"], c["type"]) for c in conflicts(engine, spec)] == [("deleted_at", "update/delete")]
    conflict = waiting(engine, spec)
    decide(engine, spec, conflict, "li", take="crm/customers")
    resolve_entity(engine, spec)
    assert entities(engine, spec)[0]["deleted_at"] == minute(5)


def test_a_record_that_a_whole_read_lacks_is_gone_and_comes_back(engine: Engine) -> None:
    spec = customer()
    table = spec.input(spec.streams[0])

    def whole(ids: list[str], load: str) -> None:
        rows = pa.Table.from_pylist([row(i, 1, email=f"{i}@x.org") for i in ids], schema=SCHEMA)
        at = minute(10 + int(load[1:]))
        engine.lake.replace(
            table,
            lambda: add_system_columns(rows.to_reader(), load_id=load, extracted_at=at),
            Commit(load, {"": Checkpoint(load, at)}),
        )

    land(engine, "shop", [], "s0")
    for number, ids in enumerate((["1", "2"], ["1"], ["1", "2"])):
        whole(ids, f"l{number}")
        resolve_entity(engine, spec)
        gone = [e["email"] for e in entities(engine, spec) if e["deleted_at"] is not None]
        assert gone == ([] if number != 1 else ["2@x.org"])


def test_a_decision_holds_for_the_same_conflict_later_and_one_new_value_follows_it(engine: Engine) -> None:
    spec = customer(strategy=[{"strategy": "manual"}])
    land(engine, "crm", [row("c1", 1, phone="1")], "l1")
    land(engine, "shop", [row("s1", 2, phone="2")], "l2")
    resolve_entity(engine, spec)
    number = decide(engine, spec, waiting(engine, spec), "li", take="crm/customers")
    resolve_entity(engine, spec)
    (ann,) = entities(engine, spec)
    assert (ann["phone"], ann["decided_by"]) == ("1", [{"field": "phone", "how": f"decision {number}"}])
    assert engine.state.reviews.count("default", "customer") == 0
    land(engine, "shop", [row("s1", 3, phone="3")], "l3")
    resolve_entity(engine, spec)
    assert entities(engine, spec)[0]["phone"] == "3"
    land(engine, "shop", [row("s1", 4, phone="2")], "l4")
    resolve_entity(engine, spec)
    assert entities(engine, spec)[0]["phone"] == "1"
    assert {c["state"] for c in conflicts(engine, spec)} == {"decided", "ended"}


def test_a_load_that_is_taken_back_leaves_what_was_before_and_what_came_after(engine: Engine) -> None:
    spec = customer()
    land(engine, "crm", [row("c1", 1, phone="1")], "l1")
    land(engine, "shop", [row("s1", 1, phone="1")], "l2")
    resolve_entity(engine, spec)
    before = entities(engine, spec)
    land(engine, "crm", [row("c1", 5, phone="bad", name="bad")], "l3")
    resolve_entity(engine, spec)
    number = undo_load(engine, spec, "l3", "li")
    resolve_entity(engine, spec)
    assert entities(engine, spec) == before
    land(engine, "shop", [row("s1", 6, phone="6")], "l4")
    resolve_entity(engine, spec)
    assert entities(engine, spec)[0]["phone"] == "6"
    undo(engine, number, "li")
    resolve_entity(engine, spec)
    (ann,) = entities(engine, spec)
    assert (ann["phone"], ann["name"]) == ("6", "bad")


def test_a_load_applied_twice_changes_nothing(engine: Engine) -> None:
    spec = customer()
    rows = [row("c1", 1, phone="1"), row("c2", 2, email=None)]
    land(engine, "crm", rows, "l1")
    land(engine, "shop", [row("s1", 1, phone="2")], "l2")
    resolve_entity(engine, spec)
    before = entities(engine, spec)
    engine.lake.drop(spec.input(spec.streams[0]))
    land(engine, "crm", rows, "again")
    result = resolve_entity(engine, spec)
    assert (result.unchanged, result.new_versions) == (True, 0)
    assert entities(engine, spec) == before


def test_a_value_that_does_not_fit_the_type_is_a_conflict_and_never_published(engine: Engine) -> None:
    spec = customer(fields={"phone": {"type": "int64"}})
    land(engine, "crm", [row("c1", 1, phone="12")], "l1")
    land(engine, "shop", [row("s1", 2, phone="n/a")], "l2")
    resolve_entity(engine, spec)
    (ann,) = entities(engine, spec)
    assert (ann["phone"], ann["undecided"]) == (None, ["phone"])
    (found,) = conflicts(engine, spec)
    assert (found["type"], found["state"]) == ("type", "waiting")
    assert sorted(c["value"] for c in found["claims"]) == ["12", "n/a"]
    with pytest.raises(ConfigError, match="shop/wrong"):
        decide(engine, spec, waiting(engine, spec), "li", take="shop/wrong")
    decide(engine, spec, waiting(engine, spec), "li", value="13")
    resolve_entity(engine, spec)
    assert entities(engine, spec)[0]["phone"] == 13


@pytest.mark.parametrize(
    ("strategies", "expected"),
    [
        ([{"strategy": "newest"}], "22"),
        ([{"strategy": "newest", "clocks": {"shop/customers": "1h"}}], "1"),
        ([{"strategy": "newest", "tolerance": "5m"}], None),
        ([{"strategy": "newest", "tolerance": "5m"}, {"strategy": "source_order"}], "1"),
        ([{"strategy": "source_order", "order": ["shop/customers"]}], "22"),
        ([{"strategy": "highest_version"}], "1"),
        ([{"strategy": "rule", "prefer": "starts_with(value, '2')"}], "22"),
        (
            [{"strategy": "rule", "prefer": "name = 'Ann'"}, {"strategy": "manual"}, {"strategy": "newest"}],
            None,
        ),
        ([{"strategy": "merge_fields", "take": "longest"}], "22"),
        ([{"strategy": "merge_fields", "take": "greatest"}], "22"),
        ([{"strategy": "merge_fields", "take": "most_frequent"}], None),
        ([{"strategy": "keep_both"}], ["1", "22"]),
    ],
    ids=lambda case: (
        "-".join(s["strategy"] for s in case) if isinstance(case, list) and isinstance(case[0], dict) else ""
    ),
)
def test_each_strategy_decides_what_it_can(
    engine: Engine, strategies: list[dict[str, Any]], expected: Any
) -> None:
    streams = [s.model_copy(update={"version": "v"}) for s in customer().streams]
    spec = customer(streams=[s.model_dump() for s in streams], fields={"phone": {"strategy": strategies}})
    land(engine, "crm", [row("c1", 1, phone="1", v=7)], "l1")
    land(engine, "shop", [row("s1", 2, phone="22", v=3)], "l2")
    resolve_entity(engine, spec)
    (ann,) = entities(engine, spec)
    assert ann["phone"] == expected
    assert ann["undecided"] == (["phone"] if expected is None else [])


def test_a_killed_resolve_is_finished_by_the_next_one(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = customer(strategy=[{"strategy": "manual"}])
    land(engine, "crm", [row("c1", 1, phone="1")], "l1")
    land(engine, "shop", [row("s1", 2, phone="1")], "l2")
    resolve_entity(engine, spec)
    before = entities(engine, spec)
    land(engine, "crm", [row("c1", 3, phone="2")], "l3")
    land(engine, "shop", [row("s1", 3, phone="3")], "l4")
    real = engine.lake.replace
    for dies_at in (spec.conflicts, spec.table):

        def replace(table: TableRef, *args: Any, dies_at: TableRef = dies_at, **more: Any) -> Any:
            if table == dies_at:
                raise KeyboardInterrupt
            return real(table, *args, **more)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(engine.lake, "replace", replace)
            resolve_entity(engine, spec)
        assert entities(engine, spec) == before
    assert not resolve_entity(engine, spec).unchanged
    assert entities(engine, spec)[0]["undecided"] == ["phone"]
    assert [c["state"] for c in conflicts(engine, spec)] == ["waiting"]


def test_without_columns_neither_keys_nor_times_are_fields(engine: Engine) -> None:
    streams = [
        {"stream": f"{s}/customers", "key": ["id"], "time": "at", "version": "v", "deleted": "gone"}
        for s in ("crm", "shop")
    ]
    spec = customer(streams=streams)
    land(engine, "crm", [row("c1", 1, phone="1")], "l1")
    land(engine, "shop", [row("s1", 2, phone="1")], "l2")
    resolve_entity(engine, spec)
    (ann,) = entities(engine, spec)
    assert {"email", "name", "phone"} == set(ann) - set(OWN_COLUMNS)
    assert conflicts(engine, spec) == []
