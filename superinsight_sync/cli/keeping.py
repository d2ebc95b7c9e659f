"""Commands on what was done: status, state, rollback, history, quarantine, maintain."""

from typing import Any

import click

from superinsight_sync.cli.output import errors_shown, json_option, show_json, show_table, tell
from superinsight_sync.core.canonical import decode, fingerprint
from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.settings import load_settings
from superinsight_sync.model.tables import Checkpoint


@click.command("status")
@click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="Executions at most."
)
@click.option("--source", help="Only this source.")
@json_option
@errors_shown
def status_command(limit: int, source: str | None, as_json: bool) -> None:
    """Shows what ran last, what is running and what waits to be replayed.

    \b
    Example:
        sis status --source airline
    """
    from superinsight_sync.pipeline.engine import open_engine

    state = open_engine().state
    recent = state.executions.recent(limit, source=source) if source else state.executions.recent(limit)
    letters = state.dead_letters.list(100, state="open")
    if as_json:
        show_json({"executions": [vars(e) for e in recent], "dead_letters": [vars(d) for d in letters]})
        return
    rows = [
        (
            f"{e.started_at:%Y-%m-%d %H:%M:%S}",
            f"{e.verb} {e.source}/{e.stream}",
            e.partition,
            e.status,
            f"{e.rows:,}",
            e.error_text,
        )
        for e in recent
    ]
    show_table(
        "Last executions (UTC)", ["started", "work", "partitions", "status", "rows", "error"], rows, ["rows"]
    )
    if letters:
        show_table(
            "Dead letters",
            ["id", "work", "error"],
            [(d.id, f"{d.verb} {d.target}", d.error_text) for d in letters],
        )
        tell(
            "`sis dead-letters replay <id>` does the work again, `sis dead-letters discard <id>` gives it up"
        )


@click.group("state")
def state_command() -> None:
    """Reads, sets and resets checkpoints: how far a stream has landed.

    \b
    Example:
        sis state get airline.flights
    """


@state_command.command("get")
@click.argument("stream")
@json_option
@errors_shown
def state_get(stream: str, as_json: bool) -> None:
    """Shows the checkpoints of a stream's raw table.

    \b
    Example:
        sis state get airline.flights --json
    """
    engine, table, store = _raw(stream)
    points = store.checkpoints(table) if store.exists(table) else {}
    engine.state.checkpoints.record_all(table, points)
    if as_json:
        show_json({"stream": stream, "checkpoints": {k: vars(p) for k, p in points.items()}})
        return
    rows = [
        (key or "(stream)", p.cursor, p.load_id, f"{p.at:%Y-%m-%d %H:%M:%S}")
        for key, p in sorted(points.items())
    ]
    show_table(f"Checkpoints of {stream}", ["partition", "cursor", "load", "at (UTC)"], rows)


@state_command.command("set")
@click.argument("stream")
@click.argument("cursor")
@click.option(
    "--type",
    "kind",
    type=click.Choice(["timestamp", "integer", "text", "json"]),
    default="timestamp",
    show_default=True,
    help="What the cursor is.",
)
@click.option("--partition", default="", help="Of this partition, which is read anew the next time.")
@json_option
@errors_shown
def state_set(stream: str, cursor: str, kind: str, partition: str, as_json: bool) -> None:
    """Sets a stream's cursor: the next incremental pull starts there.

    \b
    Example:
        sis state set crm.orders 2026-01-31T00:00:00+00:00
        sis state set crm.events 120000 --type integer
    """
    from superinsight_sync.pipeline.engine import new_load_id

    value = _cursor(cursor, kind)
    _check_partition(stream, partition)
    engine, table, store = _raw(stream)
    if not store.exists(table):
        raise ConfigError(
            f"'{stream}' has landed nothing yet", hint="Run it first; then its checkpoint can be set"
        )
    point = Checkpoint(new_load_id(), utc_now(), cursor=value)
    told = {"partition": partition, "cursor": fingerprint(value), "load_id": point.load_id}
    with engine.state.audit.act(table.tenant, "checkpoint.set", f"{table.source}/{table.stream}", **told):
        store.set_checkpoint(table, point, partition)
        engine.state.checkpoints.record(table, partition, point)
    if as_json:
        done = {"stream": stream, "partition": partition or None, "cursor": value, "load_id": point.load_id}
        show_json(done)
        return
    tell(f"{stream} {partition} continues from {value}".replace("  ", " "))


@state_command.command("reset")
@click.argument("stream")
@click.option("--partition", default="", help="Only this partition.")
@json_option
@errors_shown
def state_reset(stream: str, partition: str, as_json: bool) -> None:
    """Forgets a checkpoint: the next pull reads from the start. Rows stay until it replaces them.

    \b
    Example:
        sis state reset airline.flights --partition 2013-03-01
    """
    _check_partition(stream, partition)
    engine, table, store = _raw(stream)
    about = f"{table.source}/{table.stream}"
    with engine.state.audit.act(table.tenant, "checkpoint.reset", about, partition=partition):
        if store.exists(table):
            store.set_checkpoint(table, None, partition)
        engine.state.checkpoints.forget(table, partition)
    if as_json:
        show_json({"stream": stream, "partition": partition or None, "reset": True})
        return
    tell(f"the checkpoint of {stream} {partition} is forgotten".replace("  ", " "))


