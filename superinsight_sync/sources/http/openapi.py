"""What an OpenAPI 3 document says can be read."""

from collections.abc import Iterator
from typing import Any

from superinsight_sync.model.read import FoundStream
from superinsight_sync.model.results import ColumnInfo
from superinsight_sync.records.json_document import Document


def found_streams(document: Document) -> Iterator[FoundStream]:
    """A stream for each GET without placeholders whose response is a list of objects."""
    whole = document.value("$")
    paths = whole.get("paths") if isinstance(whole, dict) else None
    for path, methods in (paths or {}).items() if isinstance(paths, dict | None) else ():
        if "{" in path:
            continue
        found = _at(methods, "get", "responses", "200", "content", "application/json", "schema")
        fields = _at(_resolved(whole, _at(_resolved(whole, found), "items")), "properties")
        if isinstance(fields, dict) and fields:
            columns = tuple(ColumnInfo(n, "", str(_at(f, "type") or ""), True, "") for n, f in fields.items())
            yield FoundStream(path.strip("/").replace("/", "_"), "endpoint", path.lstrip("/"), columns)


def _at(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _resolved(whole: Any, schema: Any) -> Any:
    reference = _at(schema, "$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        return _at(whole, *reference[2:].split("/"))
    return schema
