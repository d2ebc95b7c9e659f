"""Commands on values that disagree: conflicts list, show, resolve, assign, undo, undo-load, split, decisions, learn."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from superinsight_sync.cli.output import errors_shown, json_option, show_json, show_table, tell
from superinsight_sync.core.errors import ConfigError

if TYPE_CHECKING:
    from superinsight_sync.pipeline.engine import Engine
    from superinsight_sync.pipeline.project import Project

_NEXT = "It is carried out when the entity is resolved next: sis run entities/{0}"
_by = click.option("--by", help="Who decides. Default: the user of this process.")
_note = click.option("--note", default="", help="Why, for those who look later.")


@click.group("conflicts")
def conflicts_command() -> None:
    """Shows where sources disagree about one thing, and takes people's decisions.

    \b
    Example:
        sis conflicts list
    """


@conflicts_command.command("list")
@click.argument("entity", required=False)
@click.option(
    "--state",
    type=click.Choice(["waiting", "resolved", "decided", "ended", "all"]),
    default="waiting",
    show_default=True,
    help="Only in this state.",
)
@click.option(
    "--limit", default=100, show_default=True, type=click.IntRange(1, 10_000), help="Conflicts at most."
)
@json_option
@errors_shown
def conflicts_list(entity: str | None, state: str, limit: int, as_json: bool) -> None:
    """Lists conflicts of one entity or of all, the most urgent first.

    \b
    Example:
        sis conflicts list customer --state all
    """
    from superinsight_sync.pipeline.review import list_conflicts

    engine, project = _engine(), _project()
    specs = [project.entity(entity)] if entity else list(project.entities.values())
    wanted = None if state == "all" else state
    found = [c for spec in specs for c in list_conflicts(engine, project, spec, state=wanted, limit=limit)]
    found = sorted(found, key=lambda c: -c.priority)[:limit]
    if as_json:
        show_json({"conflicts": [asdict(c) for c in found]})
        return
    rows = [
        (
            c.conflict_id[:8],
            c.entity,
            c.field,
            c.type,
            c.state,
            len(c.claims),
            f"{c.since:%Y-%m-%d %H:%M}",
            c.assigned_to,
        )
        for c in found
    ]
    columns = ["id", "entity", "field", "type", "state", "values", "since (UTC)", "assigned to"]
    show_table("Conflicts", columns, rows, ["values"])


@conflicts_command.command("show")
@click.argument("conflict")
@json_option
@errors_shown
def conflicts_show(conflict: str, as_json: bool) -> None:
    """Shows a conflict: the values, whose they are since when, what was agreed last, and what it reaches.

    \b
    Example:
        sis conflicts show 3f9a01c2
    """
    from superinsight_sync.pipeline.review import find_conflict

    _, found = find_conflict(_engine(), _project(), conflict)
    if as_json:
        show_json(asdict(found))
        return
    shown = {k: v for k, v in asdict(found).items() if k not in ("claims", "signature")}
    shown["downstream"] = ", ".join(found.downstream)
    show_table(
        f"Conflict {found.conflict_id[:8]}",
        ["", "value"],
        [(k.replace("_", " "), v) for k, v in shown.items()],
    )
    rows = [
        (
            "NULL" if c.value is None else c.value,
            c.streams,
            f"{c.since:%Y-%m-%d %H:%M:%S}",
            ", ".join(c.loads),
        )
        for c in found.claims
    ]
    show_table("Values", ["value", "streams", "since (UTC)", "loads"], rows)


@conflicts_command.command("resolve")
@click.argument("conflict")
@click.option("--take", help="The stream whose value is right, such as crm/customers.")
@click.option("--value", help="The right value: one of those that contend, or another.")
@click.option("--null", is_flag=True, help="The field has no value.")
@_note
@_by
@json_option
@errors_shown
def conflicts_resolve(
    conflict: str, take: str | None, value: str | None, null: bool, note: str, by: str | None, as_json: bool
) -> None:
    """Decides a conflict. The decision is kept, and holds whenever the same values disagree again.

    \b
    Example:
        sis conflicts resolve 3f9a01c2 --take crm/customers --note "asked her"
        sis conflicts resolve 3f9a01c2 --value "+49 30 1234"
    """
    from superinsight_sync.pipeline.review import decide, find_conflict

    given = {"take": take, "value": value, "null": "" if null else None}
    chosen = {name: text for name, text in given.items() if text is not None}
    if len(chosen) != 1:
        raise ConfigError("give one of --take, --value and --null")
    engine = _engine()
    spec, found = find_conflict(engine, _project(), conflict)
    number = decide(engine, spec, found, by or _user(), note=note, **chosen)
    _told(number, spec.name, as_json=as_json)


@conflicts_command.command("assign")
@click.argument("conflict")
@click.argument("person", required=False)
@click.option("--nobody", is_flag=True, help="It is nobody's again.")
@json_option
@errors_shown
def conflicts_assign(conflict: str, person: str | None, nobody: bool, as_json: bool) -> None:
    """Says who looks after a waiting conflict.

    \b
    Example:
        sis conflicts assign 3f9a01c2 li@example.com
    """
    from superinsight_sync.pipeline.review import find_conflict

    if nobody == bool(person):
        raise ConfigError("name a person or give --nobody")
    engine = _engine()
    spec, found = find_conflict(engine, _project(), conflict)
    if not engine.state.reviews.assign(spec.tenant, spec.name, found.conflict_id, person):
        raise ConfigError(f"conflict {found.conflict_id[:8]} does not wait: it is {found.state}")
    if as_json:
        show_json({"conflict": found.conflict_id, "assigned_to": person})
        return
    tell(f"{found.conflict_id[:8]} is {f'assigned to {person}' if person else 'free again'}")


@conflicts_command.command("undo")
@click.argument("decision", type=int)
@_by
@json_option
@errors_shown
def conflicts_undo(decision: int, by: str | None, as_json: bool) -> None:
    """Takes a decision back: of a conflict, of a split, or that a load does not count. Later decisions stay.

    \b
    Example:
        sis conflicts undo 12
    """
    from superinsight_sync.pipeline.review import undo

    done = undo(_engine(), decision, by or _user())
    if as_json:
        show_json({"undone": done.id, "entity": done.entity})
        return
    tell(f"decision {done.id} is taken back. {_NEXT.format(done.entity)}")


@conflicts_command.command("undo-load")
@click.argument("entity")
@click.argument("load")
@_note
@_by
@json_option
@errors_shown
def conflicts_undo_load(entity: str, load: str, note: str, by: str | None, as_json: bool) -> None:
    """Makes the entity as if a load of one of its streams had never come; what came after it counts.

    \b
    Example:
        sis conflicts undo-load customer 20260131T235959-1a2b3c4d
    """
    from superinsight_sync.pipeline.review import undo_load

    spec = _project().entity(entity)
    _told(undo_load(_engine(), spec, load, by or _user(), note=note), spec.name, as_json=as_json)


@conflicts_command.command("split")
@click.argument("entity")
@click.argument("records", nargs=-1, required=True)
@_note
@_by
@json_option
@errors_shown
def conflicts_split(entity: str, records: tuple[str, ...], note: str, by: str | None, as_json: bool) -> None:
    """Says that records are a thing of their own, whatever matches. RECORDS are as the column `records` shows them.

    \b
    Example:
        sis conflicts split customer 'shop/customers ["81"]' 'crm/customers ["4"]'
    """
    from superinsight_sync.pipeline.review import split

    pairs = [(stream, key) for stream, _, key in (record.partition(" ") for record in records)]
    spec = _project().entity(entity)
    _told(split(_engine(), spec, pairs, by or _user(), note=note), spec.name, as_json=as_json)


@conflicts_command.command("decisions")
@click.argument("entity")
@click.option("--undone", is_flag=True, help="Also those that were taken back.")
@json_option
@errors_shown
def conflicts_decisions(entity: str, undone: bool, as_json: bool) -> None:
    """Lists what people decided about an entity, in order.

    \b
    Example:
        sis conflicts decisions customer --undone
    """
    spec = _project().entity(entity)
    found = _engine().state.decisions.of(spec.tenant, spec.name, undone=undone)
    if as_json:
        show_json({"decisions": [asdict(d) for d in found]})
        return
    rows = [
        (d.id, d.kind, d.field, f"{d.at:%Y-%m-%d %H:%M}", d.decided_by, d.note, d.undone_by) for d in found
    ]
    show_table("Decisions", ["id", "kind", "field", "at (UTC)", "by", "note", "taken back by"], rows, ["id"])


@conflicts_command.command("learn")
@click.argument("entity")
@click.option(
    "--precision",
    default=0.95,
    show_default=True,
    type=click.FloatRange(0.5, 1, max_open=True),
    help="The share of reviewed cases in which `trust` must have been right to decide alone.",
)
@_by
@json_option
@errors_shown
def conflicts_learn(entity: str, precision: float, by: str | None, as_json: bool) -> None:
    """Learns how far each stream can be trusted, for the strategy `trust`; what it learned can be taken back.

    \b
    Example:
        sis conflicts learn customer
    """
    from superinsight_sync.pipeline.learn import learn_trust

    spec = _project().entity(entity)
    decides = learn_trust(_engine(), spec, by or _user(), precision=precision)
    if as_json:
        show_json({"entity": spec.name, "decides": decides})
        return
    names = ", ".join(sorted(decides)) or "no field: too few cases were reviewed, or it was wrong too often"
    tell(f"trust decides {names}. {_NEXT.format(spec.name)}")


def _told(number: int, entity: str, *, as_json: bool) -> None:
    if as_json:
        show_json({"decision": number, "entity": entity})
        return
    tell(f"decision {number}. {_NEXT.format(entity)}")


def _user() -> str:
    import getpass

    return getpass.getuser()


def _project() -> "Project":
    from superinsight_sync.core.settings import load_settings
    from superinsight_sync.pipeline.project import load_project

    return load_project(load_settings())


def _engine() -> "Engine":
    from superinsight_sync.pipeline.engine import open_engine

    return open_engine()
