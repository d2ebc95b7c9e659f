"""The schema contract: what a change of the source's columns means for the table that holds them."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher

import pyarrow as pa
import pyarrow.compute as pc

from superinsight_sync.core.arrow_values import falses, null
from superinsight_sync.core.canonical import fingerprint
from superinsight_sync.core.errors import ConfigError, DataError, ThresholdError
from superinsight_sync.core.rejects import Reject, record_texts, rejects_table
from superinsight_sync.lake.joined_types import joined_type
from superinsight_sync.lake.types import cast_array, storable_schema, widens
from superinsight_sync.model.declaration import Reaction, StreamSpec
from superinsight_sync.model.tables import is_system

_MOST_REJECTS = 100_000


@dataclass(frozen=True)
class Drift:
    """How a source's columns differ from the table that holds them.

    Attributes:
        renamed: (old, new) pairs that look like one column; both are also among `missing` and `new`.
        retyped: name → (type of the table, type that the source gives, as the lake keeps it).
        narrower: name → type of the table, of columns whose type is another one that it holds wholly.
    """

    new: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    retyped: Mapping[str, tuple[pa.DataType, pa.DataType]] = field(default_factory=dict)
    narrower: Mapping[str, pa.DataType] = field(default_factory=dict)

    @property
    def texts(self) -> tuple[str, ...]:
        """For people, one change each."""
        told = {name for pair in self.renamed for name in pair}
        return (
            *(f"column {old} was probably renamed to {new}" for old, new in self.renamed),
            *(f"new column {n}" for n in self.new if n not in told),
            *(f"missing column {n}" for n in self.missing if n not in told),
            *(f"column {n} was {was} and is now {now}" for n, (was, now) in self.retyped.items()),
        )

    @property
    def mark(self) -> str | None:
        """Equal for equal changes; None if nothing differs."""
        return fingerprint(list(self.texts)) if self.texts else None


def drift_between(table: pa.Schema, source: pa.Schema) -> Drift:
    """Compares a table's columns with those that its source gives now."""
    landed = pa.schema([f for f in table if not is_system(f.name)])
    found = storable_schema(pa.schema([f for f in source if not is_system(f.name)]))
    new = tuple(n for n in found.names if n not in landed.names)
    missing = tuple(n for n in landed.names if n not in found.names)
    both = [(f.name, landed.field(f.name).type, f.type) for f in found if f.name in landed.names]
    retyped = {name: (was, now) for name, was, now in both if not widens(now, was)}
    narrower = {name: was for name, was, now in both if was != now and name not in retyped}
    return Drift(new, missing, tuple(_renames(landed, found, new, missing)), retyped, narrower)


