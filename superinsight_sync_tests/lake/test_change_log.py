"""Change logs: one writer at a time, and few files however many commits."""

from pathlib import Path

import pyarrow as pa
import pytest

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import TransientError
from superinsight_sync.lake.opening import open_change_log, open_store
from superinsight_sync.lake.store import ReadBatches
from superinsight_sync.model.tables import SEQ, Checkpoint, Commit, TableRef

LOG = TableRef("acme", "bank", "accounts", "changes")


def rows(first: int, count: int = 2) -> ReadBatches:
    table = pa.table(
        {"id": pa.array(range(first, first + count)), SEQ: pa.array(range(first, first + count))}
    )
    return lambda: table.to_reader()


def commit(load_id: str) -> Commit:
    return Commit(load_id, {"": Checkpoint(load_id, utc_now())})


def test_who_does_not_follow_the_last_load_lands_nothing(tmp_path: Path) -> None:
    log, store = open_change_log(str(tmp_path)), open_store(str(tmp_path))
    log.append(LOG, rows(1), commit("a"), following=None)
    log.append(LOG, rows(3), commit("b"), following="a")
    for wrong in (None, "a"):
        with pytest.raises(TransientError, match="another process lands changes"):
            log.append(LOG, rows(5), commit("c"), following=wrong)
    assert log.append(LOG, rows(3), commit("b"), following="a").repeated
    assert store.count(LOG) == 4


def test_many_commits_leave_few_files_and_every_change(tmp_path: Path) -> None:
    log, last = open_change_log(str(tmp_path)), None
    for n in range(130):
        log.append(LOG, rows(2 * n), commit(f"l{n}"), following=last)
        last = f"l{n}"
    data = open_store(str(tmp_path)).dataset(LOG)
    assert len(list(data.get_fragments())) < 80
    assert len(list((tmp_path / LOG.path / "_checkpoints").iterdir())) < 40
    assert len(list((tmp_path / LOG.path / "_delta_log").iterdir())) < 160
    point = open_store(str(tmp_path)).checkpoint(LOG)
    assert point is not None and point.load_id == last
    assert sorted(data.to_table().column(SEQ).to_pylist()) == list(range(260))
