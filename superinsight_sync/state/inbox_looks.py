"""Looks at what waits in the inbox that cost the same however much it is: a few steps in an index for each stream."""

from collections.abc import Collection, Iterator
from functools import cache

from sqlalchemy import Connection, TextClause, func, select, text

from superinsight_sync.state.deliveries import StreamKey, Waiting
from superinsight_sync.state.tables import inbox as t

_AT_ONCE = 100


def waiting_of(connection: Connection, streams: Collection[StreamKey]) -> Iterator[tuple[StreamKey, Waiting]]:
    """What waits of these streams; none of those of which nothing does."""
    wanted = sorted(streams)
    for start in range(0, len(wanted), _AT_ONCE):
        some = wanted[start : start + _AT_ONCE]
        given = {
            f"{name}{n}": value for n, key in enumerate(some) for name, value in zip("abc", key, strict=True)
        }
        found = {
            (row.tenant, row.source, row.stream): (row.first, row.last)
            for row in connection.execute(_ends(len(some)), given)
            if row.first is not None
        }
        firsts = select(t.c.seq, t.c.marked_at, t.c.error_text).where(
            t.c.seq.in_(f for f, _ in found.values())
        )
        # What waits is marked all together, and lands in its order: the first has the newest mark.
        asked = {r.seq: r.marked_at for r in connection.execute(firsts) if r.error_text is None}
        yield from ((key, Waiting(first, last, asked.get(first))) for key, (first, last) in found.items())


def records_between(connection: Connection, stream: StreamKey, after: int, last: int) -> int:
    """How many records, as counted at the door, are in a stream's deliveries behind one, up to another."""
    of_stream = [c == value for c, value in zip((t.c.tenant, t.c.source, t.c.stream), stream, strict=True)]
    counted = select(func.sum(t.c.records)).where(*of_stream, t.c.seq > after, t.c.seq <= last)
    return int(connection.scalar(counted) or 0)


@cache
def _ends(streams: int) -> TextClause:
    named = " UNION ALL ".join(
        f"SELECT CAST(:a{n} AS TEXT), CAST(:b{n} AS TEXT), CAST(:c{n} AS TEXT)" for n in range(streams)
    )
    return text(
        f"WITH k(tenant, source, stream) AS ({named}) "  # noqa: S608 - made of constants
        f"SELECT k.tenant, k.source, k.stream, {_end('')} AS first, {_end('DESC')} AS last FROM k"
    )


def _end(order: str) -> str:
    return (
        "(SELECT i.seq FROM sis_inbox i WHERE i.tenant = k.tenant AND i.source = k.source "  # noqa: S608 - as above
        f"AND i.stream = k.stream AND i.state IN ('received', 'landing') ORDER BY i.seq {order} LIMIT 1)"
    )
