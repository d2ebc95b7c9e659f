"""The YAML vocabulary: what a user declares. Pure data; a wrong key, type or value is refused by pydantic."""

from datetime import date, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from superinsight_sync.model.sync import SyncSpec as SyncSpec
from superinsight_sync.model.window import PartitionUnit
from superinsight_sync.model.written import NAME_PATTERN as NAME_PATTERN
from superinsight_sync.model.written import RESERVED_PREFIX as RESERVED_PREFIX
from superinsight_sync.model.written import Cron as Cron
from superinsight_sync.model.written import Duration as Duration
from superinsight_sync.model.written import Name as Name
from superinsight_sync.model.written import Size as Size
from superinsight_sync.model.written import SourceName as SourceName

Severity = Literal["critical", "warning"]
PLACES = ("table", "query", "path", "collection", "endpoint", "operation", "topic")
"""The keys that say where a stream's records are; a stream has exactly one."""


class Declared(BaseModel):
    """Base of everything in YAML: frozen, an unknown key is refused, field docs become the JSON schema."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class PartitionSpec(Declared):
    """Time partitions over the cursor column; a partition is the unit of replay and repair. Times are UTC."""

    by: PartitionUnit
    """How long one partition is. Weeks start on Sunday."""
    start: date | datetime
    """The first partition."""
    end: date | datetime | None = None
    """Where partitions stop (exclusive). Default: they go on as time passes."""


class SaveSpec(Declared):
    """Where one stage's rows are kept."""

    strategy: Literal["persistent", "memory", "hybrid", "database"] = "persistent"
    """persistent: the lake. memory: only for the run's next steps. hybrid: memory below `max_memory`,
    else the lake. database: a SQL table."""
    max_memory: Size = 64 * 10**6
    """Most bytes kept in memory: over it `memory` fails and `hybrid` goes to the lake."""
    dsn: str | None = None
    """`database`: SQLAlchemy-style URL, by reference: "{{ env.WAREHOUSE_DSN }}"."""
    table: str | None = None
    """`database`: target table, `schema.table`. Default: `<source>.<stream>`."""
    retention: Duration | None = None
    """Rows landed longer ago than this are removed. Default: kept."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.strategy == "database") != (self.dsn is not None):
            raise ValueError("`dsn` belongs to strategy: database, which needs it")
        return self


Reaction = Literal["evolve", "freeze", "discard_row", "discard_value", "quarantine"]


class SchemaContract(Declared):
    """What happens when the source's columns are no longer those of the table. One word sets both keys."""

    columns: Reaction = "evolve"
    """A new column: take it, stop the pull, leave out the rows that have a value in it, leave out the
    column, or set those rows aside with the reason. A missing one: NULL for the new rows; `freeze` stops."""
    types: Reaction = "evolve"
    """A column of another type: widen the table (at worst to text), stop the pull, leave out the rows whose
    value does not fit the table's type, make such values NULL, or set those rows aside with the reason."""


def _contract_shorthand(value: object) -> object:
    return {"columns": value, "types": value} if isinstance(value, str) else value


Contract = Annotated[
    SchemaContract, BeforeValidator(_contract_shorthand, json_schema_input_type=Reaction | SchemaContract)
]


def _save_shorthand(value: object) -> object:
    return {"strategy": value} if isinstance(value, str) else value


Save = Annotated[SaveSpec, BeforeValidator(_save_shorthand, json_schema_input_type=str | SaveSpec)]


class SavePlan(Declared):
    """Save strategies of a stream's two tables, each a name or an object."""

    raw: Save = SaveSpec()
    """Where rows are kept as the source has them."""
    refined: Save = SaveSpec()
    """Where the cleaned rows are kept. Datasets and checks of other streams read it from the lake."""


class FormatSpec(Declared):
    """How files are read. What is left out is detected."""

    type: Literal["csv", "tsv", "json", "jsonl", "parquet", "xml", "excel", "avro", "orc"] | None = None
    """What the files are. Default: by name and content."""
    compression: Literal["none", "gzip", "zstd", "bz2", "xz", "zip"] | None = None
    """How they are compressed. Default: by name and content. Every file in a `zip` is a file of the stream."""
    encoding: str = "utf-8"
    """The text's encoding, by its Python name. Default for XML: what its first line says."""
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    """What stands between two cells. Default: detected among `,` `;` tab and `|`."""
    quote: str = Field(default='"', min_length=1, max_length=1)
    """What stands around a cell that holds delimiters."""
    header: bool = True
    """Whether the first row of a CSV or sheet holds the column names."""
    skip_rows: int = Field(default=0, ge=0)
    """Lines of a CSV before its header, or before its first record."""
    folders: bool = False
    """Whether folders like `year=2023` in the files' names become columns: text, or as `columns` says."""
    record: str | None = Field(default=None, min_length=1)
    """The XML element that is a row: its path from the root, such as `orders/order`, or its name.
    Default: the root's children."""
    sheet: str | int = 0
    """The Excel sheet, by its name or its place (0 is the first)."""
    null_values: tuple[str, ...] = ("",)
    """Unquoted CSV cells that mean NULL."""
    columns: dict[str, str] | None = None
    """Declared column types (`decimal(12,2)`, `timestamp`, …); text stays text without one."""


