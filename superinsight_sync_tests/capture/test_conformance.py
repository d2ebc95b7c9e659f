"""What every change feed must do. It finds each feed by itself, and asks for its customer in `customers`."""

from importlib import import_module

import pytest

from superinsight_sync.capture.protocol import FEEDS, open_feed
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync_tests.capture.bank import captured, capturing, caught_up, landed, log_of, seen
from superinsight_sync_tests.capture.customers import Customer
from superinsight_sync_tests.waiting import until


@pytest.fixture(params=FEEDS.names())
def customer(request: pytest.FixtureRequest) -> Customer:
    found: Customer = import_module(f"superinsight_sync_tests.capture.customers.{request.param}").customer(
        request
    )
    return found


def test_a_good_server_lacks_nothing(settings: Settings, customer: Customer) -> None:
    customer.run("CREATE TABLE a (id int PRIMARY KEY)")
    found = open_feed(captured(customer.dsn, {"table": "a"}), settings).check()
    assert found and not [f for f in found if f.level == "missing"]


def test_changes_land_in_order_and_restarts_double_none(engine: Engine, customer: Customer) -> None:
    customer.run("CREATE TABLE a (id int PRIMARY KEY, v int)", "INSERT INTO a VALUES (1, 1), (2, 2), (3, 3)")
    source = captured(customer.dsn, {"table": "a"})
    with capturing(engine, source) as running:
        caught_up(engine, source, customer.dsn, running)
        customer.run("INSERT INTO a VALUES (4, 4)", "UPDATE a SET v = 22 WHERE id = 2")
        caught_up(engine, source, customer.dsn, running)
    customer.run("UPDATE a SET id = 30 WHERE id = 3", "DELETE FROM a WHERE id = 1")
    for _ in range(2):
        with capturing(engine, source) as running:
            caught_up(engine, source, customer.dsn, running)
    rows = [{"id": 2, "v": 22}, {"id": 4, "v": 4}, {"id": 30, "v": 3}]
    assert landed(engine, source, "a").to_pylist() == rows
    log = log_of(engine, source, "a")
    assert [(r["_sis_op"], r["id"]) for r in log[-5:]] == [
        ("insert", 4),
        ("update", 2),
        ("delete", 3),
        ("update", 30),
        ("delete", 1),
    ]
    assert [r["_sis_op"] for r in log].count("snapshot") == 3
    positions = [r["_sis_position"] for r in log[-5:]]
    assert positions == sorted(positions)


@pytest.mark.parametrize(("deletes", "left"), [("hard", [7]), ("soft", [1, 2, 7]), ("ignore", [1, 2, 7])])
def test_an_emptied_table_is_empty_and_what_came_later_is_there(
    engine: Engine, customer: Customer, deletes: str, left: list[int]
) -> None:
    customer.run("CREATE TABLE a (id int PRIMARY KEY)", "INSERT INTO a VALUES (1), (2)")
    source = captured(customer.dsn, {"table": "a", "sync": {"deletes": deletes}})
    with capturing(engine, source, merge_s=3600) as running:
        caught_up(engine, source, customer.dsn, running)
        landed(engine, source, "a")
        customer.run("UPDATE a SET id = id WHERE id = 1", "TRUNCATE TABLE a", "INSERT INTO a VALUES (7)")
        caught_up(engine, source, customer.dsn, running)
        until(lambda: _ids(engine, source) == left or not running.alive, "it is not emptied")


def _ids(engine: Engine, source: SourceSpec) -> list[int]:
    ids: list[int] = seen(engine, source, source.streams[0]).column("id").to_pylist()
    return ids


def test_a_new_default_and_a_stream_added_later(engine: Engine, customer: Customer) -> None:
    customer.run("CREATE TABLE a (id int PRIMARY KEY)", "INSERT INTO a VALUES (1)")
    customer.run("CREATE TABLE b (id int PRIMARY KEY)", "INSERT INTO b VALUES (1), (2)")
    first = captured(customer.dsn, {"table": "a"})
    with capturing(engine, first) as running:
        caught_up(engine, first, customer.dsn, running)
    customer.run("INSERT INTO b VALUES (3)", "ALTER TABLE a ADD COLUMN c int DEFAULT 5")
    both = captured(customer.dsn, {"table": "a"}, {"table": "b"})
    with capturing(engine, both) as running:
        caught_up(engine, both, customer.dsn, running)
        customer.run("INSERT INTO b VALUES (4)")
        caught_up(engine, both, customer.dsn, running)
        until(
            lambda: (
                not running.alive or seen(engine, both, both.streams[0]).to_pylist() == [{"id": 1, "c": 5}]
            ),
            "the old record does not get the new value",
        )
    assert landed(engine, both, "b").column("id").to_pylist() == [1, 2, 3, 4]
