"""The audit log: records a second appended and verified, beside the same rows inserted without a chain.

    python benchmarks/audit.py [--records 200000] [--url postgresql://…]

Appended: in transactions of 1,000 and of one record. Verified: the whole chain, read from the database. CPU seconds
are of this process; a server's are not in them.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from sqlalchemy import Column, Integer, MetaData, Table, Text, insert

from superinsight_sync.security.audit_verifier import Verified, verify_chain
from superinsight_sync.state import State, open_state
from superinsight_sync.state.audit import Entry, note

ROUNDS = 3
AT_ONCE = 1_000
plain = Table(
    "bench_plain",
    MetaData(),
    Column("tenant", Text, primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("body", Text),
    Column("hash", Text),
)


def entry(n: int) -> Entry:
    return Entry("rows.read", f"crm/orders{n % 50}", {"rows": n, "of": "raw", "version": None})


def append(state: State, tenant: str, records: int, at_once: int) -> None:
    for start in range(0, records, at_once):
        with state.database.write() as connection:
            note(connection, tenant, *(entry(n) for n in range(start, start + at_once)))


def insert_plain(state: State, tenant: str, records: int, at_once: int) -> None:
    body = "x" * 400
    for start in range(0, records, at_once):
        rows = [
            {"tenant": tenant, "seq": n, "body": body, "hash": "0" * 64}
            for n in range(start, start + at_once)
        ]
        with state.database.write() as connection:
            connection.execute(insert(plain), rows)


def verify(state: State, tenant: str) -> None:
    result = Verified()
    verify_chain(tenant, state.audit.chain(tenant), (), result)
    assert result.findings == [], result.findings


def timed(what: str, count: int, work: Callable[[int], object]) -> None:
    """Prints the best of some rounds, with the CPU of that one."""
    best = (float("inf"), 0.0)
    for n in range(ROUNDS):
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        work(n)
        best = min(best, (time.perf_counter() - wall_s, time.process_time() - cpu_s))
    line = f"{what:42} {count / best[0]:>12,.0f} records/s {best[1] / count * 1e6:>9.1f} µs CPU each\n"
    sys.stdout.write(line)


@contextmanager
def opened(url: str | None) -> Iterator[State]:
    with tempfile.TemporaryDirectory() as folder:
        state = open_state(url or f"sqlite:///{folder}/state.db")
        with state.database.write() as connection:
            plain.create(connection)
        try:
            yield state
        finally:
            state.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--url", help="An empty database. Default: a SQLite file.")
    given = parser.parse_args()
    many = given.records // AT_ONCE * AT_ONCE
    few = max(many // 100, AT_ONCE)
    with opened(given.url) as state:
        timed("plain insert, 1,000 at once", many, lambda n: insert_plain(state, f"p{n}", many, AT_ONCE))
        timed("audit append, 1,000 at once", many, lambda n: append(state, f"a{n}", many, AT_ONCE))
        timed("plain insert, one at once", few, lambda n: insert_plain(state, f"q{n}", few, 1))
        timed("audit append, one at once", few, lambda n: append(state, f"b{n}", few, 1))
        timed("verify", many, lambda n: verify(state, f"a{n}"))


if __name__ == "__main__":
    main()
