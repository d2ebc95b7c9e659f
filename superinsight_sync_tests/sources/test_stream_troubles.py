"""One stream's trouble never harms another of its source, whatever the kind: pulled side by side, as a run does it."""

from concurrent.futures import ThreadPoolExecutor

from superinsight_sync.core.errors import ConfigError, SisError
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.declaration import SourceSpec, StreamSpec
from superinsight_sync.pipeline.engine import open_engine, table_of
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync_tests.sources.customers import ROWS, Customer

WRONG_CURSOR = {"mode": "incremental", "cursor": "updated_att"}


def test_streams_in_trouble_let_the_others_of_their_source_land(
    customer: Customer, project: Settings
) -> None:
    wrong, _ = customer.wrong_place
    streams = [
        {"name": "gone", **wrong},
        {"name": "wrong_cursor", **customer.place, "sync": WRONG_CURSOR},
        {"name": "good", **customer.place},
        {"name": "also_good", **customer.place},
    ]
    kind = str(customer.connection["kind"])
    source = SourceSpec.model_validate(
        {
            "name": f"troubled_{kind}",
            "tenant": "acme",
            "connection": customer.connection,
            "streams": streams,
            "max_concurrency": 3,
        }
    )
    engine = open_engine("run-1", project)

    def pulled(stream: StreamSpec) -> SisError | None:
        try:
            pull_stream(engine, source, stream)
        except SisError as error:
            return error
        return None

    with ThreadPoolExecutor(source.max_concurrency) as threads:
        found = dict(zip((s.name for s in source.streams), threads.map(pulled, source.streams), strict=True))
    troubled = (
        {"wrong_cursor"} if kind == "inbox" else {"gone", "wrong_cursor"}
    )  # nothing was pushed there yet
    assert {name for name, error in found.items() if error} == troubled
    assert all(isinstance(error, ConfigError) for error in found.values() if error)
    for stream in source.streams:
        table = table_of(source, stream, "raw")
        good = stream.name in ("good", "also_good")
        assert (engine.lake.count(table) if engine.lake.exists(table) else 0) == (ROWS if good else 0)
