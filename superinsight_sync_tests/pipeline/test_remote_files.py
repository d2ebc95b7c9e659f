"""Files on servers of each protocol, through the lake: new ones only, cut transfers, damaged records."""

from pathlib import Path
from typing import Any

import pytest

from superinsight_sync.core.errors import TransientError
from superinsight_sync.core.retry import RetryPolicy
from superinsight_sync.model.declaration import SourceSpec
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync.pipeline.refine import refine_stream
from superinsight_sync_tests.sources.files.places import PROTOCOLS, RemotePlace, csv_of, place_in

RAW = TableRef("acme", "drop", "numbers", "raw")


@pytest.fixture(params=PROTOCOLS)
def place(request: pytest.FixtureRequest) -> Any:
    with place_in(request, request.param) as found:
        yield found


def declared(place: RemotePlace, **stream: Any) -> SourceSpec:
    spec = {
        "name": "numbers",
        "path": "*.csv",
        "format": {"columns": {"id": "int64"}},
        "primary_key": ["id"],
        **stream,
    }
    return SourceSpec.model_validate(
        {"name": "drop", "tenant": "acme", "connection": place.connection, "streams": [spec]}
    )


def landed(engine: Engine, table: TableRef = RAW) -> list[int]:
    return sorted(engine.lake.scan(table).read_all().column("id").to_pylist())


def test_new_and_changed_files_are_read_and_the_others_left(engine: Engine, place: RemotePlace) -> None:
    source = declared(place, sync={"mode": "incremental", "cursor": "_sis_file_modified_at", "lag": "0s"})
    numbers = source.streams[0]
    place.put("a.csv", csv_of(1, 2))
    assert pull_stream(engine, source, numbers).stats.rows == 2
    assert pull_stream(engine, source, numbers).unchanged
    place.put("b.csv", csv_of(3, 4, 5))
    pull_stream(engine, source, numbers)
    place.put("a.csv", csv_of(1, 2, 6, 7, 8, 9))
    pull_stream(engine, source, numbers)
    refine_stream(engine, source, numbers)
    assert landed(engine) == landed(engine, RAW.at("refined")) == list(range(1, 10))
    for table in (RAW, RAW.at("refined")):
        files = engine.lake.scan(table, columns=["id", "_sis_file"]).read_all().to_pylist()
        assert {r["id"] for r in files if r["_sis_file"] == "b.csv"} == {3, 4, 5}


def test_a_damaged_record_is_kept_and_gone_once_it_is_mended(engine: Engine, place: RemotePlace) -> None:
    source = declared(place, on_row_error="quarantine", primary_key=[], schema_contract="freeze")
    place.put("a.csv", csv_of(1, 2))
    place.put("b.csv", b"id\n3\nthree\n")
    assert pull_stream(engine, source, source.streams[0]).unreadable == 1
    (kept,) = engine.lake.scan(RAW.at("unreadable")).read_all().to_pylist()
    assert (kept["file"], kept["line"], kept["record"]) == ("b.csv", 3, "three")
    assert landed(engine) == [1, 2, 3]
    place.put("b.csv", csv_of(3, 30))
    assert pull_stream(engine, source, source.streams[0]).unreadable == 0
    assert engine.lake.count(RAW.at("unreadable")) == 0
    assert landed(engine) == [1, 2, 3, 30]


@pytest.mark.parametrize("protocol", ["ftp", "ftps", "http"])
def test_a_transfer_that_is_cut_lands_each_row_once(
    engine: Engine, request: pytest.FixtureRequest, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three cuts are mended within the read; the fourth ends the pull, which is not tried another three times."""
    monkeypatch.setattr(RetryPolicy, "delay_s", lambda *_: 0.01)
    numbers = range(1_000_000, 1_400_000)
    with place_in(request, protocol) as place:
        place.put("big.csv", csv_of(*numbers))
        source = declared(place, primary_key=[])
        pull_stream(engine, source, source.streams[0])
        place.server.drops[:] = [100_000] * 9
        with pytest.raises(TransientError):
            pull_stream(engine, source, source.streams[0], force=True)
        assert len(place.server.drops) >= 4
        assert [letter.attempts for letter in engine.state.dead_letters.list()] == [4]
        place.server.drops[:] = [1, 1_500_000, 70_000]
        result = pull_stream(engine, source, source.streams[0], force=True)
        assert place.server.drops == []
    assert result.stats.rows == len(numbers)
    assert landed(engine) == list(numbers)


def test_a_server_that_is_away_says_so_and_leaves_what_landed(
    engine: Engine, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RetryPolicy, "delay_s", lambda *_: 0.01)
    with place_in(request, "ftp") as place:
        place.put("a.csv", csv_of(1, 2))
        source = declared(place)
        pull_stream(engine, source, source.streams[0])
    with pytest.raises(Exception, match=r"ftp://127\.0\.0\.1:\d+.*[Cc]heck that the server runs"):
        pull_stream(engine, source, source.streams[0])
    assert landed(engine) == [1, 2]
