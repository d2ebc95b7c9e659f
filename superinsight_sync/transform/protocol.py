"""What every refine step implements; one file in `steps/` is one step.

A step compiles to SQL for a locked-down DuckDB, so rows never become Python objects, memory has a hard limit
and big inputs spill to disk.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from superinsight_sync.core.plugins import Registry

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Reject:
    """Rows for which `condition` IS TRUE go to quarantine. SQL over the step's *input* columns.

    `reason` says what is wrong without any value; `column` is the one at fault, if it is one.
    """

    rule: str
    condition: str
    reason: str
    column: str | None = None


@dataclass(frozen=True)
class Compiled:
    """A step as SQL.

    Attributes:
        columns: output column → SQL expression over the input columns, in output order. Data columns only:
            the engine carries the system columns along.
        rejects: checked on the input before the columns are computed; the first that holds names the reason.
        types: output column → Arrow type, where the expression alone does not fix it.
        lineage: output column → input columns it is computed from.
        relation: for steps that are no row-by-row projection (dedupe, sql): a SELECT over ``{input}``.
            Then `columns` is empty, and the SELECT carries the system columns itself where it can.
        row_wise: whether each output row depends on one input row alone.
        counts_dropped_as: what the rows that `relation` leaves out are called in the result (`duplicates`).
    """

    columns: Mapping[str, str]
    types: Mapping[str, "pa.DataType"]
    lineage: Mapping[str, tuple[str, ...]]
    rejects: tuple[Reject, ...] = ()
    relation: str | None = None
    row_wise: bool = True
    counts_dropped_as: str | None = None


@dataclass(frozen=True)
class StepContext:
    """What a step may know: the stream's key and cursor, for defaults."""

    primary_key: tuple[str, ...] = ()
    cursor: str | None = None


class Step(Protocol):
    """One transform step. Made from its validated `Config`."""

    row_wise: ClassVar[bool]

    def __init__(self, config: Any) -> None: ...

    def compile(self, schema: "pa.Schema", context: StepContext) -> Compiled:
        """SQL for an input of this schema (data columns only).

        Raises ConfigError for a column that is not there (naming close ones), a type that cannot be cast,
        or an expression that is not safe.
        """
        ...


STEPS: Registry[Step] = Registry("superinsight_sync.transform.steps", "refine step")
