"""Runs a selection of assets in this process, as Dagster runs that the UI shows."""

import os
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from difflib import get_close_matches
from typing import Any

import dagster as dg
from dagster import AssetKey, DagsterInstance

from superinsight_sync.core.errors import ConfigError, SisError
from superinsight_sync.model.entity import ENTITIES
from superinsight_sync.orchestration import keys
from superinsight_sync.orchestration.partitions import KEY_TAG, RANGE_END_TAG, RANGE_START_TAG
from superinsight_sync.orchestration.run_engine import FORCE_TAG
from superinsight_sync.pipeline.partition_range import aware

_INTERRUPTED = dg.DagsterExecutionInterruptedError.__name__
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class PlannedRun:
    """One Dagster run: assets that can share it, and the partition range it covers."""

    assets: tuple[AssetKey, ...]
    first: str | None = None
    last: str | None = None


@dataclass
class AssetOutcome:
    """What happened to one asset: metadata of its last materialization, and its checks."""

    asset: str
    stage: str
    materialized: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)
    rows: int = 0
    checks_passed: int = 0
    checks_failed: int = 0
    checks_broken: int = 0
    """Those of the failed ones that could not be run: they say nothing of the data."""
    checks_warned: int = 0
    error: str | None = None


@dataclass
class RunOutcome:
    """What happened to a selection."""

    assets: dict[str, AssetOutcome]
    run_ids: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    error_classes: set[str] = field(default_factory=set)
    stopped: bool = False
    """Whether it was told to stop: nothing more of it is begun."""

    @property
    def exit_code(self) -> int:
        """0 ok, 2 configuration, 3 data over threshold or a blocking check that found it bad, 1 anything else."""
        if not self.errors:
            return 0
        if self.error_classes & {"ThresholdError", "DataError"}:
            return 3
        return 2 if self.error_classes == {"ConfigError"} else 1


def select(defs: dg.Definitions, selection: str) -> set[AssetKey]:
    """The assets of a selection: a source (`airline`), a stream (`airline.flights`: its raw, refined and dictionary
    assets), one asset's key (`airline/flights`), the name of a dataset or an entity, or Dagster's own
    syntax (`key:airline/flights+`).

    Raises ConfigError if nothing matches.
    """
    graph = defs.resolve_asset_graph()
    known = {k.to_user_string(): k for k in graph.materializable_asset_keys}
    source, dot, stream = selection.partition(".")
    if dot and f"{source}/{stream}" in known:
        chain = (keys.raw_key, keys.refined_key, keys.dictionary_key)
        return {key for name in chain if (key := name(source, stream)) in known.values()}
    for name in (selection, f"{keys.DATASETS_GROUP}/{selection}", f"{ENTITIES}/{selection}"):
        if name in known:
            return {known[name]}
    by_group = {k for k in known.values() if graph.get(k).group_name == selection}
    return by_group or _selected(graph, selection, known)


def _selected(graph: Any, selection: str, known: Collection[str]) -> set[AssetKey]:
    close = get_close_matches(selection.replace(".", "/"), known, n=1, cutoff=0.5)
    hint = f"Did you mean '{close[0]}'? " if close else ""
    hint += f"Assets: {', '.join(sorted(known)[:30])}{', …' if len(known) > 30 else ''}"
    try:
        found = dg.AssetSelection.from_string(selection).resolve(graph)
    except dg.DagsterError as error:
        raise ConfigError(
            f"'{selection}' is no source, stream, dataset, asset or asset selection", hint=hint
        ) from error
    if not found:
        raise ConfigError(f"'{selection}' selects nothing", hint=hint)
    return set(found)


def plan_runs(
    defs: dg.Definitions, assets: set[AssetKey], *, since: str | None = None, until: str | None = None
) -> list[PlannedRun]:
    """The runs that materialize `assets`, upstream first.

    Assets that share partitions run together over the range ``[since, until]`` of partition keys (default: all).
    Before them runs what they may need, after them what needs them.
    """
    graph = defs.resolve_asset_graph()
    partitioned = {k for k in assets if graph.get(k).partitions_def is not None}
    late = {k for k in assets - partitioned if _ancestors(graph, k) & partitioned}
    early = assets - partitioned - late
    groups: dict[Any, list[AssetKey]] = {}
    for key in sorted(partitioned):
        groups.setdefault(graph.get(key).partitions_def, []).append(key)
    runs = [PlannedRun(tuple(sorted(early)))] if early else []
    for definition, members in groups.items():
        runs.append(PlannedRun(tuple(members), *_range(definition, since, until)))
    return [*runs, PlannedRun(tuple(sorted(late)))] if late else runs


