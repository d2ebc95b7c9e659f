"""How a stream landed so far, and whether it can go on as it is declared now."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.model.declaration import SourceSpec, StreamSpec
from superinsight_sync.model.tables import PARTITION, Checkpoint
from superinsight_sync.model.window import window_of_key
from superinsight_sync.pipeline.engine import Engine, table_of

HOW = "how"
"""Where in a checkpoint's detail `how_it_lands` is."""


def how_it_lands(stream: StreamSpec) -> dict[str, Any]:
    """What of a declaration the rows that land, and their checkpoints, depend on."""
    return {
        "partition": stream.partition.by if stream.partition else None,
        "cursor": stream.sync.cursor,
        "by": stream.sync.by,
        "keys": list(stream.primary_key) if stream.disposition == "merge" else None,
    }


def goes_on(stream: StreamSpec, point: Checkpoint | None) -> bool:
    """Whether the checkpoint is one of the cursor by which the stream is read now; if not, all is read anew."""
    before = {} if point is None else point.detail.get(HOW) or {}
    now = how_it_lands(stream)
    return all(before.get(key, now[key]) == now[key] for key in ("cursor", "by"))


def check_goes_on(
    source: SourceSpec, stream: StreamSpec, held: pa.Schema | None, points: Mapping[str, Checkpoint]
) -> None:
    """Raises ConfigError if what was declared of the stream changed so that its table cannot be gone on with.

    Args:
        held: the raw table's schema; None if there is no table.
    """
    if held is None or (stream.disposition == "replace" and not stream.partition):
        return
    wrong = _wrong_partitions(stream, held, points) or _wrong_keys(stream, points)
    if wrong:
        raise ConfigError(
            wrong,
            where=f"source '{source.name}', stream '{stream.name}'",
            hint=f"Take that back, or start the stream over: `sis reset {source.name}.{stream.name}`, then run it",
        )


def check_stream_goes_on(engine: Engine, source: SourceSpec, stream: StreamSpec) -> None:
    """The same, of what the stream's store holds now."""
    if not stream.raw_outlives_its_run:
        return
    store, table = engine.store(source, stream, "raw"), table_of(source, stream, "raw")
    if store.exists(table):
        check_goes_on(source, stream, store.schema(table), store.checkpoints(table))


def _wrong_partitions(stream: StreamSpec, held: pa.Schema, points: Mapping[str, Checkpoint]) -> str | None:
    was = PARTITION in held.names
    if stream.partition is None:
        return "it landed with partitions and is declared without" if was else None
    if not was:
        return f"it landed without partitions and is declared with partitions by {stream.partition.by}"
    before = [dict(p.detail.get(HOW) or {}) for key, p in points.items() if key]
    units = {h["partition"] for h in before if "partition" in h} - {stream.partition.by}
    if units or not all(_is_key(stream, key) for key in points if key):
        return f"it landed with other partitions than by {stream.partition.by}"
    cursors = {h["cursor"] for h in before if "cursor" in h} - {stream.sync.cursor}
    return f"its partitions are those of '{min(cursors)}', not of '{stream.sync.cursor}'" if cursors else None


def _is_key(stream: StreamSpec, key: str) -> bool:
    assert stream.partition
    try:
        window_of_key(stream.partition.by, key)
    except ValueError:
        return False
    return True


def _wrong_keys(stream: StreamSpec, points: Mapping[str, Checkpoint]) -> str | None:
    """Rows that were not merged by the key may have it twice, or be lacking where another one made them one."""
    if stream.disposition != "merge":
        return None
    for point in points.values():
        before = point.detail.get(HOW)
        if before is not None and before["keys"] != list(stream.primary_key):
            by = ", ".join(before["keys"]) if before["keys"] else "no key"
            return f"its rows were merged by {by}, and are to be merged by {', '.join(stream.primary_key)}"
    return None
