"""The dictionary of a stream, with a language model that comes and goes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from superinsight_sync.pipeline.describe import describe_stream, is_due
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync.pipeline.refine import refine_stream
from superinsight_sync_tests.servers.llm import FakeLlm, fake_llm, good, status
from superinsight_sync_tests.shop import change, order, shop_source


@pytest.fixture
def llm(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLlm]:
    with fake_llm() as server:
        monkeypatch.setenv("OPENAI_API_KEY", "key-of-test")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        yield server


def test_an_outage_is_told_and_asked_again_and_force_asks(engine: Engine, shop: Path, llm: FakeLlm) -> None:
    source = shop_source(shop)
    stream = source.streams[0]
    pull_stream(engine, source, stream)
    refine_stream(engine, source, stream)
    llm.otherwise = status(401)
    without = describe_stream(engine, source, stream)
    assert without.llm_fields == 0
    assert "not available" in without.warnings[0]
    assert is_due(engine, source, stream)
    llm.otherwise, llm.bodies = good, []
    made = describe_stream(engine, source, stream)
    assert (made.llm_fields, made.warnings, len(llm.bodies)) == (5, (), 1)
    assert describe_stream(engine, source, stream).unchanged
    assert len(llm.bodies) == 1
    forced = describe_stream(engine, source, stream, force=True)
    assert (forced.llm_fields, len(llm.bodies)) == (5, 2)


def rows_read(engine: Engine) -> int | None:
    return engine.state.executions.recent(1)[0].rows


def test_new_rows_alone_are_read_and_the_dictionary_is_that_of_all(engine: Engine, shop: Path) -> None:
    source = shop_source(shop, sync={"mode": "incremental", "cursor": "updated_at"})
    stream = source.streams[0]

    def described(*, force: bool = False) -> str:
        pull_stream(engine, source, stream)
        refine_stream(engine, source, stream)
        return describe_stream(engine, source, stream, force=force).fingerprint

    first = described()
    assert rows_read(engine) == 500
    new = [order(n, updated=f"2026-02-01T00:00:{n - 500:02}Z") for n in range(501, 511)]
    change(shop, "INSERT INTO orders VALUES (?,?,?,?,?)", new)
    grown = described()
    assert (rows_read(engine), grown != first) == (10, True)
    assert described(force=True) == grown
    assert rows_read(engine) == 510
    change(shop, "UPDATE orders SET amount = '1.00', updated_at = '2026-02-02T00:00:00Z' WHERE order_id = 3")
    described()
    assert rows_read(engine) == 510
    assert described(force=True) == describe_stream(engine, source, stream).fingerprint
