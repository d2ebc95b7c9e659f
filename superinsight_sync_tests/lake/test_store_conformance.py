"""What every Store must do. Runs on each store of conftest.STORES."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from superinsight_sync.core.errors import ConfigError, DataError, StopRequested, TransientError
from superinsight_sync.lake import delta_merge
from superinsight_sync.lake.store import Store
from superinsight_sync.model.tables import LOAD_ID, Checkpoint, Commit
from superinsight_sync_tests.lake.rows import AT, breaking, commit, content, names, new_table, orders, reads

A, B, C = (1, "a", 1), (2, "b", 2), (3, "c", 2)


def test_append_adds_rows_and_grows_the_version_by_one(store: Store) -> None:
    table = new_table()
    assert (store.exists(table), store.version(table), store.count(table)) == (False, None, 0)
    first = store.append(table, reads(orders(A), "l1"), commit("l1"))
    second = store.append(table, reads(orders(B, C), "l2"), commit("l2"))
    assert (first.rows, second.rows, second.rows_inserted, second.repeated) == (1, 2, 2, False)
    assert second.version == first.version + 1 == store.version(table)
    assert names(store, table) == [(1, "a"), (2, "b"), (3, "c")]
    assert store.count(table) == 3
    assert store.count(table, partitions=["2026-03-02"]) == 2


def test_a_load_that_landed_is_not_landed_again(store: Store) -> None:
    table = new_table()
    first = store.append(table, reads(orders(A), "l1"), commit("l1", 1))
    store.append(table, reads(orders(B), "l2"), commit("l2", 2))
    for again in (
        store.append(table, reads(orders(A), "l1"), commit("l1", 9)),
        store.replace(table, reads(orders(C), "l1"), commit("l1", 9)),
        store.merge(table, reads(orders(C), "l1"), commit("l1", 9), keys=["id"]),
    ):
        assert again.repeated
        assert again.version == first.version
        assert again.rows == 1
    assert names(store, table) == [(1, "a"), (2, "b")]
    found = store.checkpoint(table)
    assert found is not None
    assert found.cursor == 2


def test_replace_replaces_exactly_the_named_partitions(store: Store) -> None:
    table = new_table()
    store.append(table, reads(orders(A, B, C), "l1"), commit("l1"))
    for load in ("l2", "l3"):
        store.replace(table, reads(orders((9, "z", 2)), load), commit(load), partitions=["2026-03-02"])
        assert names(store, table) == [(1, "a"), (9, "z")]
    several = reads(orders((5, "e", 1), (6, "f", 3)), "l4")
    store.replace(table, several, commit("l4"), partitions=["2026-03-01", "2026-03-02", "2026-03-03"])
    assert names(store, table) == [(5, "e"), (6, "f")]


def test_an_empty_read_empties_the_partitions_and_moves_the_checkpoint(store: Store) -> None:
    table = new_table()
    store.append(table, reads(orders(A, B), "l1"), commit("l1"))
    done = store.replace(
        table,
        reads(orders(), "l2"),
        Commit("l2", {"2026-03-02": Checkpoint("l2", AT)}),
        partitions=["2026-03-02"],
    )
    assert done.rows == 0
    assert names(store, table) == [(1, "a")]
    assert store.checkpoint(table, "2026-03-02") == Checkpoint("l2", AT)


def test_a_row_outside_the_partitions_writes_nothing(store: Store) -> None:
    table = new_table()
    store.append(table, reads(orders(A), "l1"), commit("l1", 1))
    version = store.version(table)
    nowhere = pa.table({"id": [7], "name": ["n"], "day": pa.nulls(1, pa.timestamp("us", "UTC"))})
    for outside in (orders(B, A), nowhere):
        with pytest.raises(DataError, match="belong to none of the partitions") as caught:
            store.replace(table, reads(outside, "l2"), commit("l2", 2), partitions=["2026-03-02"])
        assert str(table) in str(caught.value)
    assert store.version(table) == version
    assert names(store, table) == [(1, "a")]
    found = store.checkpoint(table)
    assert found is not None
    assert found.cursor == 1


def test_replace_of_the_whole_table_takes_the_reads_schema(store: Store) -> None:
    table = new_table()
    store.append(table, reads(orders(A, B), "l1"), commit("l1"))
    other = pa.table({"id": ["x"], "price": [Decimal("1.50")]})
    store.replace(table, reads(other, "l2", by=None), commit("l2"))
    assert content(store, table) == [("x", Decimal("1.50"))]
    assert [n for n in store.schema(table).names if n[:5] != "_sis_"] == ["id", "price"]
    store.replace(table, reads(other.slice(0, 0), "l3", by=None), commit("l3"))
    assert store.count(table) == 0
    store.replace(table, reads(orders(C), "l4"), commit("l4"))
    store.replace(table, reads(orders((4, "d", 2)), "l5"), commit("l5"), partitions=["2026-03-02"])
    assert names(store, table) == [(4, "d")]


def test_merge_updates_what_differs_and_inserts_the_rest(store: Store) -> None:
    table = new_table()
    store.append(table, reads(orders(A, B, (None, "none", 1)), "l1"), commit("l1"))
    incoming = orders((2, "old", 1), A, (None, "NONE", 1), (4, "d", 5), (2, "B", 4))
    done = store.merge(table, reads(incoming, "l2"), commit("l2", 2), keys=["id"])
    assert (done.rows_inserted, done.rows_updated) == (1, 2)
    assert names(store, table) == [(1, "a"), (2, "B"), (4, "d"), (None, "NONE")]
    loads = {r["id"]: r[LOAD_ID] for r in store.scan(table).read_all().to_pylist()}
    assert loads == {1: "l1", 2: "l2", 4: "l2", None: "l2"}
    assert store.count(table, partitions=["2026-03-04"]) == 1


def test_of_one_key_in_a_merge_the_newest_row_wins_wherever_it_stands(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = new_table()
    store.append(table, reads(orders(A), "l0"), commit("l0"))
    rows = [(1, "newest", 9), (1, "older", 8), (2, "tie", 5), (2, "last", 5), (3, "some", 4), (3, None, 3)]
    for load, newest in (("l1", "day"), ("l2", "day"), ("l3", "no such column")):
        if load == "l2":  # the way of more rows than fit into memory
            monkeypatch.setattr(delta_merge, "CHUNK_ROWS", 1)
        store.merge(table, reads(orders(*rows), load), commit(load), keys=["id"], newest_by=newest)
        wins = ["older", "last", None] if load == "l3" else ["newest", "last", "some"]
        assert names(store, table) == list(enumerate(wins, 1))
    by_text = orders((4, "b", 1), (4, "B", 2), (4, None, 3), (5, None, 1))
    store.merge(table, reads(by_text, "l4"), commit("l4"), keys=["id"], newest_by="name")
    assert names(store, table)[3:] == [(4, "b"), (5, None)], "a NULL is less than any value"


def test_merge_by_two_keys_tells_null_from_empty(store: Store) -> None:
    table = new_table()
    store.merge(table, reads(orders((1, None, 1), (1, "", 1)), "l1"), commit("l1"), keys=["id", "name"])
    store.merge(table, reads(orders((1, None, 2)), "l2"), commit("l2"), keys=["id", "name"])
    rows = store.scan(table).read_all().to_pylist()
    assert sorted((r["name"] is None, r["day"].day) for r in rows) == [(False, 1), (True, 2)]


def test_a_merge_that_changes_nothing_still_moves_the_checkpoint(store: Store) -> None:
    table = new_table()
    for number, rows in enumerate([orders(A, B), orders(B, A), orders()]):
        load = f"l{number}"
        store.merge(table, reads(rows, load), commit(load, number), keys=["id"])
        found = store.checkpoint(table)
        assert found is not None
        assert found.cursor == number
        assert store.merge(table, reads(rows, load), commit(load), keys=["id"]).repeated
    assert names(store, table) == [(1, "a"), (2, "b")]
    assert {r[LOAD_ID] for r in store.scan(table).read_all().to_pylist()} == {"l0"}


def test_a_merge_without_its_keys_is_refused(store: Store) -> None:
    with pytest.raises(ConfigError, match="order_no"):
        store.merge(new_table(), reads(orders(A), "l1"), commit("l1"), keys=["order_no"])


def test_new_columns_are_added_and_missing_ones_stay(store: Store) -> None:
    table = new_table()
    store.append(table, reads(orders(A), "l1"), commit("l1"))
    wider = orders(B).append_column("note", pa.array(["n"]))
    store.append(table, reads(wider, "l2"), commit("l2"))
    store.append(table, reads(orders(C).drop(["name"]), "l3"), commit("l3"))
    merged = orders((1, "A", 1)).append_column("more", pa.array([1.5]))
    store.merge(table, reads(merged, "l4"), commit("l4"), keys=["id"])
    rows = store.scan(table, columns=["id", "name", "note", "more"]).read_all().to_pylist()
    assert sorted(tuple(r.values()) for r in rows) == [
        (1, "A", None, 1.5),
        (2, "b", "n", None),
        (3, None, None, None),
    ]


def test_a_type_that_does_not_fit_is_refused_with_what_to_do(store: Store) -> None:
    table = new_table()
    store.append(table, reads(orders(A), "l1"), commit("l1"))
    for wrong in (pa.array(["two"]), pa.array([2.5]), pa.array([Decimal("2.5")])):
        rows = orders(B).set_column(0, "id", wrong)
        for write in (
            lambda rows=rows: store.append(table, reads(rows, "l2"), commit("l2")),
            lambda rows=rows: store.replace(
                table, reads(rows, "l2"), commit("l2"), partitions=["2026-03-02"]
            ),
            lambda rows=rows: store.merge(table, reads(rows, "l2"), commit("l2"), keys=["name"]),
        ):
            with pytest.raises(ConfigError, match=re.escape(f"'id' was int64 and is now {wrong.type}")):
                write()
    narrower = orders(B).set_column(0, "id", pa.array([2], pa.int16()))
    store.append(table, reads(narrower, "l3"), commit("l3"))
    assert names(store, table) == [(1, "a"), (2, "b")]


@pytest.mark.parametrize(
    "error", [StopRequested("stop"), TransientError("away"), DataError("bad"), KeyboardInterrupt()]
)
def test_a_read_that_breaks_off_leaves_the_old_state_and_raises_its_own_error(
    store: Store, error: BaseException
) -> None:
    table = new_table()
    store.append(table, reads(orders(A), "l1"), commit("l1", 1))
    many = orders(*((n, "x", 2) for n in range(10)))
    for write in (
        lambda read: store.append(table, read, commit("l2", 2)),
        lambda read: store.replace(table, read, commit("l2", 2), partitions=["2026-03-02"]),
        lambda read: store.replace(table, read, commit("l2", 2)),
        lambda read: store.merge(table, read, commit("l2", 2), keys=["id"]),
    ):
        with pytest.raises(type(error)):
            write(breaking(reads(many, "l2"), error))
    assert names(store, table) == [(1, "a")]
    found = store.checkpoint(table)
    assert found is not None
    assert found.cursor == 1


def test_checkpoints_keep_their_values_and_are_kept_apart(store: Store) -> None:
    table = new_table()
    assert store.checkpoint(table) is None
    assert store.checkpoints(table) == {}
    stream = Checkpoint("l1", AT, cursor=Decimal("1.50"), token="t", detail={"page": [1, "ä"]})
    day = Checkpoint("l1", AT, cursor=datetime(2026, 3, 1, 1, 2, 3, 4, tzinfo=UTC))
    store.append(table, reads(orders(A), "l1"), Commit("l1", {"": stream, "2026-03-01": day}))
    other = Checkpoint("l2", AT, cursor="text")
    store.append(table, reads(orders(), "l2"), Commit("l2", {"2026-03-02": other}))
    assert store.checkpoint(table) == stream
    assert store.checkpoints(table) == {"": stream, "2026-03-01": day, "2026-03-02": other}
    assert store.checkpoint(table, "2026-03-09") is None
    store.set_checkpoint(table, other)
    store.set_checkpoint(table, None, "2026-03-01")
    assert store.checkpoints(table) == {"": other, "2026-03-02": other}
    assert names(store, table) == [(1, "a")]


def test_scan_takes_version_columns_partitions_and_loads(versioned_store: Store) -> None:
    store = versioned_store
    table = new_table()
    first = store.append(table, reads(orders(A, B), "l1"), commit("l1"))
    store.append(table, reads(orders(C, (4, "d'", 3)), "it's"), commit("it's"))
    assert names(store, table, version=first.version) == [(1, "a"), (2, "b")]
    assert names(store, table, partitions=["2026-03-02", "2026-03-03"]) == [(2, "b"), (3, "c"), (4, "d'")]
    assert names(store, table, load_ids=["it's"]) == [(3, "c"), (4, "d'")]
    assert names(store, table, load_ids=["it's"], partitions=["2026-03-02"]) == [(3, "c")]
    assert names(store, table, load_ids=[]) == []
    assert store.scan(table, columns=["name"], partitions=["2026-03-01"]).read_all().to_pydict() == {
        "name": ["a"]
    }
    with pytest.raises(ConfigError, match="nonsense"):
        store.scan(table, columns=["nonsense"])
    with pytest.raises(ConfigError, match="version 99"):
        store.scan(table, version=99)
    with pytest.raises(ConfigError, match="no such table"):
        store.scan(new_table())


def test_the_dataset_serves_duckdb_and_polars(store: Store) -> None:
    table = new_table()
    store.append(table, reads(orders(A, B, C), "l1"), commit("l1"))
    dataset = store.dataset(table)
    with duckdb.connect() as engine:
        engine.register("t", dataset)
        assert engine.sql("SELECT sum(id) FROM t WHERE _sis_partition = '2026-03-02'").fetchall() == [(5,)]
    frame = pl.scan_pyarrow_dataset(dataset).filter(pl.col("id") > 1).select("name").collect()
    assert sorted(frame["name"].to_list()) == ["b", "c"]


def test_rollback_restores_rows_and_checkpoints_from_before_the_load(versioned_store: Store) -> None:
    store = versioned_store
    table = new_table()
    store.append(table, reads(orders(A), "l1"), commit("l1", 1, p1=10))
    store.replace(table, reads(orders((1, "broken", 1)), "l2"), commit("l2", 2, p1=20, p2=20))
    store.append(table, reads(orders(), "idle"), commit("idle", 3))
    with pytest.raises(ConfigError, match="l2"):
        store.rollback(table, "l1")
    with pytest.raises(ConfigError, match="nonsense"):
        store.rollback(table, "nonsense")
    version = store.rollback(table, "l2")
    assert version == store.version(table)
    assert names(store, table) == [(1, "a")]
    assert {k: c.cursor for k, c in store.checkpoints(table).items()} == {"": 1, "p1": 10}
    with pytest.raises(ConfigError, match="l2"):
        store.rollback(table, "l2")
    assert not store.append(table, reads(orders(B), "l2"), commit("l2", 2)).repeated
    store.rollback(table, "l2")
    store.rollback(table, "l1")
    assert store.count(table) == 0
    assert store.checkpoints(table) == {}


def test_loads_since_names_loads_only_while_reading_them_is_enough(versioned_store: Store) -> None:
    store = versioned_store
    table = new_table()
    one = store.append(table, reads(orders(A), "l1"), commit("l1"))
    store.merge(table, reads(orders(B), "l2"), commit("l2"), keys=["id"])
    store.set_checkpoint(table, Checkpoint("x", AT))
    store.append(table, reads(orders(C), "l3"), commit("l3"))
    store.maintain(table, retention=timedelta(days=7))
    assert store.loads_since(table, one.version) == ["l2", "l3"]
    newest = store.version(table)
    assert newest is not None
    assert store.loads_since(table, newest) == []
    store.replace(table, reads(orders(), "l4"), commit("l4"), partitions=["2026-03-02"])
    assert store.loads_since(table, newest) is None
    after = store.version(table)
    assert after is not None
    store.rollback(table, "l4")
    assert store.loads_since(table, after) is None


def test_history_tells_loads_newest_first(store: Store) -> None:
    table = new_table()
    assert store.history(table) == []
    store.append(table, reads(orders(A), "l1"), Commit("l1", metadata={"run_id": "r1", "note": "ä"}))
    store.merge(table, reads(orders(A, B), "l2"), commit("l2"), keys=["id"])
    newest, oldest = store.history(table)
    assert (newest.load_id, newest.operation, newest.rows) == ("l2", "merge", 1)
    assert (oldest.load_id, oldest.operation, oldest.rows) == ("l1", "append", 1)
    assert dict(oldest.metadata) == {"run_id": "r1", "note": "ä"}
    assert newest.at.tzinfo is not None
    assert [v.load_id for v in store.history(table, limit=1)] == ["l2"]


def test_expire_deletes_rows_extracted_before(store: Store) -> None:
    table = new_table()
    for day, row in ((1, A), (2, B)):
        load = f"l{day}"
        store.append(table, reads(orders(row), load, at=AT + timedelta(days=day)), commit(load, day))
    assert store.expire(table, older_than=AT + timedelta(days=2)) == 1
    assert names(store, table) == [(2, "b")]
    assert store.expire(table, older_than=AT) == 0
    assert store.expire(new_table(), older_than=AT) == 0
    found = store.checkpoint(table)
    assert found is not None
    assert found.cursor == 2


def test_maintenance_keeps_rows_and_checkpoints(store: Store) -> None:
    table = new_table()
    for number in range(5):
        load = f"l{number}"
        store.append(
            table, reads(orders((number, "x", 1)), load), commit(load, number, **{f"p{number}": number})
        )
    before, checkpoints = names(store, table), store.checkpoints(table)
    store.maintain(table, retention=timedelta(0))
    store.maintain(table, retention=timedelta(0))
    assert names(store, table) == before
    assert store.checkpoints(table) == checkpoints
    assert len(checkpoints) == 6
    assert store.append(table, reads(orders(A), "l0"), commit("l0")).repeated
    store.maintain(new_table(), retention=timedelta(0))


def test_tables_are_listed_and_dropped(store: Store) -> None:
    assert list(store.tables()) == []
    tables = [new_table(), new_table()]
    for table in tables:
        store.append(table, reads(orders(A), "l1"), commit("l1"))
    assert sorted(store.tables()) == sorted(tables)
    assert sorted(store.tables("acme")) == sorted(tables)
    assert list(store.tables("other")) == []
    store.drop(tables[0])
    store.drop(tables[0])
    assert list(store.tables()) == tables[1:]
    assert not store.exists(tables[0])
    store.append(tables[0], reads(orders(B), "l1"), commit("l1"))
    assert names(store, tables[0]) == [(2, "b")]
