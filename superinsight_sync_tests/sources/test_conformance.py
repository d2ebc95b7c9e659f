"""What every kind of source does, on a real system of each."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superinsight_sync.core.errors import AccessError, ConfigError, TransientError
from superinsight_sync.core.retry import RetryPolicy
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.model.window import Window
from superinsight_sync.records.batches import schema_of
from superinsight_sync.sources.http import client as http_client
from superinsight_sync.sources.opening import open_source
from superinsight_sync.sources.protocol import SOURCE_KINDS, Source
from superinsight_sync_tests.sources.customers import FIRST, ROWS, Customer, rows
from superinsight_sync_tests.sources.reading import INCREMENTAL, read, stream
from superinsight_sync_tests.waiting import until

pytestmark = pytest.mark.timeout(900)  # a hundred examples over a slow protocol, on a busy machine
COLUMNS = ["id", "note", "amount", "updated_at"]


@pytest.fixture(scope="module")
def source(customer: Customer, project: Settings) -> Source:
    return open_source(customer.connection, project)


def ids(table: pa.Table) -> list[int]:
    return sorted(int(n) for n in table.column("id").to_pylist())


def expected(keep: Callable[[datetime], bool]) -> list[int]:
    return [n for n, _, _, at in rows() if keep(at)]


def test_every_row_arrives_as_it_is(customer: Customer, source: Source) -> None:
    table = read(source, ReadRequest(stream(**customer.place))).sort_by("id")
    assert ids(table) == list(range(ROWS))
    notes = [note if note or customer.empty_text else None for _, note, _, _ in rows()]
    assert table.column("note").to_pylist() == notes
    assert [Decimal(a) for a in table.column("amount").to_pylist()] == [a for _, _, a, _ in rows()]
    assert pa.types.is_decimal(table.schema.field("amount").type) == customer.exact_amount
    times = table.column("updated_at").to_pylist()
    instants = [datetime.fromisoformat(t) if isinstance(t, str) else t for t in times]
    assert [t if t.tzinfo else t.replace(tzinfo=UTC) for t in instants] == [at for _, _, _, at in rows()]


def test_a_read_has_the_schema_that_was_described(customer: Customer, source: Source) -> None:
    declared = stream(**customer.place)
    shape = source.describe(declared)
    assert [c.name for c in shape.columns if c.name not in customer.own_columns] == COLUMNS
    assert {c.name for c in shape.columns} == {*COLUMNS, *customer.own_columns}
    assert read(source, ReadRequest(declared)).schema == schema_of(shape.columns)
    with source.read(ReadRequest(declared, limit=1)) as batches:
        assert batches.schema == schema_of(shape.columns)


@given(data=st.data())
def test_reading_in_batches_yields_every_row_once_whatever_the_batch_size(
    customer: Customer, source: Source, data: st.DataObject
) -> None:
    size = data.draw(st.one_of(st.integers(1, 40), st.integers(1, 2 * ROWS)))
    with source.read(ReadRequest(stream(**customer.place), batch_rows=size)) as batches:
        found = list(batches)
    assert all(0 < b.num_rows <= size for b in found)
    assert sorted(int(n) for b in found for n in b.column("id").to_pylist()) == list(range(ROWS))


@given(start=st.integers(-5, ROWS + 5), hours=st.integers(0, ROWS), minutes=st.integers(-1, 1))
def test_a_window_is_half_open(
    customer: Customer, source: Source, start: int, hours: int, minutes: int
) -> None:
    if not customer.cursors:
        return
    low = FIRST + timedelta(hours=start, minutes=minutes)
    window = Window(low.astimezone(timezone(timedelta(hours=5, minutes=30))), low + timedelta(hours=hours))
    request = ReadRequest(stream(**customer.place, sync=INCREMENTAL), window=window)
    inside = expected(lambda at: window.start <= at < window.end)
    assert ids(read(source, request)) == inside


@pytest.mark.parametrize("hours", [0, 1, 24, ROWS + 10])
def test_a_window_s_rows_are_counted(customer: Customer, source: Source, hours: int) -> None:
    if not customer.cursors:
        return
    window = Window(FIRST + timedelta(hours=3), FIRST + timedelta(hours=3 + hours))
    request = ReadRequest(stream(**customer.place, sync=INCREMENTAL), window=window)
    assert source.count(request) == len(expected(lambda at: window.start <= at < window.end))


@pytest.mark.parametrize("after", [0, 1, 350, ROWS - 1, ROWS])
def test_an_increment_starts_with_its_lower_bound(customer: Customer, source: Source, after: int) -> None:
    if not customer.cursors:
        return
    low = FIRST + timedelta(hours=after)
    request = ReadRequest(stream(**customer.place, sync=INCREMENTAL), after=low)
    assert ids(read(source, request)) == expected(lambda at: at >= low)
    assert source.count(request) == ROWS - after


def test_a_window_and_a_lower_bound_hold_both(customer: Customer, source: Source) -> None:
    if not customer.cursors:
        return
    window = Window(FIRST, FIRST + timedelta(hours=10))
    request = ReadRequest(
        stream(**customer.place, sync=INCREMENTAL), window=window, after=FIRST + timedelta(hours=8)
    )
    assert ids(read(source, request)) == [8, 9]


@pytest.mark.parametrize("limit", [0, 1, 5, ROWS, ROWS + 1])
def test_a_limit_is_kept(customer: Customer, source: Source, limit: int) -> None:
    request = ReadRequest(stream(**customer.place), limit=limit, batch_rows=3)
    assert read(source, request).num_rows == min(limit, ROWS) == source.count(request)


def test_a_query_is_read_like_a_table(customer: Customer, source: Source) -> None:
    if not {"query", "table"} <= source.capabilities.places:
        return
    request = ReadRequest(
        stream(query=customer.query, sync=INCREMENTAL), window=Window(FIRST, FIRST + timedelta(hours=5))
    )
    assert ids(read(source, request)) == [0, 2, 4]


def test_the_connection_test_passes(source: Source) -> None:
    probe = source.probe()
    assert probe.server
    assert probe.latency_ms > 0


def test_discovery_finds_the_stream_and_it_can_be_read(customer: Customer, source: Source) -> None:
    found = next(f for f in source.discover() if "orders" in f.name)
    assert [c.name for c in found.columns if c.name not in customer.own_columns] == COLUMNS
    assert read(source, ReadRequest(stream(**{found.place: found.value}), limit=7)).num_rows == 7
    if "table" in source.capabilities.places:
        assert found.primary_key == ("id",)
        assert found.cursor == "updated_at"
        assert found.row_estimate is not None


def test_a_wrong_password_is_an_access_error_that_does_not_tell_it(
    customer: Customer, project: Settings
) -> None:
    if customer.wrong_password is None:
        return
    connection, secret = customer.wrong_password
    wrong = open_source(connection, project)
    for call in calls(wrong, customer):
        with pytest.raises(AccessError) as caught:
            call()
        assert secret not in str(caught.value)


def test_an_unreachable_server_is_a_transient_error(
    customer: Customer, project: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    if customer.unreachable is None:
        return
    monkeypatch.setattr(http_client, "RetryPolicy", partial(RetryPolicy, base_s=0.01))
    away = open_source(customer.unreachable, project)
    for call in calls(away, customer):
        with pytest.raises(TransientError, match="Check that the server runs"):
            call()


def calls(source: Source, customer: Customer) -> list[Callable[[], Any]]:
    declared = stream(**customer.place)
    return [
        source.probe,
        lambda: source.describe(declared),
        lambda: list(source.discover()),
        lambda: source.count(ReadRequest(declared)),
        lambda: read(source, ReadRequest(declared)),
    ]


def test_an_unknown_place_is_a_configuration_error_that_names_a_close_one(
    customer: Customer, source: Source
) -> None:
    place, close = customer.wrong_place
    for call in (source.describe, lambda s: read(source, ReadRequest(s))):
        with pytest.raises(ConfigError, match=close):
            call(stream(**place))


def test_an_unknown_cursor_is_a_configuration_error_that_names_a_close_one(
    customer: Customer, source: Source
) -> None:
    if not customer.cursors:
        with pytest.raises(ConfigError, match="no cursor"):
            source.describe(stream(**customer.place, sync=INCREMENTAL))
        return
    wrong = stream(**customer.place, sync={"mode": "incremental", "cursor": "updated_att"})
    with pytest.raises(ConfigError, match=r"updated_att.*updated_at\b"):
        source.describe(wrong)


def test_an_unknown_key_of_the_connection_names_the_valid_ones(customer: Customer, project: Settings) -> None:
    with pytest.raises(ConfigError) as caught:
        open_source({**customer.connection, "dns": "secret-value"}, project)
    assert "dns" in str(caught.value)
    assert "secret-value" not in str(caught.value)
    assert all(
        key in str(caught.value) for key in SOURCE_KINDS.config(customer.connection["kind"]).model_fields
    )


def test_closing_early_leaves_nothing_open(customer: Customer, source: Source) -> None:
    for _ in range(3):
        with source.read(ReadRequest(stream(**customer.place), batch_rows=10)) as batches:
            batches.read_next_batch()
    with source.read(ReadRequest(stream(**customer.place))):
        pass
    assert_nothing_open(customer)


def test_an_error_in_the_reader_leaves_nothing_open(customer: Customer, source: Source) -> None:
    def fail() -> None:
        with source.read(ReadRequest(stream(**customer.place), batch_rows=10)) as batches:
            batches.read_next_batch()
            raise KeyError("the reader's own")

    with pytest.raises(KeyError, match="the reader's own"):
        fail()
    assert_nothing_open(customer)


def assert_nothing_open(customer: Customer) -> None:
    until(lambda: customer.busy() == 0, "something of ours is still open")


def test_two_reads_at_once_do_not_disturb_each_other(customer: Customer, source: Source) -> None:
    declared = stream(**customer.place)
    with (
        source.read(ReadRequest(declared, batch_rows=10)) as first,
        source.read(ReadRequest(declared, batch_rows=7)) as second,
    ):
        first.read_next_batch()
        assert ids(second.read_all()) == list(range(ROWS))
        assert first.read_all().num_rows == ROWS - 10


def test_a_token_stays_while_nothing_changes(customer: Customer, source: Source) -> None:
    request = ReadRequest(stream(**customer.place))
    assert source.token(request) == source.token(request)


def test_a_read_by_position_goes_on_where_the_last_one_ended(customer: Customer, source: Source) -> None:
    if not source.capabilities.positions:
        return
    declared = stream(**customer.place, sync={"mode": "incremental", "by": "position"})
    first = ReadRequest(declared, batch_rows=70)
    assert ids(read(source, first)) == list(range(ROWS))
    kept = json.loads(json.dumps(first.next_position))
    second = ReadRequest(declared, position=kept)
    assert read(source, second).num_rows == 0 == source.count(second)
    assert second.next_position == kept
