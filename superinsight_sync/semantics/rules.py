"""The rule describer: what names, types, numbers and the catalogue say, without a network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from superinsight_sync.core.duckdb_session import DEFAULT_MEMORY_LIMIT_BYTES, open_duckdb
from superinsight_sync.core.errors import DataError, TransientError
from superinsight_sync.core.sql import quote
from superinsight_sync.security.sensitive import Sensitivity, sensitivity_of
from superinsight_sync.semantics.kinds import MAX_CODE_LENGTH, is_number, semantic_type_of, sentence
from superinsight_sync.semantics.model import Field, Key, Relation
from superinsight_sync.semantics.profile import ColumnProfile, Profile
from superinsight_sync.semantics.words import readable, singular, split_name, unit_of

if TYPE_CHECKING:
    import duckdb
    import pyarrow.dataset

RULES_VERSION = 2

ForeignKey = tuple[tuple[str, ...], str, tuple[str, ...]]
"""(columns, table, its columns), as a source's catalogue tells it."""

_MIN_INCLUSION = 0.95
_MIN_NAMED_INCLUSION = 0.5
_MIN_CHILD_VALUES = 3


@dataclass(frozen=True)
class Shape:
    """What the catalogue and the declaration know of a stream."""

    stream: str
    """`<source>/<stream>`."""
    primary_key: tuple[str, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    comment: str = ""
    column_comments: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, str] = field(default_factory=dict)
    """Table of a foreign key → stream key, for those that are declared."""
    not_null: frozenset[str] = frozenset()
    """Columns that cannot be NULL."""


@dataclass(frozen=True)
class Sibling:
    """A stream that this one may refer to."""

    stream: str
    primary_key: tuple[str, ...]
    dataset: "pyarrow.dataset.Dataset"


def describe_column(column: ColumnProfile, shape: Shape) -> Field:
    """A field as rules see it."""
    comment = shape.column_comments.get(column.name, "").strip()
    words = split_name(column.name)
    unit = unit_of(words, comment) if is_number(column.type) else None
    semantic_type, confidence = semantic_type_of(column, words, unit, shape.primary_key)
    if unit is None and semantic_type == "percentage":
        unit = "percent"
    sensitivity: Sensitivity = sensitivity_of(column.sensitive) if column.sensitive else "internal"
    return Field(
        name=column.name,
        type=column.type,
        display_name=readable(column.name),
        description=comment or sentence(column, words, semantic_type, unit),
        semantic_type=semantic_type,
        unit=unit,
        sensitivity=sensitivity,
        nullable=column.nulls > 0 or column.name not in shape.not_null,
        null_share=column.null_share,
        distinct=column.distinct,
        distinct_exact=column.distinct_exact,
        source="db_comment" if comment else "rule",
        confidence=0.95 if comment else confidence,
    )


def find_keys(profile: Profile, shape: Shape) -> tuple[Key, ...]:
    """The declared primary key, else columns that are unique and without NULLs, the likeliest first."""
    if shape.primary_key:
        return (Key(columns=shape.primary_key, source="declared", confidence=1.0),)
    found = [
        Key(
            columns=(c.name,), source="profile", confidence=0.9 if _is_key_name(c.name, shape.stream) else 0.5
        )
        for c in profile.columns
        if c.unique and c.rows > 1
    ]
    return tuple(sorted(found, key=lambda k: -k.confidence))


def catalogue_relations(shape: Shape) -> tuple[Relation, ...]:
    """The foreign keys of the source's catalogue."""
    return tuple(
        Relation(
            columns=columns,
            to=shape.tables.get(table, table),
            to_columns=theirs,
            source="catalogue",
            confidence=1.0,
        )
        for columns, table, theirs in shape.foreign_keys
    )