def _check_partition(stream: str, key: str) -> None:
    """Raises ConfigError for what is no partition of the stream."""
    from superinsight_sync.model.window import window_of_key
    from superinsight_sync.pipeline.project import load_project

    if not key:
        return
    _, spec = load_project(load_settings()).stream(stream)
    if spec.partition is None:
        raise ConfigError(f"'{stream}' has no partitions", hint="Leave out --partition")
    try:
        window_of_key(spec.partition.by, key)
    except ValueError as error:
        raise ConfigError(
            f"'{key}' is no partition of '{stream}'", hint=f"See `sis state get {stream}`"
        ) from error


def _cursor(text: str, kind: str) -> Any:
    from datetime import datetime

    try:
        match kind:
            case "timestamp":
                return datetime.fromisoformat(text)
            case "integer":
                return int(text)
            case "json":
                return decode(text)
    except ValueError as error:
        raise ConfigError(f"'{text}' is no {kind}", hint="See `sis state set --help`") from error
    return text


def _raw(stream: str) -> tuple[Any, Any, Any]:
    from superinsight_sync.pipeline.engine import open_engine, table_of
    from superinsight_sync.pipeline.project import load_project

    source, spec = load_project(load_settings()).stream(stream)
    engine = open_engine()
    return engine, table_of(source, spec, "raw"), engine.store(source, spec, "raw")


@click.command("rollback")
@click.argument("load_id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@errors_shown
def rollback_command(load_id: str, yes: bool, as_json: bool) -> None:
    """Takes a load back: the table and its checkpoint are as before it.

    \b
    Example:
        sis history airline.flights
        sis rollback 20260131T235959-1a2b3c4d
    """
    from superinsight_sync.pipeline.engine import open_engine
    from superinsight_sync.pipeline.rollback import rollback, tables_of_load

    engine = open_engine()
    tables = tables_of_load(engine, load_id)
    if not yes:
        click.confirm(
            f"Take load {load_id} back from {', '.join(str(t) for t in tables)}?", abort=True, err=True
        )
    versions = rollback(engine, load_id)
    if as_json:
        show_json({"load_id": load_id, "tables": {str(t): v for t, v in versions.items()}})
        return
    for table, version in versions.items():
        tell(f"{table} is as before {load_id} (version {version})")


@click.command("history")
@click.argument("stream")
@click.option(
    "--stage",
    type=click.Choice(["raw", "refined", "quarantine"]),
    default="raw",
    show_default=True,
    help="Which of the stream's tables.",
)
@click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="Versions at most."
)
@json_option
@errors_shown
def history_command(stream: str, stage: Any, limit: int, as_json: bool) -> None:
    """Lists the versions of a stream's table: every load that can be taken back or read as of.

    \b
    Example:
        sis history airline.flights --stage refined
    """
    engine, table, _ = _raw(stream)
    versions = engine.lake.history(table.at(stage), limit) if engine.lake.exists(table.at(stage)) else []
    if as_json:
        show_json({"table": str(table.at(stage)), "versions": [vars(v) for v in versions]})
        return
    rows = [(v.version, f"{v.at:%Y-%m-%d %H:%M:%S}", v.operation, v.load_id, v.rows) for v in versions]
    show_table(
        f"Versions of {table.at(stage)}", ["version", "at (UTC)", "operation", "load", "rows"], rows, ["rows"]
    )


@click.command("quarantine")
@click.argument("stream")
@click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(1, 10_000), help="Records at most."
)
@click.option("--records", is_flag=True, help="Show the records themselves, not only rule and reason.")
@json_option
@errors_shown
def quarantine_command(stream: str, limit: int, records: bool, as_json: bool) -> None:
    """Lists the records set aside, with rule and reason. After a fix of the declaration `sis run` replays them.

    \b
    Example:
        sis quarantine airline.planes --records
    """
    from superinsight_sync.pipeline.inspect import set_aside

    engine, table, _ = _raw(stream)
    rows = set_aside(engine, table, limit)
    if not records:
        rows = [{k: v for k, v in row.items() if k != "record"} for row in rows]
    if as_json:
        show_json({"stream": stream, "records": rows})
        return
    columns = list(rows[0]) if rows else ["rule", "reason"]
    show_table(f"Quarantine of {stream}", columns, [tuple(r.values()) for r in rows])


@click.command("maintain")
@click.option(
    "--keep-days",
    default=7.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Days that old versions stay.",
)
@json_option
@errors_shown
def maintain_command(keep_days: float, as_json: bool) -> None:
    """Compacts tables, removes files of old versions and rows past their retention.

    \b
    Example:
        sis maintain --keep-days 30
    """
    from datetime import timedelta

    from superinsight_sync.pipeline.engine import open_engine
    from superinsight_sync.pipeline.project import load_project
    from superinsight_sync.pipeline.retain import maintain_lake

    sources = load_project(load_settings()).sources.values()
    done = maintain_lake(open_engine(), sources, file_retention=timedelta(days=keep_days))
    if as_json:
        show_json(done)
        return
    for action, count in sorted(done.items()):
        tell(f"{action.replace('_', ' ')}: {count}")
