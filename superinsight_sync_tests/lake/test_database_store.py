"""The database store on a real PostgreSQL: exact values, one transaction, safe against kills."""

import gc
from collections.abc import Iterator
from datetime import time as time_of_day
from datetime import timedelta
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superinsight_sync.core.errors import AccessError, ConfigError, DataError, SisError, TransientError
from superinsight_sync.lake.database import DatabaseStore
from superinsight_sync.model.tables import LOAD_ID, Checkpoint, TableRef
from superinsight_sync_tests.lake.saved_rows import (
    AT,
    EVERYTHING,
    amounts,
    commit,
    content,
    landed,
    new_ref,
    orders,
    reads,
    tables,
)
from superinsight_sync_tests.servers.postgres import PostgresServer


@pytest.fixture(scope="module")
def dsn(postgres_server: PostgresServer) -> str:
    return postgres_server.create_database()


@pytest.fixture
def store(dsn: str) -> DatabaseStore:
    return DatabaseStore(dsn)


@pytest.fixture
def ref() -> TableRef:
    return new_ref()


def ask(dsn: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query).fetchall()  # type: ignore[call-overload,no-any-return]


@given(rows=tables(), batch_rows=st.integers(1, 5))
def test_database_returns_what_was_saved(rows: pa.Table, batch_rows: int, dsn: str) -> None:
    store, ref = DatabaseStore(dsn), TableRef("default", "crm", "any", "refined")
    saved = landed(rows, "one")
    store.drop(ref)
    done = store.replace(ref, reads(saved, batch_rows), commit("one"))
    found = store.scan(ref).read_all()
    assert found.schema.types == saved.schema.types and found.schema.names == saved.schema.names
    assert content(found, system=True) == content(saved, system=True)
    assert done.rows == rows.num_rows and done.version == 1


def test_every_type_survives_the_way_out_as_a_dataset_too(store: DatabaseStore, ref: TableRef) -> None:
    store.append(ref, reads(landed(EVERYTHING, "all")), commit("all"))
    assert content(store.scan(ref).read_all()) == content(EVERYTHING)
    dataset = store.dataset(ref)
    files = [Path(f) for f in dataset.files]
    assert content(dataset.to_table()) == content(EVERYTHING)
    del dataset
    gc.collect()
    assert not any(f.exists() for f in files)


def test_types_are_what_sql_users_expect(store: DatabaseStore, ref: TableRef, dsn: str) -> None:
    rows = pa.table(
        {
            "u64": pa.array([2**64 - 1], pa.uint64()),
            "u32": pa.array([2**32 - 1], pa.uint32()),
            "tiny": pa.array([-1], pa.int8()),
            "kind": pa.array(["a"]).dictionary_encode(),
            "doc": pa.array(['{"b": 1, "a": [1, 1]}'], pa.json_(pa.string())),
            "berlin": pa.array([AT], pa.timestamp("ms", "Europe/Berlin")),
            "id": pa.array([b"0123456789abcdef"], pa.uuid()),
            "took": pa.array([timedelta(1)], pa.duration("s")),
            "clock": pa.array([time_of_day(23, 59)], pa.time64("us")),
            "none": pa.array([None], pa.null()),
        }
    )
    store.replace(ref, reads(landed(rows, "l")), commit("l"))
    types = ask(
        dsn,
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attnum > 0"
        f" AND attname NOT LIKE '\\_sis%' AND attrelid = 'crm.{ref.stream}'::regclass ORDER BY attnum",
    )
    assert [t for _, t in types] == [
        "numeric(20,0)",
        "bigint",
        "smallint",
        "text",
        "text",
        "timestamp with time zone",
        "text",
        "bigint",
        "text",
        "text",
    ]
    (row,) = store.scan(ref).read_all().to_pylist()
    assert row["u64"] == 2**64 - 1 and row["doc"] == '{"b": 1, "a": [1, 1]}' and row["berlin"] == AT
    assert row["id"] == "30313233-3435-3637-3839-616263646566" and row["none"] is None
    assert ask(dsn, f"SELECT doc::json->>'b' FROM crm.{ref.stream}") == [("1",)]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([{"a": 1}]), "column x is struct<a: int64>"),
        (pa.array([[[1]]]), "column x is list<"),
        (pa.array([1], pa.decimal256(50, 2)), r"column 'x' has the type decimal256\(50, 2\)"),
        (pa.array([1], pa.timestamp("ns")), r"does not survive from timestamp\[ns\]"),
    ],
)
def test_what_would_lose_something_is_refused_and_nothing_is_written(
    store: DatabaseStore, ref: TableRef, column: pa.Array, message: str
) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        store.append(ref, reads(pa.table({"x": column})), commit("l"))
    assert not store.exists(ref)


