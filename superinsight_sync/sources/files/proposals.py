"""What a sample of a CSV's rows says of its columns: types, a key, a cursor. Proposed, for a person to look at."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from superinsight_sync.model.naming import likely_cursor
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.model.types import arrow_type
from superinsight_sync.records.cells import cast_texts
from superinsight_sync.records.rejects import Rejects
from superinsight_sync.sources.files.reading import Table

SAMPLE_ROWS = 10_000
_WHOLE = r"^-?(0|[1-9][0-9]{0,17})$"
_FRACTION = r"^-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?$"
_FORMS = (
    ("bool", r"^(true|false)$"),
    ("int64", _WHOLE),
    ("date", r"^\d{4}-\d\d-\d\d$"),
    ("timestamp", r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:?\d\d)?$"),
)
_KEY = re.compile(r"(?i)(^|_)(id|key|uuid)$|[a-z]Id$")


@dataclass(frozen=True)
class Proposal:
    """Attributes: whole: whether all rows were looked at. types: those of columns that are not plain text."""

    whole: bool = True
    types: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None
    cursor: str | None = None

    @property
    def format_columns(self) -> dict[str, str]:
        """What can be declared at once."""
        return dict(self.types) if self.whole else {}

    @property
    def remark(self) -> str:
        """What only a sample says."""
        if self.whole:
            return ""
        key = f", a primary_key [{self.key}]" if self.key else ""
        types = ", ".join(f"{n}: {t}" for n, t in self.types.items())
        found = f"columns: {{{types}}}" if types else ""
        said = f"{found}{key}".strip(", ")
        return (
            f"the first {SAMPLE_ROWS} rows suggest {said}; look at the others before you trust it"
            if said
            else ""
        )


def proposal_of(table: Table, request: ReadRequest) -> Proposal:
    """Of a file whose columns are all text."""
    held: list[pa.RecordBatch] = []
    rows = 0
    batches = table.batches(request, Rejects(limit=SAMPLE_ROWS))
    for batch in batches:
        held.append(batch.slice(0, SAMPLE_ROWS - rows))
        rows += batch.num_rows
        if rows > SAMPLE_ROWS:
            break
    whole = rows <= SAMPLE_ROWS
    batches.close()
    sample = pa.Table.from_batches(held, table.schema)
    columns = {n: sample.column(n).combine_chunks() for n in table.schema.names if not n.startswith("_sis_")}
    types = {n: found for n, values in columns.items() if (found := _type_of(values))}
    keys = [
        n for n, v in columns.items() if rows and not v.null_count and pc.count_distinct(v).as_py() == len(v)
    ]
    key = next((n for n in keys if n.lower() == "id"), next((n for n in keys if _KEY.search(n)), None))
    times = ((n, types.get(n) == "timestamp" and not v.null_count) for n, v in columns.items())
    return Proposal(whole, types, key, likely_cursor(times))


def joined(proposals: Sequence[Proposal]) -> Proposal:
    """Of the files of one stream: what all agree on. Rows of several files may have a key twice."""
    first, *others = proposals
    if not others:
        return first
    types = {n: t for n, t in first.types.items() if all(o.types.get(n) == t for o in others)}
    cursors = {p.cursor for p in proposals}
    return Proposal(all(p.whole for p in proposals), types, None, first.cursor if len(cursors) == 1 else None)


def _type_of(values: pa.Array) -> str | None:
    """The narrowest type that all texts are of, exactly; None for text, or if there is none."""
    there = values.drop_null()
    if not len(there):
        return None
    for name, form in _FORMS:
        if _all_match(there, form) and not cast_texts(there, arrow_type(name))[1]:
            return name
    if not _all_match(there, _FRACTION):
        return None
    parts = pc.split_pattern(there, ".")
    scale = pc.max(
        pc.utf8_length(pc.list_element(pc.split_pattern(pc.binary_join_element_wise(there, "", "."), "."), 1))
    )
    digits = pc.max(pc.utf8_length(pc.utf8_ltrim(pc.list_element(parts, 0), "-")))
    most = 18 if digits.as_py() + scale.as_py() <= 16 else 38
    return f"decimal({most},{scale.as_py()})"


def _all_match(values: pa.Array, form: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(values, form)).as_py())