def _renames(
    landed: pa.Schema, found: pa.Schema, new: tuple[str, ...], missing: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    """Of what is missing and new, the pairs of one type that stand at the same place or sound alike."""
    free = list(new)
    for old in missing:
        alike = [n for n in free if found.field(n).type == landed.field(old).type and _alike(old, n)]
        beside = [n for n in free if found.get_field_index(n) == landed.get_field_index(old)]
        same_place = [n for n in beside if found.field(n).type == landed.field(old).type]
        for name in (same_place or alike)[:1]:
            free.remove(name)
            yield old, name


def _alike(one: str, other: str) -> bool:
    return SequenceMatcher(None, one.lower(), other.lower()).ratio() >= 0.7


def common_type(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The narrowest type that holds every value of both without loss; text if there is no closer one.

    None for bytes, lists and structs beside another type: their text would not tell them from others.
    """
    found = joined_type(one, other)
    if found is not None:
        return found
    if any(pa.types.is_nested(t) or pa.types.is_binary(t) for t in (one, other)):
        return None
    return pa.string()


def _widened(name: str, was: pa.DataType, now: pa.DataType) -> pa.DataType:
    found = common_type(was, now)
    if found is None:
        raise ConfigError(
            f"column '{name}' was {was} and is now {now}, which have no common type",
            hint="Convert it in a query, forget the table by a full refresh (`sis reset`), or choose "
            "another reaction in schema_contract: {types: …}",
        )
    return found


class Conformer:
    """Makes a source's rows keep the contract with the table that holds the earlier ones.

    Args:
        stream: with the contract. Where rows are merged by a key, one without a value in each of its columns is
            no record's: it is kept in `rejects`, or raises DataError, as declared. The cursor is never made text.
        replaces: the earlier rows go, so that under `evolve` no type has to hold theirs.
        settled: columns whose new type holds also what has landed, as their source knows.

    Attributes:
        drift: what differs.
        widened: columns of the table that have to be of a wider type before the rows can land.
        discarded_rows: rows left out so far.
        discarded_values: values left out so far, by column.

    Raises ConfigError if something differs that the contract freezes or no type can hold.
    """

    def __init__(
        self,
        stream: StreamSpec,
        drift: Drift,
        *,
        replaces: bool = False,
        settled: Collection[str] = (),
    ) -> None:
        self.drift = drift
        self._keys = stream.primary_key if stream.disposition == "merge" else ()
        self._sets_aside = stream.on_row_error == "quarantine"
        contract = self._contract = stream.contract
        self._rejects: list[Reject] = []
        self.discarded_rows = 0
        self.discarded_values: Counter[str] = Counter()
        frozen = (
            *(drift.texts if contract.columns == "freeze" and (drift.new or drift.missing) else ()),
            *(drift.texts if contract.types == "freeze" and drift.retyped else ()),
        )
        if frozen:
            raise ConfigError(
                f"the schema changed ({', '.join(dict.fromkeys(frozen))}) and its contract is frozen",
                hint="Set schema_contract: evolve to take the change, or restore the source's columns",
            )
        self.widened: dict[str, pa.DataType] = {}
        self._narrower = {} if replaces else drift.narrower
        self._new: tuple[str, ...] = () if contract.columns == "evolve" else drift.new
        self._kept: dict[str, pa.DataType] = {}
        for name, (was, now) in drift.retyped.items():
            if contract.types != "evolve":
                self._kept[name] = was
            elif not replaces:
                self.widened[name] = now if name in settled else _widened(name, was, now)
                if name == stream.sync.cursor and pa.types.is_string(self.widened[name]):
                    raise ConfigError(
                        f"column '{name}' is the cursor, was {was} and is now {now}: as text it would be none",
                        hint="Convert it to its former type in a query, or start the stream over (`sis reset`)",
                    )

    def reset(self) -> None:
        """Forgets what was counted: the rows are read anew."""
        self._rejects.clear()
        self.discarded_rows = 0
        self.discarded_values.clear()

    def schema(self, source: pa.Schema) -> pa.Schema:
        """The schema of the rows as they will land, in the source's order of columns."""
        types = {**self._narrower, **self.widened, **self._kept}
        return pa.schema(
            [pa.field(f.name, types.get(f.name, f.type)) for f in source if f.name not in self._new]
        )

    def conform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows that may land, fitted; the others are counted or kept in `rejects`."""
        schema = self.schema(batch.schema)
        misfits = {n: _misfits(batch.column(n), kind, n) for n, kind in self._kept.items()}
        unknown = {n: pc.is_valid(batch.column(n)) for n in self._new}
        batch, misfits = self._without_rows(batch, misfits, unknown)
        arrays = []
        for f in schema:
            values = batch.column(f.name)
            if f.name in misfits:
                values = pc.if_else(misfits[f.name], null(values.type), values)
                values = _text_or_cast(values, f.type, f.name)
            elif f.name in self.widened:
                values = _text_or_cast(values, f.type, f.name)
            elif f.name in self._narrower:
                values = cast_array(values, f.type, f.name)
            arrays.append(values)
        return self._with_keys(pa.RecordBatch.from_arrays(arrays, schema=schema))

    def _with_keys(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        without = [k for k in self._keys if k in batch.schema.names and batch.column(k).null_count]
        for name in without:
            missing = batch.column(name).is_null()
            reason = f"a NULL in the primary key: '{name}'"
            if not self._sets_aside:
                raise DataError(reason, hint="Name keys that every row has, or set on_row_error: quarantine")
            self._reject(batch.filter(missing), reason)
            self.discarded_rows += pc.sum(missing).as_py() or 0
            batch = batch.filter(pc.invert(missing))
        return batch

    def _without_rows(
        self, batch: pa.RecordBatch, misfits: dict[str, pa.Array], unknown: dict[str, pa.Array]
    ) -> tuple[pa.RecordBatch, dict[str, pa.Array]]:
        leave = falses(batch.num_rows)
        for marks, reaction, reason in (
            (unknown, self._contract.columns, "column '{}' is not in the table and its contract"),
            (misfits, self._contract.types, "column '{}' holds a value that does not fit the table's type"),
        ):
            for name, mark in marks.items():
                self._count(name, mark, reaction)
                if reaction == "quarantine":
                    fresh = pc.and_not(mark, leave)
                    self._reject(batch.filter(fresh), reason.format(name))
                if reaction in ("quarantine", "discard_row"):
                    leave = pc.or_(leave, mark)
        gone = pc.sum(leave).as_py() or 0
        if not gone:
            return batch, misfits
        self.discarded_rows += gone
        keep = pc.invert(leave)
        return batch.filter(keep), {n: m.filter(keep) for n, m in misfits.items()}

    def _count(self, name: str, mark: pa.Array, reaction: Reaction) -> None:
        found = pc.sum(mark).as_py() or 0
        if found and reaction == "discard_value":
            self.discarded_values[name] += found

    def _reject(self, rows: pa.RecordBatch, reason: str) -> None:
        if len(self._rejects) + rows.num_rows > _MOST_REJECTS:
            raise ThresholdError(
                f"more than {_MOST_REJECTS:,} rows would be set aside, the last ones because: {reason}",
                hint="Correct the declaration or the source; nothing was landed",
            )
        self._rejects += [(None, None, reason, record) for record in record_texts(rows)]

    def rejects(self) -> pa.Table:
        """The rows set aside, each as JSON, as `rejects_table` has them."""
        return rejects_table(self._rejects)


def _misfits(values: pa.Array, target: pa.DataType, name: str) -> pa.Array:
    """Which values would not survive as `target` and back."""
    try:
        _text_or_cast(values, target, name)
        return falses(len(values))
    except DataError:
        if len(values) == 1:
            return pc.is_valid(values)
        half = len(values) // 2
        return pa.concat_arrays(
            [_misfits(values[:half], target, name), _misfits(values[half:], target, name)]
        )


def _text_or_cast(values: pa.Array, target: pa.DataType, name: str) -> pa.Array:
    """The values as `target`. Raises DataError unless casting back gives the same values."""
    if pa.types.is_string(target) and (pa.types.is_nested(values.type) or pa.types.is_binary(values.type)):
        raise DataError(f"column '{name}' cannot become text without loss")
    if pa.types.is_nested(target):
        return cast_array(values, target, name)
    try:
        done = values.cast(target)
        same = pc.all(pc.equal(done.cast(values.type), values), skip_nulls=True).as_py()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return cast_array(values, target, name)
    if same is False:
        raise DataError(f"column '{name}' holds a value that does not survive as {target}")
    return done
