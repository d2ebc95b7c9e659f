"""YAML files as documents of which every value knows its line."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Problem:
    """Something wrong in a declaration. `line` counts from 1."""

    file: Path
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


def read_documents(file: Path, problems: list[Problem]) -> Iterator[tuple[yaml.Node, Any]]:
    """Each document as nodes and as data. What cannot be read is added to `problems` and left out."""
    raw = file.read_bytes()
    try:
        nodes: list[yaml.Node | None] = list(yaml.compose_all(raw.decode(), Loader=yaml.CSafeLoader))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problems.append(Problem(file, line, f"no valid YAML: {error.problem}"))
        return
    except (yaml.reader.ReaderError, UnicodeDecodeError) as error:
        at = error.start if isinstance(error, UnicodeDecodeError) else error.position
        line = raw[:at].count(b"\n") + 1
        problems.append(Problem(file, line, f"no valid YAML: {error.reason}. Save the file as UTF-8 text"))
        return
    for node in nodes:
        if node is None:
            continue
        if twice := [key for part in _parts(node) for key in _keys_written_twice(part)]:
            problems += [Problem(file, _line(k), f"the key '{k.value}' is written twice") for k in twice]
            continue
        try:
            yield node, _value(node)
        except (yaml.YAMLError, ValueError):
            bad = _unreadable(node)
            problems.append(Problem(file, _line(bad), _told(bad)))


def line_of(node: yaml.Node, path: tuple[Any, ...]) -> int:
    """The line of the deepest node on the path that exists, counted from 1."""
    line = node.start_mark.line
    for part in path:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line
    return int(line) + 1


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _value(node: yaml.Node) -> Any:
    return yaml.CSafeLoader("").construct_document(node)


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _parts(node: yaml.Node) -> list[yaml.Node]:
    """The node and all that is in it, each once: an anchor may be used often, and in itself."""
    found, waiting = {id(node): node}, [node]
    while waiting:
        new = [child for child in _children(waiting.pop()) if id(child) not in found]
        found |= {id(child): child for child in new}
        waiting += new
    return list(found.values())


def _keys_written_twice(node: yaml.Node) -> list[yaml.Node]:
    if not isinstance(node, yaml.MappingNode):
        return []
    keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
    return [key for i, key in enumerate(keys) if key.value in {k.value for k in keys[:i]}]


def _unreadable(node: yaml.Node) -> yaml.Node:
    """The scalar in it that has no value, or a key that is none; the node itself if there is neither."""
    for part in _parts(node):
        if isinstance(part, yaml.ScalarNode):
            try:
                _value(part)
            except (yaml.YAMLError, ValueError):
                return part
        if isinstance(part, yaml.MappingNode):
            keys: list[yaml.Node] = [key for key, _ in part.value]
            if odd := [key for key in keys if not isinstance(key, yaml.ScalarNode)]:
                return odd[0]
    return node


def _told(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        return "no valid YAML: a key is a list or a mapping"
    kind = node.tag.removeprefix("tag:yaml.org,2002:")
    return f"no valid YAML: {node.value[:80]!r} is no {kind}. Put it into quotes if it is text"
