"""What becomes of records of two streams: the whole verb, on a real lake and state."""

from typing import Any

from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.pipeline.resolve import resolve_entity
from superinsight_sync_tests.conflict.entities import conflicts, customer, entities, land, minute


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