def test_a_value_postgres_cannot_keep_is_a_data_error_that_does_not_quote_it(
    store: DatabaseStore, ref: TableRef
) -> None:
    with pytest.raises(DataError) as caught:
        store.append(ref, reads(landed(pa.table({"x": ["Frieda\0"]}), "l")), commit("l"))
    assert "NUL" in str(caught.value) and "Frieda" not in str(caught.value)
    assert not store.exists(ref)


def test_the_same_load_twice_lands_once(store: DatabaseStore, ref: TableRef) -> None:
    first = store.append(ref, reads(orders([1], ["1.00"], "l")), commit("l"))
    opened = []

    def read() -> pa.RecordBatchReader:
        opened.append(1)
        return orders([1], ["1.00"], "l").to_reader()

    again = store.append(ref, read, commit("l"))
    assert again.repeated and (again.version, again.rows) == (first.version, 1) and not opened
    assert store.count(ref) == 1 and store.version(ref) == 1


def test_merge_matches_null_keys_and_takes_the_last_row_of_a_key(store: DatabaseStore, ref: TableRef) -> None:
    first = orders([None, 1, 2], ["0.00", "1.00", "2.00"], "a")
    store.merge(ref, reads(first), commit("a"), keys=["id"])
    second = orders([None, 2, 3, 3, 1], ["9.00", "2.00", "3.00", "4.00", "5.00"], "b")
    done = store.merge(ref, reads(second, 2), commit("b"), keys=["id"])
    found = store.scan(ref).read_all()
    assert amounts(found) == [(None, "9.00"), (1, "5.00"), (2, "2.00"), (3, "4.00")]
    assert (done.rows_inserted, done.rows_updated) == (1, 2)
    assert dict(zip(found["id"].to_pylist(), found[LOAD_ID].to_pylist(), strict=True))[2] == "a"
    with pytest.raises(ConfigError, match="number"):
        store.merge(ref, reads(first), commit("c"), keys=["number"])


_PAIRS = st.tuples(st.none() | st.integers(0, 5), st.integers(0, 2))


@given(old=st.lists(_PAIRS, max_size=8), new=st.lists(_PAIRS, max_size=8))
def test_database_merge_equals_a_dictionary_update(
    old: list[tuple[int | None, int]], new: list[tuple[int | None, int]], dsn: str
) -> None:
    store, ref = DatabaseStore(dsn), TableRef("default", "crm", "merged", "refined")
    store.drop(ref)
    for load_id, pairs in (("a", old), ("b", new)):
        rows = orders([k for k, _ in pairs], [f"{v}.00" for _, v in pairs], load_id)
        store.merge(ref, reads(rows, 3), commit(load_id), keys=["id"])
    expected = {**dict(old), **dict(new)}
    found = amounts(store.scan(ref).read_all())
    assert dict(found) == {k: f"{v}.00" for k, v in expected.items()} and len(found) == len(expected)


def test_a_merge_by_several_keys_of_many_types(store: DatabaseStore, ref: TableRef) -> None:
    keys = [n for n in EVERYTHING.column_names if n != "text"]
    for load_id, text in (("a", "old"), ("b", "new 😀")):
        rows = EVERYTHING.set_column(1, "text", pa.array([text, text]))
        done = store.merge(ref, reads(landed(rows, load_id)), commit(load_id), keys=keys)
    assert (done.rows_inserted, done.rows_updated) == (0, 2)
    assert store.scan(ref).read_all()["text"].to_pylist() == ["new 😀", "new 😀"]


def test_partitions_are_replaced_alone_and_strangers_are_refused(store: DatabaseStore, ref: TableRef) -> None:
    for day in ("d1", "d2"):
        rows = orders([1], ["1.00"], day, partition=day)
        store.replace(ref, reads(rows), commit(day), partitions=[day])
    done = store.replace(
        ref, reads(orders([7], ["7.00"], "x", partition="d2")), commit("x"), partitions=["d2"]
    )
    assert (done.rows, done.rows_deleted) == (1, 1)
    assert amounts(store.scan(ref, partitions=["d1"]).read_all()) == [(1, "1.00")]
    with pytest.raises(DataError, match="1 rows belong to none"):
        store.replace(ref, reads(orders([1], ["1.00"], "y", partition="d1")), commit("y"), partitions=["d2"])
    assert store.count(ref) == 2
    store.replace(ref, reads(orders([], [], "z")), commit("z"), partitions=["d2"])
    assert store.count(ref, partitions=["d2"]) == 0 and store.count(ref) == 1


