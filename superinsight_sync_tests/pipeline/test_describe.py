"""The dictionary of a stream, with a language model that comes and goes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from superinsight_sync.pipeline.describe import describe_stream, is_due
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync.pipeline.refine import refine_stream
from superinsight_sync_tests.servers.llm import FakeLlm, fake_llm, good, status
from superinsight_sync_tests.shop import shop_source


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
