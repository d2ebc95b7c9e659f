"""What runs would read and write, asset by asset, without making one."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import dagster as dg
from dagster import AssetKey, AssetSpec

from superinsight_sync.orchestration.keys import stream_of
from superinsight_sync.orchestration.own_assets import REASON, TABLE, text
from superinsight_sync.orchestration.running import PlannedRun
from superinsight_sync.pipeline import plan
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.pipeline.plan import PlannedAsset
from superinsight_sync.pipeline.project import Project


def plan_assets(
    defs: dg.Definitions, runs: Sequence[PlannedRun], project: Project, engine: Engine
) -> list[PlannedAsset]:
    """A line for each asset of the runs, in the order they would be made."""
    graph = defs.resolve_asset_graph()
    specs = {spec.key: spec for spec in defs.resolve_all_asset_specs()}
    place = {key: i for i, key in enumerate(graph.toposorted_asset_keys)}
    planned: dict[AssetKey, PlannedAsset] = {}
    for run in runs:
        for key in sorted(run.assets, key=place.__getitem__):
            parents = sorted(graph.get(key).parent_keys)
            upstream = [planned[k] for k in parents if k in planned]
            upstream += [_broken(specs[k]) for k in parents if k in specs and REASON in specs[k].metadata]
            found = _planned(specs[key], _keys(graph, key, run), upstream, project, engine)
            planned[key] = replace(found, asset=key.to_user_string())
    return list(planned.values())


def _keys(graph: Any, key: AssetKey, run: PlannedRun) -> tuple[str, ...]:
    definition = graph.get(key).partitions_def
    if definition is None or run.first is None or run.last is None:
        return ()
    return tuple(definition.get_partition_keys_in_range(dg.PartitionKeyRange(run.first, run.last)))


def _planned(
    spec: AssetSpec,
    partitions: tuple[str, ...],
    upstream: Sequence[PlannedAsset],
    project: Project,
    engine: Engine,
) -> PlannedAsset:
    stage = spec.tags.get("stage", "")
    if REASON in spec.metadata:
        return _broken(spec)
    if stage == "dataset":
        return plan.plan_dataset(engine, project.dataset(spec.key.path[-1]), upstream)
    if "source" not in spec.tags:
        place = f"{text(spec.metadata[TABLE])}/refined" if TABLE in spec.metadata else ""
        reads = sorted(d.asset_key.to_user_string() for d in spec.deps)
        return plan.plan_own(reads, place, upstream).over(partitions)
    source = project.source(spec.tags["source"])
    stream = source.stream(stream_of(spec.key, stage))
    if stage == "raw":
        return plan.plan_raw(engine, source, stream, partitions)
    if stage == "refined":
        return plan.plan_refined(engine, source, stream, partitions, upstream)
    return plan.plan_dictionary(engine, source, stream, upstream)


def _broken(spec: AssetSpec) -> PlannedAsset:
    reason = text(spec.metadata[REASON])
    return PlannedAsset("error", "fails", f"fail: {reason}", asset=spec.key.to_user_string())
