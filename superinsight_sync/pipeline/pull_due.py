"""What a pull would read now: nothing, from a cursor on, a window, or everything. Pulls and plans ask the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from superinsight_sync.core.canonical import fingerprint
from superinsight_sync.model.declaration import PLACES, StreamSpec
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.model.tables import Checkpoint
from superinsight_sync.model.window import window_of_keys
from superinsight_sync.pipeline.cursors import minus_lag
from superinsight_sync.pipeline.landed_as import goes_on
from superinsight_sync.sources.protocol import Source


@dataclass(frozen=True)
class Due:
    """What there is to read.

    Attributes:
        partitions: of those asked for, from the first to the last that may have changed, since a pull reads one window.
        token: what the source's data looks like, and how it is read; None if nobody can tell.
        last: the checkpoint from which an increment is read.
    """

    request: ReadRequest
    partitions: tuple[str, ...]
    token: str | None
    last: Checkpoint | None


def due(
    connection: Source,
    stream: StreamSpec,
    points: Mapping[str, Checkpoint],
    partitions: tuple[str, ...] = (),
    *,
    force: bool = False,
) -> Due | None:
    """What a pull would read; None if the source says that nothing is new.

    Args:
        points: the table's checkpoints by partition, "" for one without.
        partitions: contiguous keys in order, of a partitioned stream.
        force: read even if nothing is new.
    """
    token = _token(connection, _windowed(stream, partitions))
    changed = [
        key
        for key in partitions or ("",)
        if force or token is None or key not in points or points[key].token != token
    ]
    if not changed:
        return None
    if partitions:
        partitions = partitions[partitions.index(changed[0]) : partitions.index(changed[-1]) + 1]
        return Due(_windowed(stream, partitions), partitions, token, None)
    if stream.sync.mode != "incremental":
        return Due(_windowed(stream, ()), (), token, None)
    last = last_of(stream, points)
    return Due(_increment(connection, stream, last), (), token, last)


def last_of(stream: StreamSpec, points: Mapping[str, Checkpoint]) -> Checkpoint | None:
    """The stream's checkpoint, if it is one of the cursor by which it is read now."""
    point = points.get("")
    return point if goes_on(stream, point) else None


def _increment(connection: Source, stream: StreamSpec, last: Checkpoint | None) -> ReadRequest:
    if last is None:
        return ReadRequest(stream)
    by_cursor = stream.sync.by in ("timestamp", "version")
    after = minus_lag(stream, connection.capabilities, last.cursor) if by_cursor else None
    return ReadRequest(stream, after=after, position=last.detail.get("position"))


def _windowed(stream: StreamSpec, partitions: Sequence[str]) -> ReadRequest:
    window = window_of_keys(stream.partition.by, partitions) if stream.partition and partitions else None
    return ReadRequest(stream, window=window)


def _token(connection: Source, request: ReadRequest) -> str | None:
    """Asked before reading.

    None where deletes are asked for: they are applied after the rows, and an end in between must not pass for a pull
    that is done.
    """
    stream = request.stream
    if stream.sync.deletes != "ignore":
        return None
    seen = connection.token(request)
    if seen is None:
        return None
    how = stream.model_dump(mode="json", include={*PLACES, "options", "format", "sync", "partition"})
    return fingerprint([seen, how])
