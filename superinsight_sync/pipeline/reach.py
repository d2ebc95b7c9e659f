"""What tells a pull that nothing is new."""

from superinsight_sync.core.canonical import fingerprint
from superinsight_sync.model.declaration import PLACES
from superinsight_sync.sources.protocol import ReadRequest, Source


def read_token(connection: Source, request: ReadRequest) -> str | None:
    """What the source's data looks like now, together with how it is read; None if nobody can tell.

    Deletes are applied after the rows, so a stream that asks for them is always read.
    """
    stream = request.stream
    if stream.sync.deletes != "ignore":
        return None
    seen = connection.token(request)
    if seen is None:
        return None
    how = stream.model_dump(mode="json", include={*PLACES, "options", "format", "sync", "partition"})
    return fingerprint([seen, how])