def find_relations(
    profile: Profile,
    shape: Shape,
    dataset: "pyarrow.dataset.Dataset",
    siblings: Sequence[Sibling],
    *,
    memory_limit_bytes: int = DEFAULT_MEMORY_LIMIT_BYTES,
) -> tuple[Relation, ...]:
    """Relations to siblings by name and by how many of a column's values occur in the sibling's key.

    Numbers need a matching name, since any 1…n lies within any other; short texts may match by values alone.
    Columns of the catalogue's foreign keys and sensitive columns are left out.

    Raises DataError and TransientError.
    """
    import duckdb
    import pyarrow as pa

    known = {c for columns, _, _ in shape.foreign_keys for c in columns}
    found: list[Relation] = []
    with open_duckdb(memory_limit_bytes) as con:
        try:
            for column in profile.columns:
                if column.name in known or column.sensitive or column.distinct < _MIN_CHILD_VALUES:
                    continue
                relations = [
                    _judge(column, sibling, _inclusion(con, (dataset, column.name), sibling))
                    for sibling in siblings
                    if _may_refer(column, shape, dataset, sibling)
                ]
                found += sorted((r for r in relations if r), key=lambda r: (-r.confidence, r.to))[:1]
        except (duckdb.Error, pa.ArrowException) as error:
            raise DataError(f"relations could not be looked for ({type(error).__name__})") from None
        except OSError as error:
            raise TransientError(f"the rows could not be read ({type(error).__name__})") from None
    return tuple(found)


def _may_refer(
    column: ColumnProfile, shape: Shape, dataset: "pyarrow.dataset.Dataset", sibling: Sibling
) -> bool:
    """Whether it is worth counting: a single key of the same family of types, and a name or short texts."""
    import pyarrow.types as pt

    if len(sibling.primary_key) != 1 or sibling.stream == shape.stream:
        return False
    key = sibling.primary_key[0]
    types = [dataset.schema.field(column.name).type, sibling.dataset.schema.field(key).type]
    texts = all(pt.is_string(t) or pt.is_large_string(t) or pt.is_string_view(t) for t in types)
    if not texts and not all(pt.is_integer(t) for t in types):
        return False
    if _refers(column.name, key, sibling.stream):
        return True
    own_key = (column.name,) == shape.primary_key
    return texts and not own_key and (column.length_max or MAX_CODE_LENGTH + 1) <= MAX_CODE_LENGTH


def _judge(column: ColumnProfile, sibling: Sibling, inclusion: float) -> Relation | None:
    named = _refers(column.name, sibling.primary_key[0], sibling.stream)
    if inclusion < (_MIN_NAMED_INCLUSION if named else _MIN_INCLUSION):
        return None
    return Relation(
        columns=(column.name,),
        to=sibling.stream,
        to_columns=sibling.primary_key,
        source="profile",
        confidence=round(0.6 + 0.35 * inclusion if named else 0.6 * inclusion, 2),
        orphan_share=round(1 - inclusion, 4),
    )


def _refers(column: str, key: str, stream: str) -> bool:
    """Whether the name says so: `customer_id` for `customers.id`, `tailnum` for `planes.tailnum`."""
    ours, theirs = split_name(column), split_name(key)
    noun = [singular(w) for w in split_name(stream.split("/")[-1])]
    generic = theirs in (["id"], ["key"], ["code"], ["uuid"], ["name"], ["number"])
    if generic:
        return ours[-len(noun) - 1 :] == [*noun, *theirs] or ours == noun
    return ours[-len(theirs) :] == theirs


def _inclusion(
    con: "duckdb.DuckDBPyConnection", child: "tuple[pyarrow.dataset.Dataset, str]", sibling: Sibling
) -> float:
    """The share of the child's distinct values that occur in the sibling's key."""
    import pyarrow as pa

    (dataset, name), key = child, sibling.primary_key[0]
    con.register("child", dataset.replace_schema(pa.schema([dataset.schema.field(name)])))
    con.register("parent", sibling.dataset.replace_schema(pa.schema([sibling.dataset.schema.field(key)])))
    values = f"SELECT DISTINCT {quote(name)} AS v FROM child WHERE {quote(name)} IS NOT NULL"  # noqa: S608
    keys = f"SELECT {quote(key)} FROM parent WHERE {quote(key)} IS NOT NULL"  # noqa: S608 - quoted names
    query = f"SELECT count(*), count(*) FILTER (v IN ({keys})) FROM ({values})"  # noqa: S608 - built above
    total, found = con.execute(query).fetchall()[0]
    return found / total if total else 0.0


def _is_key_name(column: str, stream: str) -> bool:
    words = split_name(column)
    noun = [singular(w) for w in split_name(stream.split("/")[-1])]
    return bool(words) and (
        words[-1] in ("id", "key", "uuid", "code", "num", "number", "no") or words == noun
    )
