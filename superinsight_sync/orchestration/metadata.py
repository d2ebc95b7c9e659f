"""Results → Dagster metadata: numbers, names and documents; never a customer's value."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import dagster as dg

from superinsight_sync.model.dataset import DatasetSpec
from superinsight_sync.model.entity import OWN_COLUMNS, EntitySpec
from superinsight_sync.model.results import (
    CheckOutcome,
    ColumnInfo,
    ConnectionReport,
    DescribeResult,
    ExportResult,
    PullResult,
    RefineResult,
    ResolveResult,
)

Metadata = dict[str, Any]


def table_schema(columns: Sequence[ColumnInfo]) -> dg.TableSchema:
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                c.name,
                c.type,
                description=c.description or None,
                constraints=dg.TableColumnConstraints(nullable=c.nullable),
            )
            for c in columns
        ]
    )


def schema_of(columns: Sequence[ColumnInfo]) -> Metadata:
    """The columns as Dagster shows them."""
    return {"dagster/column_schema": table_schema(columns)}


def column_lineage(lineage: Mapping[str, Sequence[tuple[dg.AssetKey, str]]]) -> dg.TableColumnLineage:
    return dg.TableColumnLineage(
        {
            out: [dg.TableColumnDep(asset_key=key, column_name=name) for key, name in deps]
            for out, deps in lineage.items()
        }
    )


def _cursor(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def of_pull(result: PullResult) -> Metadata:
    """Metadata of a raw asset."""
    stats = result.stats
    found: Metadata = {
        "sis/load_id": result.load_id,
        "sis/unchanged": result.unchanged,
        "sis/rows_read": stats.rows,
        "sis/bytes_read": stats.size_bytes,
        "sis/bytes_written": result.size_bytes,
        "sis/seconds": round(stats.seconds, 3),
        "sis/retries": result.retries,
        "sis/columns": len(result.columns),
        "dagster/row_count": result.table_rows,
    }
    if result.columns:
        found["dagster/column_schema"] = table_schema(result.columns)
    if result.version is not None:
        found["sis/lake_version"] = result.version
    if any(stats.nulls.values()):
        found["sis/nulls"] = dg.MetadataValue.json({k: v for k, v in stats.nulls.items() if v})
    if stats.cursor_after is not None:
        found["sis/cursor_before"] = _cursor(stats.cursor_before)
        found["sis/cursor_after"] = _cursor(stats.cursor_after)
    if result.unreadable:
        found["sis/unreadable"] = result.unreadable
    found |= {f"sis/{name}": number for name, number in result.of_source.items()}
    if stats.replaced_values:
        found["sis/values_set_to_null"] = dg.MetadataValue.json(dict(stats.replaced_values))
    if stats.discarded_rows or stats.discarded_values:
        found["sis/discarded_by_contract"] = dg.MetadataValue.json(
            {"rows": stats.discarded_rows, "values": dict(stats.discarded_values)}
        )
    if result.deleted or result.returned:
        found["sis/deleted"], found["sis/returned"] = result.deleted, result.returned
    if result.warnings:
        found["sis/warnings"] = dg.MetadataValue.md("\n".join(f"- {w}" for w in result.warnings))
    if result.schema_changes:
        found["sis/schema_changes"] = dg.MetadataValue.md("\n".join(f"- {c}" for c in result.schema_changes))
    return found


def of_connection(report: ConnectionReport) -> Metadata:
    """Metadata of a connection test."""
    found: Metadata = {"sis/kind": report.kind, "sis/server": report.server}
    if report.ok:
        found["sis/latency_ms"] = round(report.latency_ms, 1)
    found |= {f"sis/{name}": value for name, value in report.details.items()}
    if report.warnings:
        found["sis/warnings"] = dg.MetadataValue.md("\n".join(f"- {w}" for w in report.warnings))
    if report.error_class:
        found["sis/error_class"] = report.error_class
    return found


def of_refine(result: RefineResult, raw: dg.AssetKey) -> Metadata:
    """Metadata of a refined asset."""
    found: Metadata = {
        "sis/load_id": result.load_id,
        "sis/unchanged": result.unchanged,
        "sis/rows_read": result.rows_read,
        "sis/rows_written": result.rows_written,
        "sis/quarantined": sum(result.quarantined.values()),
        "sis/duplicates": result.duplicates,
        "sis/bytes_written": result.size_bytes,
        "sis/seconds": round(result.seconds, 3),
        "dagster/row_count": result.table_rows,
    }
    if result.columns:
        found["dagster/column_schema"] = table_schema(result.columns)
    if result.lineage:
        found["dagster/column_lineage"] = column_lineage(
            {o: [(raw, c) for c in d] for o, d in result.lineage.items()}
        )
    if result.version is not None:
        found["sis/lake_version"] = result.version
    if result.quarantined:
        found["sis/quarantine_by_rule"] = dg.MetadataValue.json(dict(result.quarantined))
    return found


def of_describe(result: DescribeResult) -> Metadata:
    """Metadata of a dictionary asset."""
    return {
        "sis/fields": result.fields,
        "sis/seconds": round(result.seconds, 3),
        "sis/unchanged": result.unchanged,
        "sis/fingerprint": result.fingerprint[:16],
        "sis/llm_fields": result.llm_fields,
        "sis/llm_tokens": result.tokens,
        "sis/file": dg.MetadataValue.path(result.path),
        "sis/dictionary": dg.MetadataValue.md(result.markdown),
        **(
            {"sis/warnings": dg.MetadataValue.md("\n".join(f"- {w}" for w in result.warnings))}
            if result.warnings
            else {}
        ),
    }


def of_export(result: ExportResult, spec: DatasetSpec) -> Metadata:
    """Metadata of a dataset asset."""
    lineage = {
        out: [(dg.AssetKey(spec.inputs[alias].split("/")), column) for alias, column in deps]
        for out, deps in result.lineage.items()
    }
    return {
        "dagster/row_count": result.rows,
        "sis/version": result.version,
        "sis/unchanged": result.unchanged,
        "sis/bytes_written": result.size_bytes,
        "sis/seconds": round(result.seconds, 3),
        "sis/folder": dg.MetadataValue.path(result.path),
        "sis/files": dg.MetadataValue.md("\n".join(f"- `{f}`" for f in result.files)),
        "sis/report": dg.MetadataValue.md(result.report_markdown),
        **{f"sis/rows_{split}": rows for split, rows in result.rows_by_split.items()},
        **({"dagster/column_schema": table_schema(result.columns)} if result.columns else {}),
        **({"dagster/column_lineage": column_lineage(lineage)} if lineage else {}),
    }


def of_resolve(result: ResolveResult, spec: EntitySpec) -> tuple[Metadata, Metadata]:
    """Metadata of an entity's asset, and of that of its conflicts."""
    columns = {s.stream: s.columns for s in spec.streams}
    lineage = {
        c.name: [
            (dg.AssetKey(stream.split("/")), c.name if mapped is None else mapped[c.name])
            for stream, mapped in columns.items()
            if mapped is None or c.name in mapped
        ]
        for c in result.columns
        if c.name not in OWN_COLUMNS
    }
    things: Metadata = {
        "dagster/row_count": result.rows,
        "sis/load_id": result.load_id,
        "sis/unchanged": result.unchanged,
        "sis/seconds": round(result.seconds, 3),
        "sis/entities_touched": result.touched,
        "sis/new_versions_of_records": result.new_versions,
        "sis/input_versions": dg.MetadataValue.json(dict(result.input_versions)),
        **schema_of(result.columns),
        "dagster/column_lineage": column_lineage(lineage),
    }
    if result.warnings:
        things["sis/warnings"] = dg.MetadataValue.md("\n".join(f"- {w}" for w in result.warnings))
    conflicts: Metadata = {
        "dagster/row_count": result.conflict_rows,
        "sis/load_id": result.load_id,
        "sis/unchanged": result.unchanged,
        "sis/waiting_for_review": result.waiting,
        **{f"sis/{state}": count for state, count in sorted(result.conflicts.items())},
        **schema_of(result.conflict_columns),
    }
    return things, conflicts


def of_check(outcome: CheckOutcome) -> Metadata:
    """Metadata of an asset check: counts, never values."""
    found: Metadata = {
        "sis/expectation": outcome.type,
        "sis/checked": outcome.checked,
        "sis/failed": outcome.failed,
    }
    found["sis/failed_percent"] = round(100 * outcome.failed_share, 4)
    if outcome.column:
        found["sis/column"] = outcome.column
    if outcome.observed is not None:
        found["sis/observed"] = outcome.observed
    if outcome.error:
        found["sis/check_error"] = outcome.error
    return found
