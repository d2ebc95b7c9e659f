"""Runs steps over a table and gives what came out as plain rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from superinsight_sync.model.declaration import StepSpec
from superinsight_sync.transform.engine import RowErrors, refine
from superinsight_sync.transform.protocol import StepContext


@dataclass(frozen=True)
class Outcome:
    """What a refine gave, read completely."""

    table: pa.Table
    quarantine: pa.Table
    quarantined: Mapping[str, int]
    dropped: Mapping[str, int]
    warned: Mapping[str, int]
    rows_read: int
    lineage: Mapping[str, tuple[str, ...]]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self.table.to_pylist()

    def column(self, name: str) -> list[Any]:
        return self.table[name].to_pylist()

    @property
    def records(self) -> list[dict[str, Any]]:
        return self.quarantine.to_pylist()


Run = Callable[..., Outcome]


def steps(*declared: dict[str, Any]) -> list[StepSpec]:
    """Steps as YAML declares them."""
    return [StepSpec.model_validate(d) for d in declared]


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    scratch = tmp_path_factory.mktemp("scratch")

    def run_steps(
        table: pa.Table | Mapping[str, Any],
        *declared: dict[str, Any],
        context: StepContext | None = None,
        batch_rows: int = 3,
        on_row_error: Any = "quarantine",
    ) -> Outcome:
        data = table if isinstance(table, pa.Table) else pa.table(dict(table))
        refined = refine(
            lambda: data.to_reader(batch_rows),
            steps(*declared),
            context or StepContext(),
            scratch_dir=scratch,
            memory_limit_bytes=256 << 20,
            row_errors=RowErrors(on_row_error),
        )
        with refined:
            outcome = Outcome(
                refined.open().read_all(),
                refined.open_quarantine().read_all(),
                refined.quarantined,
                refined.dropped,
                refined.warned,
                refined.rows_read,
                refined.lineage,
            )
            assert refined.rows_passed == outcome.table.num_rows
            assert sum(refined.quarantined.values()) == outcome.quarantine.num_rows
        assert list(Path(scratch).iterdir()) == []
        return outcome

    return run_steps