class ExpectSpec(BaseModel):
    """One expectation of a refined table: a built-in check or a type of Great Expectations, with its arguments."""

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True)

    type: str
    """not_null, unique, range, set, reference, freshness, row_count, or expect_… of Great Expectations."""
    name: str | None = Field(default=None, pattern=NAME_PATTERN)
    """Name of the asset check. Default: made of type and column."""
    severity: Severity = "warning"
    """A failed `critical` check blocks everything downstream."""

    @property
    def arguments(self) -> dict[str, Any]:
        """Every key but type, name and severity."""
        return dict(self.__pydantic_extra__ or {})


class StepSpec(BaseModel):
    """One refine step: `step` names it, the other keys are its configuration."""

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True)

    step: str
    """map, cast, dedupe, standardise, rule or sql."""

    @property
    def arguments(self) -> dict[str, Any]:
        """Every key but `step`."""
        return dict(self.__pydantic_extra__ or {})


class FieldSpec(Declared):
    """What a person says of a field; it always wins over rules and LLM."""

    description: str | None = None
    """What the field means, one sentence."""
    unit: str | None = None
    """The unit of its values, such as `EUR` or `mile`."""
    semantic_type: str | None = None
    """What kind of thing it holds, such as `email` or `identifier`."""
    sensitivity: Literal["public", "internal", "personal", "secret"] | None = None
    """Who may see its values."""


class DictionarySpec(Declared):
    """How the stream is described."""

    language: str = "en"
    """The language descriptions are written in, such as `en` or `zh`."""
    use_llm: bool = True
    """Whether an LLM may improve the description if OPENAI_API_KEY is set. It sees the profile, never rows."""
    fields: dict[str, FieldSpec] = {}
    """Column → what a person says of it."""


class StreamDefaults(Declared):
    """What a stream does where it says nothing itself."""

    on_row_error: Literal["quarantine", "fail"] = "quarantine"
    """What happens to a record that fails a step: set aside with its reason, or stop the run."""
    max_row_errors: int | None = Field(default=None, ge=0)
    """More failed records than this stop the run; nothing is published. Default: no limit."""
    max_row_error_share: float | None = Field(default=None, ge=0, le=1)
    """The same as a share of the records read, 0 to 1."""
    schedule: Cron | None = None
    """When the stream is pulled, in UTC. Default: only when somebody asks."""
    priority: int | None = None
    """The higher it is, the earlier the stream is read, and its run started. Default: 0."""
    save: SavePlan | None = None
    """Where the raw and the refined rows are kept."""
    schema_contract: Contract | None = None
    """What happens when the source's columns change. Default: `evolve`."""


