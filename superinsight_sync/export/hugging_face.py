"""What Hugging Face's `load_dataset` is told of the files: a configuration for each format that it reads right.

Its library takes one reader for a folder, that of the first configuration. So the folder itself has the most exact
format, and each other format has a folder of its own with a card that points to the same files. With the features
declared, a column that is NULL in a split has its type there too.

Its readers of JSON and CSV guess types before they take the declared ones. A format is left out, with the reason,
where such a guess would change a value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import yaml

from superinsight_sync.export.manifest import ManifestFile
from superinsight_sync.export.statistics import ColumnStatistics

_BEST_FIRST = ("parquet", "jsonl", "csv")
"""Not the JSON array: of that the library rounds floating numbers."""
_CSV_OPTIONS: Mapping[str, Any] = {
    "keep_default_na": False,
    "na_values": [""],
    "skip_blank_lines": False,
    "float_precision": "round_trip",
}
_EXACT_IN_DOUBLE = 2**53
_DIGITS_IN_DOUBLE = 15


@dataclass(frozen=True)
class Loadable:
    """How the library may load a dataset.

    Attributes:
        features: format → its columns, as a card declares them; the most exact format first.
        left_out: why other formats are not declared.
    """

    features: Mapping[str, list[dict[str, Any]]]
    left_out: tuple[str, ...]


def loadable(formats: Sequence[str], schema: pa.Schema, columns: Sequence[ColumnStatistics]) -> Loadable:
    """Which of the formats can be declared."""
    features: dict[str, list[dict[str, Any]]] = {}
    left_out: list[str] = []
    for name in (n for n in _BEST_FIRST if n in formats):
        reasons = [
            f"column '{field.name}' {why}"
            for field, column in zip(schema, columns, strict=True)
            if (why := _obstacle(name, field.type, column))
        ]
        if reasons:
            left_out.append(f"Hugging Face's library would not read {name} right: {reasons[0]}")
        else:
            features[name] = [{"name": f.name, **_feature(_as_read(name, f.type))} for f in schema]
    return Loadable(features, tuple(left_out))


def front_matter(found: Loadable, name: str, files: Sequence[ManifestFile], *, folder: str = "") -> str:
    """The YAML of the card that declares one format; `folder` is where the files are, seen from the card."""
    paths = [{"split": f.split, "path": folder + f.path} for f in files if f.format == name]
    configuration = {"config_name": name, "default": True, "data_files": paths}
    card = {
        "configs": [{**configuration, **(_CSV_OPTIONS if name == "csv" else {})}],
        "dataset_info": [{"config_name": name, "features": found.features[name]}],
    }
    return yaml.safe_dump(card, sort_keys=False, allow_unicode=True, width=1_000)


def _obstacle(name: str, kind: pa.DataType, column: ColumnStatistics) -> str | None:
    """Why a column would be read wrongly."""
    t = pa.types
    parts = list(_types_within(kind))
    if name == "parquet":
        return "is a map" if any(map(t.is_map, parts)) else None
    highest = max(abs(column.overall.min or 0), abs(column.overall.max or 0))
    if name != "csv":
        if any(map(t.is_uint64, parts)) and (parts != [kind] or highest >= 2**63):
            return "has whole numbers beyond 63 bits"
        return "has texts that look like dates" if "date" in column.readings else None
    if t.is_integer(kind) and column.overall.nulls and highest >= _EXACT_IN_DOUBLE:
        return "has NULLs and whole numbers beyond 2^53"
    if t.is_decimal(kind) and kind.precision > _DIGITS_IN_DOUBLE:
        return "has decimals of more than 15 digits"
    if t.is_binary(kind) or t.is_large_binary(kind) or t.is_fixed_size_binary(kind):
        return "has bytes"
    return "has texts that look like numbers" if "number" in column.readings else None


def _types_within(kind: pa.DataType) -> list[pa.DataType]:
    """The type, and those inside it that have parts, and their leaves."""
    if kind.num_fields == 0:
        return [kind]
    inner = [part for i in range(kind.num_fields) for part in _types_within(kind.field(i).type)]
    return [kind, *inner]


def _as_read(name: str, kind: pa.DataType) -> pa.DataType:
    """What a value is once it is read from a file of the format."""
    t = pa.types
    if name == "parquet":
        return kind
    if name == "csv" and (kind.num_fields or t.is_temporal(kind)):
        return pa.string()
    if t.is_time(kind) or t.is_binary(kind) or t.is_large_binary(kind) or t.is_fixed_size_binary(kind):
        return pa.string()
    if t.is_map(kind):
        entry = pa.struct([("key", _as_read(name, kind.key_type)), ("value", _as_read(name, kind.item_type))])
        return pa.list_(entry)
    if t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind):
        return pa.list_(_as_read(name, kind.value_type))
    if t.is_struct(kind):
        return pa.struct([(f.name, _as_read(name, f.type)) for f in kind])
    return kind


def _feature(kind: pa.DataType) -> dict[str, Any]:
    """A type in the library's words, without a name."""
    t = pa.types
    if t.is_struct(kind):
        return {"struct": [{"name": f.name, **_feature(f.type)} for f in kind]}
    if t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind):
        inner = _feature(kind.value_type)
        said: dict[str, Any] = {"list": inner.get("dtype", inner.get("struct", inner))}
        return {**said, "length": kind.list_size} if t.is_fixed_size_list(kind) else said
    plain = {pa.float64(): "float64", pa.float32(): "float32", pa.date32(): "date32", pa.bool_(): "bool"}
    if t.is_fixed_size_binary(kind):
        return {"dtype": "binary"}
    return {"dtype": plain.get(kind, str(kind))}
