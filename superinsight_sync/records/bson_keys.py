"""Keys of documents as columns: values that the server tells apart are never equal, whatever their types.

The first read of a stream finds the form of each key column, and later reads keep it: values of the form's kind are
written as they always were, all others as extended JSON that no value of the kind looks like.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
from bson import Decimal128, Int64, ObjectId, json_util
from bson.binary import UuidRepresentation

from superinsight_sync.records.bson_bytes import (
    BINARY,
    BOOLEAN,
    DATE,
    DECIMAL,
    DOUBLE,
    INT32,
    INT64,
    OBJECT_ID,
    STRING,
)

OBJECT_IDS, _TEXT, _MIXED = "objectId", "text", "mixed"
_KINDS: dict[str, tuple[frozenset[type], frozenset[int]]] = {
    OBJECT_IDS: (frozenset({ObjectId}), frozenset({OBJECT_ID})),
    _TEXT: (frozenset({str}), frozenset({STRING})),
    "number": (frozenset({int, Int64, float}), frozenset({INT32, INT64, DOUBLE})),
    "decimal": (frozenset({Decimal128}), frozenset({DECIMAL})),
    "boolean": (frozenset({bool}), frozenset({BOOLEAN})),
    "date": (frozenset({datetime}), frozenset({DATE})),
    "uuid": (frozenset({UUID}), frozenset({BINARY})),
    _MIXED: (frozenset(), frozenset()),
}
_NO_TEXT = False
"""Stands for a value that a column of text does not take."""
_QUOTED = r'^("|\{"\$)'
_RELAXED = json_util.JSONOptions(
    json_mode=json_util.JSONMode.RELAXED, uuid_representation=UuidRepresentation.STANDARD
)
_CANONICAL = json_util.JSONOptions(
    json_mode=json_util.JSONMode.CANONICAL, uuid_representation=UuidRepresentation.STANDARD
)


def extended(value: Any) -> str:
    """A document or value as extended JSON that gives it back with all its types."""
    return json_util.dumps(value, json_options=_CANONICAL, ensure_ascii=False)


class Keys:
    """The key columns of a stream and the form of each.

    Args:
        names: the columns.
        sample: some documents.
        kept: the forms that an earlier read found.
        landed: columns of the stream's table; ids in it were written as ids, if nothing tells of their form.
        cursor: the stream's cursor; where it holds ids, what is none is no value of it and is set aside.
    """

    def __init__(
        self,
        names: Iterable[str],
        sample: list[dict[str, Any]],
        kept: Mapping[str, str],
        landed: Collection[str] = (),
        cursor: str | None = None,
    ) -> None:
        self.forms: dict[str, str] = {}
        self._cursor = cursor
        for name in dict.fromkeys([*names, *([cursor] if cursor else [])]):
            kinds = {type(d.get(name)) for d in sample}
            found = OBJECT_IDS if name in landed and ObjectId in kinds else _form_of(kinds)
            self.forms[name] = kept.get(name, found)

    def written(self, documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The documents with their keys so that equal ones are equal at the server, too."""
        changed: dict[str, list[Any]] = {}
        for name, form in self.forms.items():
            values = [d.get(name) for d in documents]
            if form != _TEXT and {type(v) for v in values} - {type(None)} <= _KINDS[form][0]:
                continue
            if name == self._cursor and form == OBJECT_IDS:
                changed[name] = [v if v is None or type(v) is ObjectId else _NO_TEXT for v in values]
                continue
            changed[name] = [None if v is None else _written(v, form) for v in values]
        if not changed:
            return documents
        return [
            {n: changed[n][at] if n in changed else v for n, v in d.items()} for at, d in enumerate(documents)
        ]

    @property
    def cursor_is_id(self) -> bool:
        """Whether the cursor is a field of ids."""
        return self.are_ids(self._cursor)

    def are_ids(self, name: str | None) -> bool:
        """Whether a column holds ObjectIds, which stand in the order in which they were made, to the second."""
        return name is not None and self.forms.get(name) == OBJECT_IDS

    def bound(self, name: str, value: Any) -> Any:
        """A bound of a column as the server compares it."""
        return ObjectId(value) if self.are_ids(name) and ObjectId.is_valid(value) else value

    def are_plain(self, name: str, codes: frozenset[int]) -> bool:
        """Whether values of these types of a column are what `written` makes of them, but for texts."""
        return name not in self.forms or codes <= _KINDS[self.forms[name]][1]

    def are_plain_texts(self, name: str, texts: pa.Array) -> bool:
        """Whether `written` leaves all these texts as they are."""
        if self.forms.get(name) != _TEXT or not pa.types.is_string(texts.type):
            return True
        return pc.any(pc.match_substring_regex(texts, _QUOTED)).as_py() is not True


def _form_of(kinds: set[type]) -> str:
    found = kinds - {type(None)}
    return next((form for form, (types, _) in _KINDS.items() if found and found <= types), _MIXED)


def _written(value: Any, form: str) -> Any:
    if form == _MIXED:
        return json_util.dumps(value, json_options=_RELAXED, ensure_ascii=False)
    if form == _TEXT and type(value) is str:
        return extended(value) if value.startswith(('"', '{"$')) else value
    if type(value) in _KINDS[form][0]:
        return value
    text = extended(value)
    return text if text.startswith('{"$') else f'{{"$value": {text}}}'