def plan_backfill(defs: dg.Definitions, assets: set[AssetKey], since: str, until: str) -> list[PlannedRun]:
    """One run per set of partitions over the range. What has no partitions is left out: it follows by automation.

    Raises ConfigError if nothing selected has partitions.
    """
    graph = defs.resolve_asset_graph()
    partitioned = {k for k in assets if graph.get(k).partitions_def is not None}
    if not partitioned:
        names = ", ".join(sorted(k.to_user_string() for k in assets))
        raise ConfigError(f"{names}: has no partitions to backfill", hint="Use `sis run --force`")
    return plan_runs(defs, partitioned, since=since, until=until)


def _ancestors(graph: Any, key: AssetKey) -> set[AssetKey]:
    found: set[AssetKey] = set()
    waiting = [key]
    while waiting:
        parents = graph.get(waiting.pop()).parent_keys - found
        found |= parents
        waiting.extend(parents)
    return found


def _range(definition: Any, since: str | None, until: str | None) -> tuple[str, str]:
    known = definition.get_partition_keys()
    first = None if since is None else _key(definition, known, since)
    last = None if until is None else _key(definition, known, until)
    chosen = [k for k in known if (first is None or k >= first) and (last is None or k <= last)]
    if not chosen:
        raise ConfigError(
            f"no partition between {since or 'the first'} and {until or 'the last'}",
            hint=f"There are {known[0]} to {known[-1]}" if known else "No partition exists yet",
        )
    return chosen[0], chosen[-1]


def _key(definition: Any, known: Sequence[str], text: str) -> str:
    """The key of the partition that holds a date, if `text` is no key itself."""
    if text in known:
        return text
    try:
        at = aware(datetime.fromisoformat(text))
    except ValueError as error:
        raise ConfigError(
            f"'{text}' is neither a date nor a partition", hint="Write it like 2026-01-31"
        ) from error
    wanted: str = at.strftime(definition.fmt)
    before = [k for k in known if k <= wanted]
    if not before or at >= definition.time_window_for_partition_key(before[-1]).end:
        return wanted
    return before[-1]


_LOOK_S = 0.2


def instance() -> DagsterInstance:
    """The project's Dagster instance, the one the UI shows. Its storage is made by one process at a time."""
    from superinsight_sync.core.settings import load_settings
    from superinsight_sync.orchestration.storage import alone

    settings = load_settings()
    os.environ.setdefault("DAGSTER_HOME", str(settings.project_dir))
    settings.home.mkdir(parents=True, exist_ok=True)
    with alone(settings.home / "dagster-opening"):
        return DagsterInstance.get()


def stop_served_runs(within_s: float) -> None:
    """Ends the runs that Dagster's own processes have under way, as the UI does, and waits until they have ended.

    Those outlive the processes that started them. Runs of `sis run` are not among them.
    """
    with instance() as dagster:
        under_way = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED])
        told = [
            run.run_id for run in dagster.get_runs(under_way) if dagster.run_launcher.terminate(run.run_id)
        ]
        give_up_at = time.monotonic() + within_s
        while any((run := dagster.get_run_by_id(i)) and not run.is_finished for i in told):
            if time.monotonic() >= give_up_at:
                return
            time.sleep(_LOOK_S)


def run_all(defs: dg.Definitions, runs: Sequence[PlannedRun], *, force: bool = False) -> RunOutcome:
    """Executes the runs one after the other; a failed run stops what is downstream of it alone.

    With `force` everything is read and made anew even where nothing changed.
    """
    graph = defs.resolve_asset_graph()
    outcome = RunOutcome({})
    for run in runs:
        for key in run.assets:
            stage = graph.get(key).tags.get("stage", "")
            outcome.assets[key.to_user_string()] = AssetOutcome(key.to_user_string(), stage)
    with instance() as dagster:
        tried: set[AssetKey] = set()
        for run in runs:
            bad = {k for k in tried if not _is_good(outcome, k)}
            sound = tuple(k for k in run.assets if not _ancestors(graph, k) & bad)
            tried |= set(run.assets)
            if sound and not outcome.stopped:
                _execute(defs, dagster, replace(run, assets=sound), outcome, force=force)
    return outcome


