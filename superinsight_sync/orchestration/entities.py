"""Entities as Dagster assets: one step that makes the entity and its conflicts. The body only hands over."""

from collections.abc import Iterator

import dagster as dg

from superinsight_sync.model.entity import ENTITIES, EntitySpec
from superinsight_sync.model.results import ResolveResult
from superinsight_sync.orchestration import keys, metadata
from superinsight_sync.orchestration.failures import failures_shown
from superinsight_sync.orchestration.resources import lake_resource
from superinsight_sync.orchestration.run_engine import engine_of, is_forced


def entity_asset(spec: EntitySpec) -> dg.AssetsDefinition:
    """The assets of one entity. Both are made whichever of them is asked for: they are one commit of knowledge."""

    @dg.multi_asset(
        name=f"entities__{spec.name}",
        specs=keys.entity_specs(spec),
        can_subset=True,
        required_resource_keys={keys.LAKE},
    )
    def resolve_asset(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        from superinsight_sync.pipeline.resolve import resolve_entity

        with failures_shown(ENTITIES, spec.name):
            result = resolve_entity(engine_of(context), spec, force=is_forced(context))
        yield from (r for r in _results(spec, result) if r.asset_key in context.selected_asset_keys)

    return resolve_asset


def _results(spec: EntitySpec, result: ResolveResult) -> Iterator[dg.MaterializeResult[None]]:
    made = dg.DataVersion(result.load_id) if result.load_id else None
    found = metadata.of_resolve(result, spec)
    for key, told in zip(keys.entity_keys(spec.name), found, strict=True):
        yield dg.MaterializeResult(asset_key=key, metadata=told, data_version=made)


def entity_definitions(spec: EntitySpec) -> dg.Definitions:
    """The assets and the schedule of one entity."""
    schedules = []
    if spec.schedule:
        schedules.append(
            dg.ScheduleDefinition(
                name=f"entities_{spec.name}",
                cron_schedule=spec.schedule,
                target=dg.AssetSelection.assets(*keys.entity_keys(spec.name)),
                execution_timezone="UTC",
                default_status=dg.DefaultScheduleStatus.RUNNING,
                tags={"tenant": spec.tenant},
            )
        )
    return dg.Definitions(
        assets=[entity_asset(spec)], schedules=schedules, resources={keys.LAKE: lake_resource()}
    )
