"""What any sequence of failures leads to."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from superinsight_sync.core.errors import AccessError, ConfigError, DataError, SisError, TransientError
from superinsight_sync.core.settings import load_settings
from superinsight_sync.pipeline.counted_read import Reading
from superinsight_sync.pipeline.engine import open_engine
from superinsight_sync.pipeline.pull import pull_stream
from superinsight_sync_tests.shop import make_shop, order, shop_source

_FAILURES = (TransientError, ConfigError, AccessError, DataError)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    failures=st.lists(st.sampled_from(_FAILURES), max_size=6),
    after_rows=st.lists(st.sampled_from([0, 1, 30]), min_size=6, max_size=6),
)
def test_any_sequence_of_failures_ends_in_success_or_in_the_first_lasting_one(
    failures: list[type[SisError]], after_rows: list[int]
) -> None:
    """Transient ones are retried three times at most, others never; what was read before one lands never twice.
    A dead letter is left by work that may be done again, and only by that."""
    tries = 0
    real = Reading.__call__

    def failing(self: Reading) -> pa.RecordBatchReader:
        nonlocal tries
        tries += 1
        batches = real(self)
        if tries > len(failures):
            return batches
        cut, failure = after_rows[tries - 1], failures[tries - 1]

        def broken() -> Iterator[pa.RecordBatch]:
            if cut:
                yield batches.read_next_batch().slice(0, cut)
            self._failure = failure("the read broke")
            raise self._failure

        return pa.RecordBatchReader.from_batches(batches.schema, broken())

    lasting = next((n for n, f in enumerate(failures) if f is not TransientError), None)
    ends_at = min((n for n in (lasting, 3 if len(failures) > 3 else None) if n is not None), default=None)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reading, "__call__", failing)
        patch.setattr("superinsight_sync.core.retry.RetryPolicy.delay_s", lambda self, attempt: 0.0)
        engine = open_engine(settings=load_settings({"SIS_PROJECT_DIR": folder}))
        source = shop_source(make_shop(Path(folder) / "shop.db", [order(n) for n in range(1, 41)]))
        if ends_at is None:
            result = pull_stream(engine, source, source.streams[0])
            assert (result.retries, result.table_rows) == (len(failures), 40)
        else:
            with pytest.raises(failures[ends_at], match="shop/orders"):
                pull_stream(engine, source, source.streams[0])
            assert tries == ends_at + 1
        letters = engine.state.dead_letters.list()
        buried = ends_at is not None and failures[ends_at] is TransientError
        assert [d.payload for d in letters] == (
            [{"source": "shop", "stream": "orders", "partitions": [], "force": False}] if buried else []
        )