def _execute(
    defs: dg.Definitions, dagster: DagsterInstance, run: PlannedRun, outcome: RunOutcome, *, force: bool
) -> None:
    job = defs.resolve_implicit_global_asset_job_def()
    tags = {FORCE_TAG: "true"} if force else {}
    if run.first is not None and run.last is not None:
        span = {RANGE_START_TAG: run.first, RANGE_END_TAG: run.last}
        tags |= span if run.first != run.last else {KEY_TAG: run.first}
    result = job.execute_in_process(
        instance=dagster, asset_selection=list(run.assets), tags=tags, raise_on_error=False, run_config=_QUIET
    )
    outcome.run_ids.append(result.run_id)
    before = len(outcome.errors)
    for event in result.all_events:
        _take(event, outcome)
    if result.success:
        return
    if len(outcome.errors) == before:
        for event in result.all_events:
            if event.event_type_value == "PIPELINE_FAILURE":
                _failed(event, outcome)
    if not outcome.stopped and (skipped := _skipped(defs, run, outcome, result.all_events)):
        _execute(defs, dagster, PlannedRun(skipped, run.first, run.last), outcome, force=force)


def _skipped(
    defs: dg.Definitions, run: PlannedRun, outcome: RunOutcome, events: Sequence[Any]
) -> tuple[AssetKey, ...]:
    """Assets the run never came to although what they need was made: a stream beside theirs failed."""
    graph = defs.resolve_asset_graph()
    started = {e.step_key for e in events if e.event_type_value == "STEP_START"}
    waiting = {k for k in run.assets if graph.get(k).assets_def.node_def.name not in started}
    made = {k for k in run.assets if _is_good(outcome, k)}
    ready = {k for k in waiting if graph.get(k).parent_keys & set(run.assets)}
    while blocked := {k for k in ready if graph.get(k).parent_keys & set(run.assets) - made - ready}:
        ready -= blocked
    return tuple(sorted(ready))


def _is_good(outcome: RunOutcome, key: AssetKey) -> bool:
    found = outcome.assets[key.to_user_string()]
    return found.materialized and not found.checks_failed


def _take(event: Any, outcome: RunOutcome) -> None:
    match event.event_type_value:
        case "ASSET_MATERIALIZATION":
            found = outcome.assets.get(event.asset_key.to_user_string())
            if found:
                _materialized(found, event.materialization.metadata)
        case "ASSET_CHECK_EVALUATION":
            _checked(outcome, event.asset_check_evaluation_data)
        case "STEP_FAILURE":
            _failed(event, outcome)


def _materialized(found: AssetOutcome, metadata: Any) -> None:
    values = {k: v.value for k, v in metadata.items()}
    found.rows = int(values.get("dagster/row_count", 0))
    found.materialized, found.metadata = True, values


def _checked(outcome: RunOutcome, evaluation: Any) -> None:
    found = outcome.assets.get(evaluation.asset_key.to_user_string())
    if found is None:
        return
    if evaluation.passed:
        found.checks_passed += 1
    elif evaluation.severity == dg.AssetCheckSeverity.ERROR:
        found.checks_failed += 1
        if error := evaluation.metadata.get("sis/check_error"):
            found.checks_broken += 1
            outcome.errors.append(
                f"check {evaluation.check_name} of {found.asset} could not run: {error.value}"
            )
        elif evaluation.blocking:
            outcome.error_classes.add("DataError")
    else:
        found.checks_warned += 1


def _failed(event: Any, outcome: RunOutcome) -> None:
    data = event.event_specific_data
    error = getattr(data, "error", None)
    if error is None:
        return
    failure = getattr(data, "user_failure_data", None)
    if failure is not None:
        outcome.errors.append(failure.description or error.message)
        outcome.error_classes |= set(_classes(failure.metadata))
    else:
        deepest = error
        while deepest.cause is not None:
            deepest = deepest.cause
        if deepest.cls_name == _INTERRUPTED:
            outcome.stopped = True
            outcome.errors.append("it was stopped; what had landed before is kept")
            return
        outcome.errors.append(deepest.message.strip())
        outcome.error_classes.add(deepest.cls_name or "Exception")


def _classes(metadata: Any) -> Iterator[str]:
    value = metadata.get("sis/error_class")
    yield from value.value.split(", ") if value is not None else [SisError.__name__]
