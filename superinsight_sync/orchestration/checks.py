"""Declared expectations as Dagster asset checks: blocking where critical."""

from collections.abc import Iterator

import dagster as dg

from superinsight_sync.core.settings import load_settings
from superinsight_sync.model.declaration import SourceSpec, StreamSpec
from superinsight_sync.model.results import CheckOutcome
from superinsight_sync.orchestration import keys, metadata
from superinsight_sync.orchestration.failures import failures_shown
from superinsight_sync.orchestration.partitions import partitions_definition, tagged_keys
from superinsight_sync.orchestration.run_engine import engine_of


def stream_checks(source: SourceSpec, stream: StreamSpec) -> dg.AssetChecksDefinition | None:
    """All checks of a stream's refined table as one step; None if it declares none.

    They have no partitions of their own: a partitioned check in a run over a range is shown as skipped. What they
    look at is still the run's partitions alone.
    """
    if not stream.expect:
        return None
    from superinsight_sync.quality.expectations import check_name

    key = keys.refined_key(source.name, stream.name)
    specs = [
        dg.AssetCheckSpec(
            check_name(e),
            asset=key,
            blocking=e.severity == "critical",
        )
        for e in stream.expect
    ]

    @dg.multi_asset_check(
        name=f"{source.name}__{stream.name}_checks",
        specs=specs,
        required_resource_keys=keys.resources(source),
    )
    def check(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        from superinsight_sync.pipeline.check import check_stream

        with failures_shown(source.name, stream.name):
            keys_of_run = tagged_keys(context.run.tags, partitions_definition(stream.partition))
            outcomes = check_stream(engine_of(context), source, stream, partitions=keys_of_run)
        yield from (_result(key, o) for o in outcomes)

    return check


def connection_check(source: SourceSpec) -> dg.AssetChecksDefinition:
    """The connection test of a source, on the raw asset of its first stream."""

    @dg.asset_check(
        asset=keys.raw_key(source.name, source.streams[0].name),
        name="connection",
        required_resource_keys=keys.resources(source),
        description="Whether the source can be reached with these credentials, and what they may do.",
    )
    def connection() -> dg.AssetCheckResult:
        from superinsight_sync.pipeline.inspect import probe_source

        report = probe_source(source, load_settings())
        return dg.AssetCheckResult(
            passed=report.ok,
            severity=dg.AssetCheckSeverity.ERROR,
            description=report.error or "; ".join(report.warnings) or None,
            metadata=metadata.of_connection(report),
        )

    return connection


def capture_check(source: SourceSpec, stream: StreamSpec) -> dg.AssetChecksDefinition:
    """Whether the log that a captured stream comes from is followed, as the capture itself last said."""

    @dg.asset_check(
        asset=keys.raw_key(source.name, stream.name),
        name="capture",
        description="Whether `sis capture run` follows the source's change log, and how far it is behind.",
    )
    def capture() -> dg.AssetCheckResult:
        from superinsight_sync.pipeline.capture_health import capture_health

        health = capture_health(load_settings(), source)
        return dg.AssetCheckResult(
            passed=health.ok,
            severity=dg.AssetCheckSeverity.ERROR,
            description=health.problem,
            metadata={f"sis/{name}": value for name, value in health.numbers.items()},
        )

    return capture


def _result(key: dg.AssetKey, outcome: CheckOutcome) -> dg.AssetCheckResult:
    critical = outcome.severity == "critical"
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=outcome.name,
        passed=outcome.passed,
        severity=dg.AssetCheckSeverity.ERROR if critical else dg.AssetCheckSeverity.WARN,
        description=f"The check itself failed: {outcome.error}" if outcome.error else None,
        metadata=metadata.of_check(outcome),
    )
