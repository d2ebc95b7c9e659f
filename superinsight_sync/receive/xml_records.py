"""XML: every record element is a record; attributes are `@name`, repeated elements lists, nested ones objects."""

import io
from collections.abc import Iterator
from typing import Any

from superinsight_sync.receive.refusals import MalformedError, UnprocessableError

MAX_ELEMENTS = 100_000
"""A record with more elements refuses the body."""


def xml_records(body: bytes, element: str | None, nesting: int) -> Iterator[dict[str, Any]]:
    """The records of an XML document, one at a time; all values are text.

    Raises:
        MalformedError: no XML, or cut off. UnprocessableError: it has a DOCTYPE, or is too deep or too big.
    """
    from lxml import etree

    events = etree.iterparse(
        io.BytesIO(body), events=("start", "end"), resolve_entities=False, no_network=True, load_dtd=False,
        huge_tree=False, remove_comments=True, remove_pis=True,
    )  # fmt: skip
    try:
        yield from _records(events, element, nesting)
    except etree.XMLSyntaxError as error:
        line = f" at line {error.lineno}" if error.lineno else ""
        raise MalformedError(f"no valid XML{line}: it is broken, cut off or nested too deeply") from None


def _records(events: Any, element: str | None, nesting: int) -> Iterator[dict[str, Any]]:
    depth = inside = size = 0
    for event, node in events:
        if event == "start":
            if depth == 0:
                _refuse_doctype(node)
            depth += 1
            size += 1
            if depth > nesting + 1:
                raise UnprocessableError(f"elements are nested deeper than {nesting} levels")
            if not inside and (_name(node) == element if element else depth == 2):
                inside, size = depth, 1
            elif size > MAX_ELEMENTS:
                raise UnprocessableError(f"a record has more than {MAX_ELEMENTS} elements")
            continue
        depth -= 1
        if inside and depth >= inside:
            continue
        if inside:
            inside = 0
            value = _value(node)
            yield value if isinstance(value, dict) else {"#text": value}
        size = 0
        parent = node.getparent()
        node.clear(keep_tail=False)
        if parent is not None:
            while node.getprevious() is not None:
                del parent[0]


def _refuse_doctype(root: Any) -> None:
    info = root.getroottree().docinfo
    if info.doctype or info.internalDTD is not None:
        raise UnprocessableError("a DOCTYPE is not accepted", hint="Send the document without one")


def _name(node: Any) -> str:
    return str(node.tag).rpartition("}")[2]


def _value(node: Any) -> Any:
    found: dict[str, Any] = {f"@{k.rpartition('}')[2]}": v for k, v in node.attrib.items()}
    for child in node:
        if not isinstance(child.tag, str):
            raise UnprocessableError("entities are not accepted", hint="Send the text itself")
        name, value = _name(child), _value(child)
        if name not in found:
            found[name] = value
        elif isinstance(found[name], list):
            found[name].append(value)
        else:
            found[name] = [found[name], value]
    text = (node.text or "").strip() if found else node.text or ""
    if not found:
        return text
    if text:
        found["#text"] = text
    return found
