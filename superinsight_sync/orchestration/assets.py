"""Asset factories: the engine's verbs as Dagster assets. Bodies only hand over."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import dagster as dg

from superinsight_sync.core.errors import SisError
from superinsight_sync.core.stopping import ended
from superinsight_sync.model.dataset import DatasetSpec
from superinsight_sync.model.declaration import SourceSpec, StreamSpec
from superinsight_sync.model.results import PullResult, RefineResult
from superinsight_sync.orchestration import keys, metadata
from superinsight_sync.orchestration.failures import all_failures, failures_shown, told
from superinsight_sync.orchestration.partitions import partitions_definition, run_keys
from superinsight_sync.orchestration.run_engine import engine_of, is_forced, stopped_if_left
from superinsight_sync.security.secrets import redact

Result = Iterator[dg.MaterializeResult[None]]


def raw_assets(
    source: SourceSpec, streams: Sequence[StreamSpec], name: str, realtime: frozenset[str]
) -> dg.AssetsDefinition:
    """The raw assets of streams that share partitions, as one step that pulls them side by side."""
    partitions = partitions_definition(streams[0].partition)

    @dg.multi_asset(
        name=name,
        specs=[keys.raw_spec(source, s, partitions, realtime=s.name in realtime) for s in streams],
        can_subset=True,
        required_resource_keys=keys.resources(source),
        backfill_policy=dg.BackfillPolicy.single_run() if partitions else None,
        pool=keys.pool(source),
        op_tags={keys.PRIORITY_TAG: str(max(s.priority or 0 for s in streams))},
    )
    def pull(context: dg.AssetExecutionContext) -> Result:
        wanted = [s for s in streams if keys.raw_key(source.name, s.name) in context.selected_asset_keys]
        yield from _pull_side_by_side(context, source, wanted)

    return pull


def _pull_side_by_side(
    context: dg.AssetExecutionContext, source: SourceSpec, streams: list[StreamSpec]
) -> Result:
    """Pulls within the source's limit; each stream materializes as it lands, failures are told at the end."""
    from superinsight_sync.pipeline.merging import pull_captured
    from superinsight_sync.pipeline.pull import pull_stream

    engine, partitions = engine_of(context), run_keys(context)
    by_priority = sorted(streams, key=lambda s: -(s.priority or 0))
    failed: dict[str, SisError] = {}
    limit = min(source.max_concurrency, max(len(streams), 1))
    with ThreadPoolExecutor(limit) as threads, stopped_if_left(engine, threads):
        running = {
            threads.submit(
                pull_captured if s.sync.mode == "capture" else pull_stream,
                engine,
                source,
                s,
                partitions=partitions,
                force=is_forced(context),
            ): s
            for s in by_priority
        }
        for future in ended(running):
            stream = running[future]
            if (error := future.exception()) is not None:
                failed[stream.name] = told(error)
                context.log.error(redact(str(failed[stream.name])))
                continue
            result = future.result()
            key = keys.raw_key(source.name, stream.name)
            if result.nothing_yet:
                context.log.info(
                    f"nothing has come of {key.to_user_string()} yet: what is downstream waits too"
                )
                continue
            _count_partitions(context, key, result.rows_by_partition)
            yield dg.MaterializeResult(
                asset_key=key,
                metadata=metadata.of_pull(result),
                data_version=_of_load(result),
            )
    if failed:
        raise all_failures(failed, source.name)


def _version(made: str) -> dg.DataVersion | None:
    """What Dagster compares: equal where nothing new was made."""
    return dg.DataVersion(made) if made else None


def _of_load(result: PullResult | RefineResult) -> dg.DataVersion | None:
    """The load's. Partitions of one run may be of several loads."""
    return None if result.partitions else _version(result.load_id)


def _count_partitions(context: dg.AssetExecutionContext, key: dg.AssetKey, rows: Mapping[str, int]) -> None:
    """Each partition's own row count, since a range's run gives all its partitions the same metadata otherwise."""
    for partition in run_keys(context) if rows else ():
        count = {"dagster/partition_row_count": rows.get(partition, 0)}
        context.add_asset_metadata(count, asset_key=key, partition_key=partition)


def refined_asset(source: SourceSpec, stream: StreamSpec) -> dg.AssetsDefinition:
    """The refined asset of one stream."""
    partitions = partitions_definition(stream.partition)

    @dg.multi_asset(
        name=f"{source.name}__{stream.name}",
        specs=[keys.refined_spec(source, stream, partitions)],
        required_resource_keys=keys.resources(source),
        backfill_policy=dg.BackfillPolicy.single_run() if partitions else None,
    )
    def refine_asset(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        from superinsight_sync.pipeline import meanings, refine

        engine, parts, force = engine_of(context), run_keys(context), is_forced(context)
        with failures_shown(source.name, stream.name):
            result = refine.refine_stream(engine, source, stream, partitions=parts, force=force)
            known = meanings.of_stream(engine, source, stream)
        _count_partitions(context, keys.refined_key(source.name, stream.name), result.rows_by_partition)
        result = replace(result, columns=meanings.told(result.columns, known))
        raw = keys.raw_key(source.name, stream.name)
        return dg.MaterializeResult(metadata=metadata.of_refine(result, raw), data_version=_of_load(result))

    return refine_asset


def dictionary_asset(source: SourceSpec, stream: StreamSpec) -> dg.AssetsDefinition:
    """The dictionary asset of one stream."""
    refined = keys.refined_key(source.name, stream.name)

    @dg.multi_asset(
        name=f"{source.name}__{stream.name}_dictionary",
        specs=[keys.dictionary_spec(source, stream)],
        required_resource_keys=keys.resources(source),
    )
    def describe_asset(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        from superinsight_sync.pipeline import describe, meanings

        engine = engine_of(context)
        with failures_shown(source.name, stream.name):
            result = describe.describe_stream(engine, source, stream, force=is_forced(context))
            schema = metadata.schema_of(meanings.described(engine, source, stream))
        if not result.unchanged:
            context.log_event(dg.AssetObservation(refined, metadata=schema))
        known = {**metadata.of_describe(result), **schema}
        return dg.MaterializeResult(metadata=known, data_version=_version(result.fingerprint))

    return describe_asset


def dataset_asset(spec: DatasetSpec) -> dg.AssetsDefinition:
    """The asset of one dataset."""

    @dg.multi_asset(
        name=f"datasets__{spec.name}",
        specs=[keys.dataset_asset_spec(spec)],
        required_resource_keys={keys.LAKE},
    )
    def export_asset(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        from superinsight_sync.pipeline import export, meanings

        engine = engine_of(context)
        with failures_shown(keys.DATASETS_GROUP, spec.name):
            result = export.export_dataset(engine, spec, force=is_forced(context))
            known = meanings.of_dataset(engine, spec, result.lineage)
        result = replace(result, columns=meanings.told(result.columns, known))
        made = _version(result.version)
        return dg.MaterializeResult(metadata=metadata.of_export(result, spec), data_version=made)

    return export_asset
