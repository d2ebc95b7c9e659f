"""What every refine step implements; one file in `steps/` is one step.

A step compiles to SQL for a locked-down DuckDB, so rows never become Python objects, memory has a hard limit
and big inputs spill to disk.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from superinsight_sync.core.duckdb_lookups import Lookup
from superinsight_sync.core.plugins import Registry
from superinsight_sync.security.mask_keys import Masking

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
        warnings: rows for which these hold pass, and are counted.
        computed: layers of: name of a column that expressions, conditions and later layers may use → the SQL
            expression it holds. What is used more than once belongs here: DuckDB moves conditions into a CASE and
            computes all of its branches, and planning takes as long as the SQL is.
        lookups: name of a column that expressions and conditions may use → where its values come from.
        secrets: name → bytes of the table `_sis_secret`, for expressions: a key never stands in SQL.
        hidden: input columns whose values never leave the raw table → SQL of what stands for a value in quarantine,
            made of the SQL of the value.
        drops: for steps that only leave rows out (dedupe): a SELECT over ``_sis_input`` (data and system
            columns, `_sis_row`) that gives the `_sis_row` of the rows to leave out. `columns` is empty then.
        relation: for steps that make new rows (sql): a SELECT over ``input``. `columns` is empty then, and
            the SELECT carries the system columns itself where it can.
        then: for steps of two parts: the second one, made for the columns that the first one gives.
        multiplies: whether one input row may become several.
        row_wise: whether each output row depends on one input row alone.
        counts_dropped_as: what the rows that `drops` or `relation` leave out are called in the result
            (`duplicates`).
    """

    columns: Mapping[str, str]
    types: Mapping[str, "pa.DataType"]
    lineage: Mapping[str, tuple[str, ...]]
    rejects: tuple[Reject, ...] = ()
    warnings: tuple[Reject, ...] = ()
    computed: tuple[Mapping[str, str], ...] = ()
    lookups: Mapping[str, Lookup] = field(default_factory=dict)
    secrets: Mapping[str, bytes] = field(default_factory=dict)
    hidden: Mapping[str, Callable[[str], str]] = field(default_factory=dict)
    drops: str | None = None
    relation: str | None = None
    row_wise: bool = True
    multiplies: bool = False
    then: "Callable[[pa.Schema], Compiled] | None" = None
    counts_dropped_as: str | None = None


@dataclass(frozen=True)
class StepContext:
    """What a step may know: the stream's key and cursor, for defaults, the system columns its rows have, and whose
    keys it masks with."""

    primary_key: tuple[str, ...] = ()
    cursor: str | None = None
    system: tuple[str, ...] = ()
    masking: Masking = field(default_factory=Masking)


class Step(Protocol):
    """One transform step. Made from its validated `Config`."""

    def __init__(self, config: Any) -> None: ...

    def compile(self, schema: "pa.Schema", context: StepContext) -> Compiled:
        """SQL for an input of this schema (data columns only).

        Raises ConfigError for a column that is not there (naming close ones), a type that cannot be cast,
        or an expression that is not safe.
        """
        ...


STEPS: Registry[Step] = Registry("superinsight_sync.transform.steps", "refine step")