def test_columns_are_added_and_widened_and_other_types_refused(store: DatabaseStore, ref: TableRef) -> None:
    small = pa.table({"id": pa.array([1], pa.int16()), "price": pa.array([1], pa.decimal128(4, 2))})
    store.append(ref, reads(landed(small, "a")), commit("a"))
    wide = pa.table({"id": pa.array([2**40]), "price": pa.array([1], pa.decimal128(9, 4)), "note": ["😀"]})
    store.append(ref, reads(landed(wide, "b")), commit("b"))
    store.append(ref, reads(landed(small.select(["id"]), "c")), commit("c"))
    assert store.scan(ref, columns=["note", "id"], load_ids=["a", "b"]).read_all().to_pylist() == [
        {"note": None, "id": 1},
        {"note": "😀", "id": 2**40},
    ]
    assert store.schema(ref).field("price").type == pa.decimal128(9, 4)
    with pytest.raises(ConfigError, match="column 'id' was int64 and is now string"):
        store.append(ref, reads(landed(pa.table({"id": ["x"]}), "d")), commit("d"))
    store.replace(ref, reads(landed(pa.table({"id": ["x"], "other": [1]}), "e")), commit("e"))
    assert [n for n in store.schema(ref).names if not n.startswith("_sis_")] == ["id", "other"] or (
        set(store.schema(ref).names) >= {"id", "other"} and "price" not in store.schema(ref).names
    )
    assert store.scan(ref, columns=["id", "other"]).read_all().to_pylist() == [{"id": "x", "other": 1}]


def test_an_empty_read_commits_the_checkpoint(store: DatabaseStore, ref: TableRef) -> None:
    store.append(ref, reads(orders([], [], "a")), commit("a", cursor=AT))
    point = store.checkpoint(ref)
    assert point is not None and point.cursor == AT and point.at == AT
    assert store.count(ref) == 0 and store.scan(ref).read_all().num_rows == 0
    assert store.schema(ref).field("amount").type == pa.decimal128(12, 2)
    store.set_checkpoint(ref, Checkpoint("hand", AT, cursor=3, detail={"k": [1]}), "p")
    assert set(store.checkpoints(ref)) == {"", "p"} and store.checkpoints(ref)["p"].detail == {"k": [1]}
    store.set_checkpoint(ref, None, "p")
    assert set(store.checkpoints(ref)) == {""}
    assert store.loads_since(ref, 0) == ["a"] and store.loads_since(ref, 9) is None


def test_rollback_deletes_a_load_that_added_rows_and_refuses_others(
    store: DatabaseStore, ref: TableRef
) -> None:
    store.append(ref, reads(orders([1], ["1.00"], "a")), commit("a", cursor=1))
    store.append(ref, reads(orders([2], ["2.00"], "b")), commit("b", cursor=2))
    store.append(ref, reads(orders([], [], "c")), commit("c", cursor=3))
    with pytest.raises(ConfigError, match="later: b"):
        store.rollback(ref, "a")
    assert store.rollback(ref, "b") == 4
    point = store.checkpoint(ref)
    assert amounts(store.scan(ref).read_all()) == [(1, "1.00")] and point is not None and point.cursor == 1
    assert store.loads_since(ref, 1) is None
    with pytest.raises(ConfigError, match="'b' is not part"):
        store.rollback(ref, "b")
    assert not store.append(ref, reads(orders([2], ["2.00"], "b")), commit("b")).repeated
    store.replace(ref, reads(orders([3], ["3.00"], "d")), commit("d"))
    with pytest.raises(ConfigError, match="no earlier version"):
        store.rollback(ref, "d")
    assert amounts(store.scan(ref).read_all()) == [(3, "3.00")]
    assert [v.operation for v in store.history(ref, 3)] == ["replace", "append", "rollback"]


def test_expired_rows_go_and_maintenance_keeps_the_rest(store: DatabaseStore, ref: TableRef) -> None:
    store.append(ref, reads(orders([1], ["1.00"], "a")), commit("a"))
    store.append(ref, reads(orders([2], ["2.00"], "b", at=AT + timedelta(days=2))), commit("b"))
    assert store.expire(ref, older_than=AT + timedelta(days=1)) == 1
    assert store.maintain(ref, retention=timedelta(0)) == {"tables_vacuumed": 1}
    assert amounts(store.scan(ref).read_all()) == [(2, "2.00")]
    assert store.append(ref, reads(orders([1], ["1.00"], "a")), commit("a")).repeated
    assert ref in list(store.tables())
    store.drop(ref)
    store.drop(ref)
    assert not store.exists(ref) and store.count(ref) == 0 and store.checkpoint(ref) is None
    assert ref not in list(store.tables("default")) and not list(store.tables("nobody"))


