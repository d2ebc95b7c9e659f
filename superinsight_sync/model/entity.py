"""The YAML vocabulary of entities: which streams describe one thing, how records meet, how differences end."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from superinsight_sync.model.declaration import Declared
from superinsight_sync.model.tables import TableRef, is_system
from superinsight_sync.model.written import Cron, Duration, Name

ENTITIES = "entities"
ENTITY_ID = "entity_id"
EXISTENCE = "deleted_at"
FIELD_PREFIX = "f_"
"""Before a field's name where its column stands beside ours: in the kept records and while they are resolved."""
OWN_COLUMNS = (ENTITY_ID, EXISTENCE, "aliases", "records", "undecided", "decided_by")
"""Columns that every entity has besides its fields."""


class StrategySpec(BaseModel):
    """One way to end a conflict: `strategy` names it, the other keys are its configuration."""

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True)

    strategy: str
    """newest, highest_version, source_order, rule, merge_fields, keep_both, trust or manual."""

    @property
    def arguments(self) -> dict[str, Any]:
        """Every key but `strategy`."""
        return dict(self.__pydantic_extra__ or {})


class EntityStream(Declared):
    """One stream that describes the things, and which of its columns say what."""

    stream: str = Field(pattern=r"^[a-z][a-z0-9_]*/[a-z][a-z0-9_]*$")
    """The refined stream: `crm/customers`."""
    key: Annotated[tuple[str, ...], Field(min_length=1)]
    """Columns that name one record of the stream."""
    columns: dict[Name, str] | None = None
    """Field of the entity → column of the stream. Default: every column under its name, but for `time`, `version`,
    `deleted`, and the `key` unless a match names it."""
    time: str | None = None
    """Column that says when the record changed, by the source's clock. Default: when we read it."""
    version: str | None = None
    """Column with a whole number that grows with every change of a record."""
    deleted: str | None = None
    """Column that is true, or not NULL, for a record that is gone. Default: `_sis_deleted_at` where there is one."""


class MatchSpec(Declared):
    """One way in which records of one thing find each other: by equal fields, or by fields that are alike."""

    equal: tuple[Name, ...] = ()
    """Fields. Records with equal values in all of them are one thing. A record in which one of them is NULL matches
    nothing by this key."""
    similar: Mapping[Name, float] = {}
    """Field → its weight. The likeness of two records is the weighted mean of their fields' likeness (Jaro-Winkler)."""
    block: tuple[str, ...] = ()
    """`similar`: expressions over the fields; records are compared if one of them is equal: `zip`, `left(name, 4)`."""
    minhash: Name | None = None
    """`similar`: a field with long text; records whose sets of three-letter pieces are probably alike are compared."""
    at_least: float = Field(default=0.9, gt=0, le=1)
    """`similar`: the likeness from which two records are one thing."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if bool(self.equal) == bool(self.similar):
            raise ValueError("a match has either `equal` or `similar`")
        if self.similar and not self.block and self.minhash is None:
            raise ValueError(
                "`similar` needs `block` or `minhash`: to compare all records with all takes too long"
            )
        if self.equal and (self.block or self.minhash is not None):
            raise ValueError("`block` and `minhash` belong to `similar`")
        if any(weight <= 0 for weight in self.similar.values()):
            raise ValueError("weights are greater than 0")
        return self


class EntityField(Declared):
    """What holds of one field."""

    type: str | None = None
    """Its type, such as `decimal(12,2)`. Default: that of the first stream that has it."""
    strategy: tuple[StrategySpec, ...] | None = None
    """How its conflicts end, in order. Default: the entity's."""
    critical: bool = False
    """Its conflicts come first in the review queue."""


class ReviewSpec(Declared):
    """The queue of what no strategy decides."""

    due: Duration = timedelta(days=7)
    """How long a conflict may wait for a person."""


class EntitySpec(Declared):
    """One record for each real thing, made of the records of several refined streams of one tenant."""

    name: Name
    """Its assets are `entities/<name>` and `entities/<name>_conflicts`."""
    tenant: Name = "default"
    """Whose data it is. Its streams must be of the same tenant."""
    owners: tuple[str, ...] = ()
    """`team:name` or e-mail addresses, shown in the UI."""
    description: str | None = None
    """What kind of thing it is."""
    streams: Annotated[tuple[EntityStream, ...], Field(min_length=1)]
    """The streams that describe it. Their order is the default of `source_order`."""
    match: Annotated[tuple[MatchSpec, ...], Field(min_length=1)]
    """How records of one thing find each other. Each is tried; records that any of them joins are one thing."""
    strategy: tuple[StrategySpec, ...] = ()
    """How conflicts end, in order, where a field says nothing itself. What none decides waits for review."""
    fields: Mapping[Name, EntityField] = {}
    """Field → what holds of it."""
    deletes: Literal["any", "all"] = "any"
    """`any`: a thing is gone when one stream deletes its record, unless another stream changed it since they agreed:
    that is a conflict. `all`: it is gone when all its records are."""
    review: ReviewSpec = ReviewSpec()
    """The queue of what no strategy decides."""
    max_group: int = Field(default=1000, ge=2)
    """A key that more records share than this joins none of them: it is no key, like an empty e-mail address."""
    schedule: Cron | None = None
    """When it is resolved, in UTC, besides when its streams change."""

    @field_validator("streams")
    @classmethod
    def _once(cls, value: tuple[EntityStream, ...]) -> tuple[EntityStream, ...]:
        names = [s.stream for s in value]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"'{twice[0]}' is named twice")
        for stream in value:
            if bad := [n for n in stream.columns or {} if n in OWN_COLUMNS or is_system(n)]:
                raise ValueError(f"'{bad[0]}' is a column that every entity has; give the field another name")
        return value

    @field_validator("name")
    @classmethod
    def _no_suffix(cls, value: str) -> str:
        if value.endswith(("_conflicts", "_records")):
            raise ValueError(
                "a name that ends with _conflicts or _records is taken by what belongs to an entity"
            )
        return value

    @property
    def table(self) -> TableRef:
        """One row for each thing."""
        return TableRef(self.tenant, ENTITIES, self.name, "refined")

    @property
    def conflicts(self) -> TableRef:
        """Every conflict ever seen."""
        return TableRef(self.tenant, ENTITIES, f"{self.name}_conflicts", "refined")

    @property
    def records(self) -> TableRef:
        """Every version of every record that was ever seen."""
        return TableRef(self.tenant, ENTITIES, f"{self.name}_records", "refined")

    def input(self, stream: EntityStream) -> TableRef:
        """The table of one of its streams."""
        source, _, name = stream.stream.partition("/")
        return TableRef(self.tenant, source, name, "refined")

    def strategies(self, field: str) -> tuple[StrategySpec, ...]:
        """How conflicts of a field end, in order."""
        own = self.fields[field].strategy if field in self.fields else None
        return self.strategy if own is None else own
