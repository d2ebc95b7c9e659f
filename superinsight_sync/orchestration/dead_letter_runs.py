"""Work that failed after its retries is done again, as a Dagster run like any other."""

import dagster as dg

from superinsight_sync.core.errors import ConfigError, SisError
from superinsight_sync.orchestration import keys
from superinsight_sync.orchestration.running import PlannedRun, RunOutcome, run_all
from superinsight_sync.pipeline.alert import send_again
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.state.dead_letters import DeadLetter


def _dataset_key(_datasets: str, name: str) -> dg.AssetKey:
    return keys.dataset_key(name)


def _entity_key(_entities: str, name: str) -> dg.AssetKey:
    return keys.entity_keys(name)[0]


_ASSETS = {
    "pull": keys.raw_key,
    "refine": keys.refined_key,
    "describe": keys.dictionary_key,
    "resolve": _entity_key,
    "export": _dataset_key,
}


def open_letter(engine: Engine, letter_id: int) -> DeadLetter:
    """Raises ConfigError if there is no such letter, or if it is closed."""
    found = engine.state.dead_letters.list(1, id=letter_id)
    if not found:
        raise ConfigError(
            f"there is no dead letter {letter_id}", hint="See `sis dead-letters list --state all`"
        )
    if found[0].state != "open":
        raise ConfigError(f"dead letter {letter_id} is {found[0].state} already")
    return found[0]


def replay_letter(engine: Engine, defs: dg.Definitions, letter: DeadLetter) -> RunOutcome:
    """Does the letter's work again, with its partitions and force, and closes the letter if it succeeds.

    What fails again leaves the letter open, and no second one.

    Raises ConfigError if the stream is not declared any more, or not with such partitions.
    """
    if letter.verb == "alert":
        return _sent(engine, letter)
    run = _run(defs, letter)
    outcome = run_all(defs, [run], force=bool(letter.payload.get("force")))
    if not outcome.errors:
        engine.state.dead_letters.mark(letter.id, "replayed")
    return outcome


def _sent(engine: Engine, letter: DeadLetter) -> RunOutcome:
    outcome = RunOutcome({})
    try:
        send_again(engine, letter)
    except SisError as error:
        outcome.errors.append(str(error))
        outcome.error_classes.add(type(error).__name__)
    else:
        engine.state.dead_letters.mark(letter.id, "replayed")
    return outcome


def _run(defs: dg.Definitions, letter: DeadLetter) -> PlannedRun:
    key = _ASSETS[letter.verb](letter.payload["source"], letter.payload["stream"])
    partitions = letter.payload["partitions"]
    graph = defs.resolve_asset_graph()
    where, hint = (
        f"dead letter {letter.id}",
        f"If it is not wanted any more: sis dead-letters discard {letter.id}",
    )
    if key not in graph.materializable_asset_keys:
        raise ConfigError(f"there is no asset '{key.to_user_string()}' any more", where=where, hint=hint)
    definition = graph.get(key).partitions_def
    known = set(definition.get_partition_keys()) if definition is not None else set()
    if bool(partitions) != (definition is not None) or not known.issuperset(partitions):
        raise ConfigError(
            f"'{key.to_user_string()}' has other partitions now than when the work failed",
            where=where,
            hint=hint,
        )
    return PlannedRun((key,), *((partitions[0], partitions[-1]) if partitions else ()))
