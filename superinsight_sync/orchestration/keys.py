"""The only place for names: engine nouns → Dagster asset keys, groups, tags, kinds."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from superinsight_sync.model.dataset import DatasetSpec
from superinsight_sync.model.declaration import SourceSpec, StreamSpec
from superinsight_sync.model.entity import ENTITIES, EntitySpec
from superinsight_sync.orchestration.own_assets import TABLE

DATASETS_GROUP = "datasets"
LAKE, IO_MANAGER = "lake", "io_manager"
"""Keys of resources that every project has; every source is one too, under its name."""


def raw_key(source: str, stream: str) -> dg.AssetKey:
    return dg.AssetKey([source, f"raw_{stream}"])


def refined_key(source: str, stream: str) -> dg.AssetKey:
    return dg.AssetKey([source, stream])


def dictionary_key(source: str, stream: str) -> dg.AssetKey:
    return dg.AssetKey([source, f"{stream}_dictionary"])


def dataset_key(name: str) -> dg.AssetKey:
    return dg.AssetKey([DATASETS_GROUP, name])


def entity_keys(name: str) -> tuple[dg.AssetKey, dg.AssetKey]:
    """The entity's own asset, and that of its conflicts."""
    return dg.AssetKey([ENTITIES, name]), dg.AssetKey([ENTITIES, f"{name}_conflicts"])


def stream_of(key: dg.AssetKey, stage: str) -> str:
    """The stream whose asset of that stage the key is."""
    name = key.path[-1]
    return {"raw": name.removeprefix("raw_"), "dictionary": name.removesuffix("_dictionary")}.get(stage, name)


def work_of_step(step: str) -> tuple[str, str]:
    """The source and the stream of a step that was named for one; empty where it was not."""
    source, _, stream = step.partition("__")
    for suffix in ("_dictionary", "_checks"):
        stream = stream.removesuffix(suffix)
    return (source, stream) if stream else (step.removesuffix("_raw") if step.endswith("_raw") else "", "")


PRIORITY_TAG = "dagster/priority"
"""On a run: the higher, the earlier it leaves the queue."""
STREAM_PRIORITY = "sis/priority"
"""On a stream's assets, where one is declared: with which priority their runs are started."""


LANDED_BY = "sis/landed_by"
SERVED_BY_CAPTURE = (
    "`sis capture run` follows the source's change log and lands every change; no schedule is needed. "
    "Materialized by hand, the table is brought up to what has landed."
)
"""On the raw asset of a stream that no run lands: what does."""
SERVED_BY_DRAIN = (
    "**Realtime**: `sis drain` lands what is pushed, within about a second, and tells of it here without a run. "
    "No schedule or sensor starts one. Nothing new here while something is pushed: see whether the drain runs."
)


def _tags(stage: str, source: SourceSpec, stream: StreamSpec) -> dict[str, str]:
    tags = {"stage": stage, "tenant": source.tenant, "source": source.name}
    return {**tags, STREAM_PRIORITY: str(stream.priority)} if stream.priority else tags


def priority_of(
    key: dg.AssetKey, specs: Mapping[dg.AssetKey, dg.AssetSpec], below: frozenset[dg.AssetKey] = frozenset()
) -> int:
    """A stream's own; of what is made of several streams, the highest of theirs. 0 where none is declared."""
    spec = specs.get(key)
    if spec is None or key in below:
        return 0
    if STREAM_PRIORITY in spec.tags:
        return int(spec.tags[STREAM_PRIORITY])
    if "source" in spec.tags:
        return 0
    return max((priority_of(dep.asset_key, specs, below | {key}) for dep in spec.deps), default=0)


def raw_spec(
    source: SourceSpec,
    stream: StreamSpec,
    partitions: dg.PartitionsDefinition[str] | None,
    *,
    realtime: bool = False,
) -> dg.AssetSpec:
    """The asset that holds the stream as the source has it. What is `realtime` says that no run lands it."""
    said = stream.description or f"{stream.name} as {source.name} has it."
    by = "drain" if realtime else "capture" if stream.sync.mode == "capture" else None
    served = {"drain": SERVED_BY_DRAIN, "capture": SERVED_BY_CAPTURE}
    return dg.AssetSpec(
        raw_key(source.name, stream.name),
        description=f"{said}\n\n{served[by]}" if by else said,
        group_name=source.name,
        kinds={_kind_icon(source.connection["kind"]), _store_kind(stream.saves.raw.strategy)},
        owners=list(source.owners),
        tags={**_tags("raw", source, stream), **({LANDED_BY: by} if by else {})},
        partitions_def=partitions,
        metadata=_static(source, stream, "raw"),
    )


