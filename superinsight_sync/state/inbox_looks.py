"""Looks at what waits in the inbox."""

from collections.abc import Collection, Iterator, Mapping
from functools import cache

from sqlalchemy import ColumnElement, Connection, TextClause, and_, func, literal_column, or_, select, text

from superinsight_sync.state.deliveries import Range, StreamKey, Waiting
from superinsight_sync.state.tables import inbox as t

_AT_ONCE = 100


def waiting_of(connection: Connection, streams: Collection[StreamKey]) -> Iterator[tuple[StreamKey, Waiting]]:
    """What waits of these streams; none of those of which nothing does. It costs the same however much it is: a few
    steps in an index for each stream."""
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


def oldest_of(
    connection: Connection, only: Mapping[str, str], *, max_deliveries: int, max_bytes: int
) -> tuple[Range, ...]:
    """What waits where these columns have these values, one range for each stream: its oldest deliveries, up to the
    limits (at least one). Goes through all that waits."""
    stream_of = (t.c.tenant, t.c.source, t.c.stream)
    numbered = (
        select(
            *stream_of,
            t.c.seq,
            t.c.records,
            t.c.size_bytes,
            t.c.received_at,
            t.c.marked_at,
            t.c.error_text,
            func.row_number().over(partition_by=stream_of, order_by=t.c.seq).label("place"),
            func.sum(t.c.size_bytes).over(partition_by=stream_of, order_by=t.c.seq).label("total"),
        )
        .where(waits(), *(t.c[name] == value for name, value in only.items()))
        .subquery()
    )
    n = numbered.c
    statement = (
        select(
            n.tenant,
            n.source,
            n.stream,
            func.min(n.seq),
            func.max(n.seq),
            func.count(),
            func.sum(n.records),
            func.sum(n.size_bytes),
            func.min(n.received_at),
            # What waits is marked if it has failed, with the error, or was asked for since, without one.
            func.max(n.marked_at).filter(n.error_text.is_(None)),
        )
        .where(or_(n.place == 1, and_(n.place <= max_deliveries, n.total <= max_bytes)))
        .group_by(n.tenant, n.source, n.stream)
        .order_by(func.min(n.seq))
    )
    rows = connection.execute(statement).all()
    return tuple(
        Range(who, source_name, name, first, last, count, int(records), int(size_bytes), oldest_at, asked_at)
        for who, source_name, name, first, last, count, records, size_bytes, oldest_at, asked_at in rows
    )


def waits() -> ColumnElement[bool]:
    """Those that wait."""
    # Written out: with parameters a database cannot know that the partial index has just these rows. It was made for
    # a second state that none has.
    return t.c.state.in_((literal_column("'received'"), literal_column("'landing'")))


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
