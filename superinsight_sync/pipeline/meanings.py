"""What columns mean, as the newest dictionaries say: for those who show a table."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from superinsight_sync.model.dataset import DatasetSpec
from superinsight_sync.model.declaration import SourceSpec, StreamSpec
from superinsight_sync.model.results import ColumnInfo
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.describe import dictionary_prefix
from superinsight_sync.pipeline.engine import Engine, table_of

Meanings = Mapping[str, str]
"""Column → what it means."""


def of_stream(engine: Engine, source: SourceSpec, stream: StreamSpec) -> Meanings:
    """As the stream's dictionary says; before there is one, as was declared."""
    declared = {n: f.description for n, f in stream.dictionary.fields.items() if f.description}
    return {**_texts(engine, table_of(source, stream, "refined")), **declared}


def described(engine: Engine, source: SourceSpec, stream: StreamSpec) -> tuple[ColumnInfo, ...]:
    """The columns of the stream's refined table as its dictionary has them."""
    fields = _fields(engine, table_of(source, stream, "refined"))
    return tuple(
        ColumnInfo(f["name"], f["type"], nullable=f["nullable"], description=f["description"]) for f in fields
    )


def of_dataset(
    engine: Engine, spec: DatasetSpec, lineage: Mapping[str, Sequence[tuple[str, str]]]
) -> Meanings:
    """As the dictionaries of its inputs say, for each column that is made of one of theirs."""
    known: dict[str, Meanings] = {}
    found = {}
    for out, made_of in lineage.items():
        if len(made_of) != 1:
            continue
        (alias, column) = made_of[0]
        key = spec.inputs.get(alias, "")
        if key not in known:
            source, _, stream = key.partition("/")
            known[key] = _texts(engine, TableRef(spec.tenant, source, stream, "refined")) if stream else {}
        if text := known[key].get(column):
            found[out] = text if out.lower() == column.lower() else f"From {key}.{column}: {text}"
    return found


def told(columns: Sequence[ColumnInfo], meanings: Meanings) -> tuple[ColumnInfo, ...]:
    """The columns with what they mean."""
    return tuple(replace(c, description=meanings.get(c.name, c.description)) for c in columns)


def _texts(engine: Engine, table: TableRef) -> Meanings:
    return {f["name"]: f["description"] for f in _fields(engine, table) if f["description"]}


def _fields(engine: Engine, table: TableRef) -> list[dict[str, Any]]:
    """What the dictionary of a table says of each; nothing where there is none."""
    file = f"{dictionary_prefix(table)}/dictionary.json"
    if not engine.blobs.exists(file):
        return []
    found: list[dict[str, Any]] = json.loads(engine.blobs.read(file))["fields"]
    return found
