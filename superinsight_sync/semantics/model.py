"""The dictionary: what a stream's fields mean. It holds no time, so the same input gives the same bytes."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from superinsight_sync.core.canonical import fingerprint
from superinsight_sync.security.sensitive import Sensitivity

SemanticType = Literal[
    "identifier",
    "category",
    "boolean",
    "count",
    "quantity",
    "amount",
    "percentage",
    "timestamp",
    "date",
    "time",
    "year",
    "month",
    "day",
    "hour",
    "minute",
    "duration",
    "latitude",
    "longitude",
    "code",
    "name",
    "text",
    "email",
    "phone",
    "national_id",
    "card",
    "iban",
    "ip",
    "person_name",
    "address",
    "birth_date",
    "plate",
    "company_id",
    "secret",
    "url",
    "country",
    "currency",
    "binary",
    "structure",
    "unknown",
]
Origin = Literal["rule", "llm", "human", "db_comment"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Field(_Frozen):
    """A column and what it means. `source` says who wrote the description; `confidence` is 0 to 1."""

    name: str
    type: str
    display_name: str
    description: str
    semantic_type: str
    """One of `SemanticType`, or what a person wrote."""
    unit: str | None = None
    synonyms: tuple[str, ...] = ()
    sensitivity: Sensitivity = "internal"
    nullable: bool = True
    null_share: float = 0.0
    distinct: int = 0
    distinct_exact: bool = True
    """Whether `distinct` was counted; else it is an estimate, about 3 % off."""
    source: Origin = "rule"
    confidence: float = 0.5


class Key(_Frozen):
    """Columns that identify a row: declared, or found to be unique and never NULL."""

    columns: tuple[str, ...]
    source: Literal["declared", "profile"]
    confidence: float


class Relation(_Frozen):
    """Columns whose values are keys of another stream (or of a table, if it is not declared).

    `orphan_share` is the share of distinct values without a partner, where it was measured.
    """

    columns: tuple[str, ...]
    to: str
    to_columns: tuple[str, ...]
    source: Literal["catalogue", "profile"]
    confidence: float
    orphan_share: float | None = None


class Dictionary(_Frozen):
    """What a stream's fields mean."""

    stream: str
    description: str = ""
    rows: int
    fields: tuple[Field, ...]
    keys: tuple[Key, ...] = ()
    relations: tuple[Relation, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Stable hash of the content."""
        return fingerprint(self.model_dump(mode="json"))

    def to_json(self) -> str:
        """Indented JSON with the fingerprint, ending in a line feed."""
        import json

        content = {"fingerprint": self.fingerprint, **self.model_dump(mode="json")}
        return json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False) + "\n"

    def to_markdown(self) -> str:
        """A table for people, a line for each field, so that a change is a line in a diff."""
        lines = [f"# {_cell(self.stream)}", ""]
        if self.description:
            lines += [_cell(self.description), ""]
        lines += [f"{self.rows} rows, {len(self.fields)} fields", ""]
        lines += ["| field | name | meaning | type | kind | unit | sensitivity | nulls | distinct | by |"]
        lines += ["| --- | --- | --- | --- | --- | --- | --- | ---: | ---: | --- |"]
        lines += [_row(f) for f in self.fields]
        if self.keys:
            lines += ["", "## Keys", ""]
            lines += [f"- {_names(k.columns)} ({k.source}, {k.confidence:.0%})" for k in self.keys]
        if self.relations:
            lines += ["", "## Relations", ""]
            lines += [_relation(r) for r in self.relations]
        return "\n".join(lines) + "\n"


def _row(field: Field) -> str:
    cells = (
        field.name,
        field.display_name,
        field.description,
        field.type,
        field.semantic_type,
        field.unit or "",
        field.sensitivity,
        f"{field.null_share:.1%}",
        f"{'' if field.distinct_exact else '≈ '}{field.distinct}",
        field.source,
    )
    return f"| {' | '.join(map(_cell, cells))} |"


def _relation(relation: Relation) -> str:
    orphans = "" if relation.orphan_share is None else f", {relation.orphan_share:.1%} without a partner"
    target = f"{_cell(relation.to)} {_names(relation.to_columns)}"
    return f"- {_names(relation.columns)} → {target} ({relation.source}, {relation.confidence:.0%}{orphans})"


def _names(columns: tuple[str, ...]) -> str:
    return ", ".join(map(_cell, columns))


def _cell(text: str) -> str:
    """Text that cannot break out of a table cell or become markup."""
    flat = " ".join(text.split())
    for char in "\\|`*<>[]":
        flat = flat.replace(char, "&lt;" if char == "<" else "&gt;" if char == ">" else f"\\{char}")
    return flat
