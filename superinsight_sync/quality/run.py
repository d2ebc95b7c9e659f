"""Runs a stream's declared expectations: built-in checks on DuckDB, the others on Great Expectations."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from superinsight_sync.core.settings import Settings
from superinsight_sync.model.declaration import ExpectSpec
from superinsight_sync.model.results import CheckOutcome
from superinsight_sync.quality.builtin import Finding, Surroundings, run_builtin
from superinsight_sync.quality.expectations import BUILTIN_CHECKS, check_name, parse_builtin

if TYPE_CHECKING:
    import pyarrow.dataset


def run_checks(
    expectations: Sequence[ExpectSpec],
    *,
    dataset: "pyarrow.dataset.Dataset",
    references: "Callable[[str], pyarrow.dataset.Dataset]",
    source_count: Callable[[], int | None],
    now: datetime,
    settings: Settings | None = None,
) -> list[CheckOutcome]:
    """An outcome for each expectation, in order. It holds numbers and never values of the data.

    Args:
        expectations: what `validate_specs` let pass.
        dataset: the table; only the columns that checks need are read.
        references: gives the refined table of a `<source>/<stream>`; an SisError becomes the outcome's
            error.
        source_count: how many rows the source has now, None if it cannot tell. Asked only
            if a check wants to know.
        now: aware UTC, for freshness.
        settings: the memory limit over which the built-in checks spill to disk, and where to.
    """
    around = Surroundings(references, source_count, now)
    if settings is not None:
        around = replace(
            around, memory_limit_bytes=settings.memory_limit_bytes, scratch_dir=settings.scratch_dir
        )
    builtin = [i for i, spec in enumerate(expectations) if spec.type in BUILTIN_CHECKS]
    declared = [i for i, spec in enumerate(expectations) if spec.type not in BUILTIN_CHECKS]
    findings: dict[int, Finding] = {}
    if builtin:
        checks = [parse_builtin(expectations[i]) for i in builtin]
        findings |= zip(builtin, run_builtin(checks, dataset, around), strict=True)
    if declared:
        from superinsight_sync.quality.gx import run_gx

        findings |= zip(declared, run_gx([expectations[i] for i in declared], dataset), strict=True)
    return [_outcome(spec, findings[i]) for i, spec in enumerate(expectations)]


def _outcome(spec: ExpectSpec, finding: Finding) -> CheckOutcome:
    column = spec.arguments.get("column")
    return CheckOutcome(
        name=check_name(spec),
        passed=finding.passed and finding.error is None,
        severity=spec.severity,
        type=spec.type,
        column=column if isinstance(column, str) else None,
        checked=finding.checked,
        failed=finding.failed,
        observed=finding.observed,
        error=finding.error,
    )