def test_tables_are_placed_by_name_and_never_taken_from_others(dsn: str, ref: TableRef) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE theirs (x int)")
    for name, message in (
        ("public.theirs", "is not ours"),
        ("theirs", "is not ours"),
        ("x" * 64, "63 bytes"),
        ("a%s", "63 bytes"),
    ):
        store = DatabaseStore(dsn, tables={("crm", ref.stream): name})
        with pytest.raises(ConfigError, match=message):
            store.append(ref, reads(orders([1], ["1.00"], "a")), commit("a"))
    store = DatabaseStore(dsn, tables={("crm", ref.stream): 'odd."Name; DROP TABLE theirs; -- {0}'})
    store.merge(ref, reads(orders([1], ["1.00"], "a", partition="p")), commit("a"), keys=["id"])
    store.replace(ref, reads(orders([2], ["1.00"], "b", partition="p")), commit("b"), partitions=["p"])
    assert store.scan(ref, partitions=["p"]).read_all()["id"].to_pylist() == [2]
    with pytest.raises(ConfigError, match="belongs to"):
        store.append(ref.at("raw"), reads(orders([1], ["1.00"], "c")), commit("c"))
    assert ask(dsn, "SELECT count(*) FROM theirs") == [(0,)]
    assert DatabaseStore(dsn).place(ref.at("raw")) == ("crm", f"{ref.stream}_raw")
    assert DatabaseStore(dsn).place(TableRef("acme", "crm", "t", "refined")) == ("acme__crm", "t")


def test_readers_see_the_old_rows_until_the_commit_and_do_not_wait(
    store: DatabaseStore, ref: TableRef
) -> None:
    rows = orders(list(range(200_000)), ["1.00"] * 200_000, "a")
    store.replace(ref, reads(rows, 50_000), commit("a"))
    reader = store.scan(ref)
    first = reader.read_next_batch()
    store.replace(ref, reads(orders([7], ["7.00"], "b")), commit("b"))
    rest = reader.read_all()
    assert first.num_rows + rest.num_rows == 200_000 and store.count(ref) == 1
    abandoned = store.scan(ref)
    del abandoned
    abandoned = store.scan(ref)
    abandoned.close()
    gc.collect()


def test_errors_say_what_to_do_and_hold_no_secret(postgres_server: PostgresServer, ref: TableRef) -> None:
    bad = postgres_server.dsn().replace("postgres@", "nobody_here:s3cr3t-pw@")
    cases: list[tuple[str, type[SisError], str]] = [
        (bad, AccessError, "user"),
        (postgres_server.dsn("nowhere").replace("postgres@", "postgres:s3cr3t-pw@"), ConfigError, "nowhere"),
        ("postgresql://u:s3cr3t-pw@127.0.0.1:1/x", TransientError, "cannot be reached"),
        ("postgresql://u:s3cr3t-pw@[::1/x", ConfigError, "cannot be parsed"),
    ]
    for dsn, kind, message in cases:
        with pytest.raises(kind, match=message) as caught:
            DatabaseStore(dsn).count(ref)
        assert "s3cr3t" not in str(caught.value) and "s3cr3t" not in repr(caught.value.__cause__)
    with pytest.raises(ConfigError, match="PostgreSQL 15 or newer") as caught_config:
        DatabaseStore("mysql://u:s3cr3t-pw@h/x")
    assert "s3cr3t" not in str(caught_config.value)
    with pytest.raises(ConfigError, match="Run the stream first"):
        DatabaseStore(postgres_server.dsn()).scan(ref)
    DatabaseStore(postgres_server.dsn().replace("postgresql:", "postgresql+psycopg2:")).tables()


def test_a_lost_connection_is_transient(ref: TableRef, dsn: str) -> None:
    store = DatabaseStore(dsn)

    def read() -> pa.RecordBatchReader:
        rows = orders([1], ["1.00"], "a")

        def batches() -> Iterator[pa.RecordBatch]:
            ask(
                dsn,
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name = 'superinsight_sync'",
            )
            yield from rows.to_batches()

        return pa.RecordBatchReader.from_batches(rows.schema, batches())

    with pytest.raises(TransientError):
        store.append(ref, read, commit("a"))
    assert not store.exists(ref)