class StreamSpec(StreamDefaults):
    """One table, query or folder of a source, and what becomes of it."""

    name: Name
    """The stream's name in asset keys and table paths."""
    table: str | None = None
    """`schema.table` of a database."""
    query: str | None = None
    """One SELECT of a database. It is parsed, refused if it could write, and run read-only."""
    path: str | None = None
    """File name or glob, relative to the source's folder: `weather/*.csv`."""
    collection: str | None = None
    """A collection of a document database."""
    endpoint: str | None = None
    """An endpoint of an API, relative to its base URL: `v1/orders`."""
    operation: str | None = None
    """An operation of a SOAP service."""
    topic: str | None = None
    """A topic of a message log: a Kafka topic, a Redis stream."""
    options: dict[str, Any] = {}
    """What the source's kind needs to know of the stream besides its place: see the kind's page."""
    format: FormatSpec | None = None
    """How the files of `path` are read."""
    description: str | None = None
    """What the stream holds, shown in the UI."""
    primary_key: tuple[str, ...] = ()
    """Columns that identify a record: for merge, dedupe and the dictionary."""
    sync: SyncSpec = SyncSpec()
    """How the stream is read and landed."""
    partition: PartitionSpec | None = None
    """Time partitions over the cursor. Default: none."""
    refine: tuple[StepSpec, ...] = ()
    """The steps from raw to refined rows, in order. Default: rows are taken over as they are."""
    expect: tuple[ExpectSpec, ...] = ()
    """Checks of the refined rows."""
    dictionary: DictionarySpec = DictionarySpec()
    """How the stream is described."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        places = [p for p in PLACES if getattr(self, p) is not None]
        if len(places) != 1:
            raise ValueError(
                f"a stream needs exactly one of {', '.join(PLACES)}; found {', '.join(places) or 'none'}"
            )
        if self.sync.mode == "capture":
            self._check_captured()
        if self.sync.deletes != "ignore" and not self.primary_key:
            raise ValueError("deletes are found by comparing keys; declare the primary_key")
        if self.sync.disposition == "merge" and not self.primary_key:
            raise ValueError("disposition: merge needs a primary_key")
        if self.partition and not (self.sync.mode == "incremental" and self.sync.by == "timestamp"):
            raise ValueError("partitions need sync: {mode: incremental, by: timestamp, cursor: …}")
        if self.partition and self.sync.disposition not in (None, "replace"):
            raise ValueError("a partition's run replaces its window; leave out `disposition`")
        if not self.partition and self.sync.mode == "incremental" and self.sync.disposition == "replace":
            raise ValueError(
                "disposition: replace would drop what earlier incremental runs landed; use append or merge"
            )
        kept_only_for_run = self.save is not None and self.save.raw.strategy in ("memory", "hybrid")
        if kept_only_for_run and self.sync.mode == "incremental" and not self.partition:
            raise ValueError("an incremental stream needs a durable raw table; use save: {raw: persistent}")
        return self

    def _check_captured(self) -> None:
        if not self.primary_key:
            raise ValueError("mode: capture needs the primary_key: changes are brought together by it")
        if self.query is not None:
            raise ValueError("a query has no change log; capture its tables")
        if self.saves.raw.strategy != "persistent":
            raise ValueError("mode: capture lands in the lake; leave out save.raw")

    @property
    def place(self) -> tuple[str, str]:
        """Which of `PLACES` it has, and its value."""
        return next((p, v) for p in PLACES if (v := getattr(self, p)) is not None)

    @property
    def disposition(self) -> Literal["replace", "append", "merge"]:
        """The effective write disposition of the raw table."""
        if self.sync.disposition:
            return self.sync.disposition
        if self.sync.mode == "full" or self.partition:
            return "replace"
        return "merge" if self.primary_key else "append"

    @property
    def raw_outlives_its_run(self) -> bool:
        """Whether another run finds the raw rows; if not, the run that pulls them has to refine them too."""
        return self.saves.raw.strategy in ("persistent", "database")

    @property
    def contract(self) -> SchemaContract:
        """The effective schema contract."""
        return self.schema_contract or SchemaContract()

    @property
    def saves(self) -> SavePlan:
        """The effective save plan."""
        return self.save or SavePlan()


def with_defaults(data: Any) -> Any:
    """What was written of a source, with its `defaults` in each stream that does not say otherwise."""
    if not isinstance(data, dict) or not isinstance(data.get("defaults"), dict):
        return data
    streams = data.get("streams")
    if not isinstance(streams, list | tuple):
        return data
    merged = [{**data["defaults"], **s} if isinstance(s, dict) else s for s in streams]
    return {**data, "streams": merged}


def check_unique(names: list[str]) -> None:
    """Raises ValueError for two streams of one name."""
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(f"stream names must be unique in a source; twice: {', '.join(twice)}")
    for other in (f"raw_{n}" if raw else f"{n}_dictionary" for n in names for raw in (True, False)):
        if other in names:
            raise ValueError(f"'{other}' is an asset of another stream already; rename the stream '{other}'")


class SourceSpec(Declared):
    """A customer system and the streams taken from it."""

    name: SourceName
    """The source's name: the group in the UI and the first part of asset keys."""
    tenant: Name = "default"
    """Whose data it is: the first folder in the lake. A dataset reads its own tenant only."""
    owners: tuple[str, ...] = ()
    """`team:name` or e-mail addresses, shown in the UI and told about failures."""
    description: str | None = None
    """What the system is."""
    connection: dict[str, Any]
    """`kind` and what that kind needs. Secrets only by reference: "{{ env.NAME }}"."""
    defaults: StreamDefaults = StreamDefaults()
    """Keys that every stream has unless it says otherwise."""
    streams: tuple[StreamSpec, ...] = Field(min_length=1)
    """What is taken from it, each as its own chain of assets."""
    max_concurrency: int = Field(default=4, ge=1, le=64)
    """How many streams are read at once within a run."""

    @field_validator("connection")
    @classmethod
    def _kind_is_named(cls, value: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(value.get("kind"), str):
            raise ValueError("connection needs `kind`, such as postgres")
        return value

    @model_validator(mode="before")
    @classmethod
    def _apply_defaults(cls, data: Any) -> Any:
        return with_defaults(data)

    @field_validator("streams")
    @classmethod
    def _names_are_unique(cls, value: tuple[StreamSpec, ...]) -> tuple[StreamSpec, ...]:
        check_unique([s.name for s in value])
        return value

    def stream(self, name: str) -> StreamSpec:
        """The stream of that name. Raises KeyError."""
        return next(s for s in self.streams if s.name == name)