def refined_spec(
    source: SourceSpec, stream: StreamSpec, partitions: dg.PartitionsDefinition[str] | None
) -> dg.AssetSpec:
    """The asset people use: cleaned, typed, checked."""
    return dg.AssetSpec(
        refined_key(source.name, stream.name),
        deps=[raw_key(source.name, stream.name)],
        description=stream.description or f"{stream.name}, cleaned and typed: the table to use.",
        group_name=source.name,
        kinds={"duckdb", _store_kind(stream.saves.refined.strategy)},
        owners=list(source.owners),
        tags=_tags("refined", source, stream),
        partitions_def=partitions,
        automation_condition=follows_upstream() if stream.raw_outlives_its_run else None,
        metadata=_static(source, stream, "refined"),
    )


def dictionary_spec(source: SourceSpec, stream: StreamSpec) -> dg.AssetSpec:
    """The asset that says what the stream's fields mean."""
    return dg.AssetSpec(
        dictionary_key(source.name, stream.name),
        deps=[refined_key(source.name, stream.name)],
        description=f"What the fields of {stream.name} mean.",
        group_name=source.name,
        kinds={"json", "markdown"},
        owners=list(source.owners),
        tags=_tags("dictionary", source, stream),
        automation_condition=follows_upstream(),
    )


def dataset_asset_spec(spec: DatasetSpec) -> dg.AssetSpec:
    """The asset that is a versioned training dataset."""
    return dg.AssetSpec(
        dataset_key(spec.name),
        deps=[dg.AssetKey(key.split("/")) for key in spec.inputs.values()],
        description=spec.description or f"Training dataset {spec.name}.",
        group_name=DATASETS_GROUP,
        kinds={"duckdb", *spec.formats},
        owners=list(spec.owners),
        tags={"stage": "dataset", "tenant": spec.tenant},
        automation_condition=follows_upstream(),
    )


def entity_specs(spec: EntitySpec) -> list[dg.AssetSpec]:
    """The assets of an entity: one row for each thing, and one for each conflict ever seen."""
    things, conflicts = entity_keys(spec.name)
    deps = [dg.AssetKey(stream.stream.split("/")) for stream in spec.streams]
    texts = {
        things: spec.description or f"One row for each {spec.name}, made of the records of several streams.",
        conflicts: f"Every conflict of {spec.name} ever seen, and how it ended.",
    }
    return [
        dg.AssetSpec(
            key,
            deps=deps,
            description=text,
            group_name=ENTITIES,
            kinds={"duckdb", "deltalake"},
            owners=list(spec.owners),
            tags={"stage": "entity", "tenant": spec.tenant},
            automation_condition=follows_upstream(),
            metadata={
                TABLE: f"{spec.tenant}/{ENTITIES}/{key.path[-1]}",
                "dagster/table_name": f"{spec.tenant}.{ENTITIES}.{key.path[-1]}",
            },
        )
        for key, text in texts.items()
    ]


def follows_upstream() -> dg.AutomationCondition[Any]:
    """New data upstream asks for it, in whatever partition the data is.

    Dagster's `eager` looks at the newest partition alone, waits until no partition of any input is missing, and
    goes on over a blocking check that failed in a run of its own. Here every input needs some rows, and none may
    have a failed blocking check.
    """
    condition = dg.AutomationCondition
    asked = (condition.newly_missing() | condition.any_deps_updated()).since_last_handled()
    blocked = condition.any_deps_match(
        condition.any_checks_match(condition.check_failed(), blocking_only=True)
    )
    return (
        asked
        & condition.all_deps_match(~condition.missing())
        & ~blocked
        & ~condition.any_deps_in_progress()
        & ~condition.in_progress()
    ).with_label("follows_upstream")


def resources(source: SourceSpec) -> set[str]:
    """The resources that the assets of a source require."""
    return {source.name, LAKE}


def pool(source: SourceSpec) -> str:
    """The pool that limits how many runs touch the source at once."""
    return f"source_{source.name}"


def _static(source: SourceSpec, stream: StreamSpec, stage: str) -> Mapping[str, Any]:
    return {"dagster/table_name": f"{source.tenant}.{source.name}.{stream.name}.{stage}"}


_ICONS = {"postgres": "postgres", "mysql": "mysql", "sqlite": "sqlite", "files": "file"}


def _kind_icon(kind: str) -> str:
    return _ICONS.get(kind, kind)


def _store_kind(strategy: str) -> str:
    return {"persistent": "deltalake", "memory": "memory", "hybrid": "deltalake", "database": "sql"}[strategy]
