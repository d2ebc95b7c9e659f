"""On labelled histories: every conflict is found and no other, and what is resolved is right."""

import pytest

from superinsight_sync_tests.conflict.engine import Resolving
from superinsight_sync_tests.conflict.entities import customer
from superinsight_sync_tests.conflict.histories import FIELDS, SOURCES, history

SEEDS = range(200)
SPEC = customer(
    streams=[{"stream": s, "key": ["id"], "time": "at"} for s in SOURCES],
    strategy=[{"strategy": "newest", "tolerance": "5m"}],
)


@pytest.fixture(scope="module")
def resolved() -> Resolving:
    """All histories, in two batches of what comes early and what comes late."""
    made = Resolving(SPEC)
    versions = [v for seed in SEEDS for v in history(seed).versions]
    made.take(versions[::2])
    made.take(versions[1::2])
    return made


def test_the_conflicts_of_labelled_histories_are_found_and_no_others(resolved: Resolving) -> None:
    emails = {row[0]: row[1] for row in resolved.entities()}
    everything = resolved.duck.execute("SELECT entity_id, field FROM found_conflicts").fetchall()
    found = {(emails[entity], field) for entity, field in everything}
    planted = {(h.email, f) for h in map(history, SEEDS) for f in h.conflicts}
    assert len(planted) > 50
    assert len(found & planted) / len(found) >= 0.99
    assert len(found & planted) / len(planted) >= 0.99


def test_values_are_right_or_wait_for_review(resolved: Resolving) -> None:
    rows = {row[1]: row for row in resolved.entities()}
    assert len(rows) == len(SEEDS)
    right = waits = silent = 0
    for known in map(history, SEEDS):
        row = rows[known.email]
        wanted = {**known.values, "deleted_at": known.gone}
        given = dict(zip(FIELDS, row[2:4], strict=True)) | {"deleted_at": row[4] is not None}
        for name, value in wanted.items():
            if name in row[7]:
                waits += 1
            elif given[name] == value:
                right += 1
            else:
                silent += 1
    assert silent == 0
    assert right / (right + waits) >= 0.95
