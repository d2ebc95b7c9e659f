"""Replay: a delivery of the inbox is landed once more, or tried again at once."""

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.state.deliveries import StoredDelivery


def replay_delivery(engine: Engine, delivery_id: str, *, whole: bool = False) -> str:
    """Puts a delivery that has landed behind all others in the inbox; the new one's id. Of its records those are landed
    again that were set aside.

    One that could not be landed stays where it is and keeps its id: it is tried again at once, with all that waits of
    its stream, since deliveries land in their order.

    Args:
        whole: all its records, also those that are in the table: without a primary key they are there twice then.

    Raises:
        ConfigError: there is no such delivery, it was not tried yet, or none of its records was set aside.
    """
    found = engine.inbox.get(delivery_id)
    if found is None:
        raise ConfigError("there is no such delivery", hint="See `sis inbox list`")
    if found.state != "landed":
        if found.error_text is None:
            raise ConfigError(
                f"delivery {delivery_id} waits to be landed for the first time, and will be without a replay",
                hint=f"`sis run {found.source}` lands what waits at once",
            )
        engine.inbox.ask_again(found.tenant, found.source, found.stream)
        return delivery_id
    only = None
    if not whole:
        only = places_set_aside(engine, found)
        if not only:
            raise ConfigError(
                f"all records of delivery {delivery_id} have landed",
                hint="Asked for all, they land once more",
            )
    new_id = engine.inbox.replay(delivery_id, only=only)
    if new_id is None:
        raise ConfigError("there is no such delivery any more", hint="See `sis inbox list`")
    return new_id


def places_set_aside(engine: Engine, delivery: StoredDelivery) -> list[int]:
    """The places, from 1, of the delivery's records that are in the stream's `unreadable` table."""
    import pyarrow.compute as pc

    table = TableRef(delivery.tenant, delivery.source, delivery.stream, "unreadable")
    if not engine.lake.exists(table):
        return []
    wanted = pc.field("file") == f"delivery {delivery.id}"
    lines = engine.lake.dataset(table).to_table(columns=["line"], filter=wanted).column("line")
    return sorted({int(n) for n in lines.to_pylist() if n is not None})
