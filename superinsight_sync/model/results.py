"""What the verbs return: numbers and names, never values of customers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ColumnInfo:
    """A column as people see it. `type` is the Arrow type's text."""

    name: str
    type: str
    source_type: str = ""
    nullable: bool = True
    description: str = ""


@dataclass(frozen=True)
class ReadStats:
    """Statistics of one read. `nulls` by column; `size_bytes` as `docs/reference/kinds.md` defines it; `cursor_*`
    as landed."""

    rows: int = 0
    columns: int = 0
    size_bytes: int = 0
    batches: int = 0
    nulls: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    cursor_before: Any = None
    cursor_after: Any = None
    replaced_values: Mapping[str, int] = field(default_factory=dict)
    """Values the target cannot hold and that were set to NULL (infinite dates, zero dates), by column."""
    least: Mapping[str, Any] = field(default_factory=dict)
    """The least value by column, of numbers, dates, times and truth values."""
    greatest: Mapping[str, Any] = field(default_factory=dict)
    discarded_rows: int = 0
    """Rows that the schema contract left out or set aside."""
    discarded_values: Mapping[str, int] = field(default_factory=dict)
    """Values that the schema contract left out, by column."""


@dataclass(frozen=True)
class PullResult:
    """What a pull did. `unchanged` means that nothing landed: the source said that nothing is new and nothing was read,
    or all of it was read (`stats.rows`) and is what the table holds.

    `table_rows` is what the raw table holds after it.
    """

    stream: str
    stats: ReadStats
    version: int | None
    load_id: str
    size_bytes: int = 0
    table_rows: int = 0
    unreadable: int = 0
    """Records that could not even be read; they are kept with their reason."""
    unchanged: bool = False
    nothing_yet: bool = False
    """Nothing has come of the stream: there is no table, and nothing downstream can be made."""
    partitions: tuple[str, ...] = ()
    rows_by_partition: Mapping[str, int] = field(default_factory=dict)
    columns: tuple[ColumnInfo, ...] = ()
    schema_changes: tuple[str, ...] = ()
    deleted: int = 0
    """Records found gone from the source, and marked or removed."""
    returned: int = 0
    """Records that were marked as gone and are back."""
    retries: int = 0
    of_source: Mapping[str, int | float] = field(default_factory=dict)
    """Numbers that the source itself tells of the load, by name."""
    warnings: tuple[str, ...] = ()
    """What a person should look at: rows that may be missed, and what to do."""


@dataclass(frozen=True)
class RefineResult:
    """What a refine did. `quarantined` by rule name; `lineage` maps a column to the raw columns it came from.

    `table_rows` is what the refined table holds after it.
    """

    stream: str
    rows_read: int
    rows_written: int
    version: int | None
    load_id: str
    size_bytes: int = 0
    seconds: float = 0.0
    table_rows: int = 0
    unchanged: bool = False
    duplicates: int = 0
    quarantined: Mapping[str, int] = field(default_factory=dict)
    columns: tuple[ColumnInfo, ...] = ()
    lineage: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    partitions: tuple[str, ...] = ()
    rows_by_partition: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckOutcome:
    """One expectation's result. `error` is set when the check itself failed to run: that says nothing of the data."""

    name: str
    passed: bool
    severity: str
    type: str
    column: str | None = None
    checked: int = 0
    failed: int = 0
    observed: str | None = None
    error: str | None = None

    @property
    def failed_share(self) -> float:
        return self.failed / self.checked if self.checked else 0.0


@dataclass(frozen=True)
class DescribeResult:
    """What a describe did. `markdown` is the dictionary's readable twin."""

    stream: str
    fields: int
    path: str
    markdown: str
    fingerprint: str
    seconds: float = 0.0
    unchanged: bool = False
    llm_fields: int = 0
    tokens: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExportResult:
    """What an export did. `rows_by_split`, files relative to `path`."""

    dataset: str
    version: str
    path: str
    rows: int
    size_bytes: int
    files: tuple[str, ...]
    rows_by_split: Mapping[str, int]
    report_markdown: str
    seconds: float = 0.0
    unchanged: bool = False
    columns: tuple[ColumnInfo, ...] = ()
    lineage: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    """Column → ((name of the input in the SELECT, column), …)."""


@dataclass(frozen=True)
class ConnectionReport:
    """What the test of one source found. `error` is set if it failed."""

    source: str
    kind: str
    ok: bool
    server: str = ""
    latency_ms: float = 0.0
    warnings: tuple[str, ...] = ()
    error: str | None = None
    error_class: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    """What else the kind tells of itself, such as whether this account could write a local file."""


@dataclass(frozen=True)
class ResolveResult:
    """What a resolve did. `conflicts` counts those of the entities it touched, by state.

    `rows` and `conflict_rows` are what the two tables hold after it, `waiting` how many conflicts wait for review.
    """

    entity: str
    rows: int
    touched: int
    new_versions: int
    waiting: int
    conflict_rows: int
    version: int | None
    load_id: str
    conflicts: Mapping[str, int] = field(default_factory=dict)
    input_versions: Mapping[str, int] = field(default_factory=dict)
    columns: tuple[ColumnInfo, ...] = ()
    conflict_columns: tuple[ColumnInfo, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    unchanged: bool = False
