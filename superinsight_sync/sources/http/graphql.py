"""GraphQL over HTTP: queries that only read, their variables, and what a schema offers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.model.read import FoundStream
from superinsight_sync.model.results import ColumnInfo
from superinsight_sync.sources.http.client import Api, Call
from superinsight_sync.sources.http.options import Cursor

if TYPE_CHECKING:
    from graphql import FieldNode

MAX_CHARS = 50_000
_MAX_TOKENS = 5_000
_INTROSPECTION = """{ __schema { queryType { name } types { name kind fields { name args { name type { kind } }
  type { name kind ofType { name kind ofType { name kind ofType { name kind } } } } } } } }"""


@dataclass(frozen=True)
class GraphqlCall(Call):
    """A POST whose parameters are the query's variables."""

    def having(self, values: dict[str, Any], *, in_body: bool) -> "GraphqlCall":
        """The same request with more variables."""
        body = self.body or {}
        return replace(self, body={**body, "variables": {**body.get("variables", {}), **values}})


@dataclass(frozen=True)
class Query:
    """A query that may be sent, and what its form says of its records.

    Attributes:
        records: where the response has them: the first field, its `nodes` or its `edges`.
        node: the field of an edge that holds the record.
        pagination: of a connection whose `pageInfo` is asked for, with a variable for `after`.
    """

    text: str
    records: str
    node: str | None = None
    pagination: Cursor | None = None


def checked_query(text: str) -> Query:
    """The query, printed anew without comments, if it is exactly one operation, a query, and fragments.

    A query must have no side effects (GraphQL specification, October 2021, 6.2.1). Raises ConfigError.
    """
    from graphql import FieldNode, GraphQLError, OperationDefinitionNode, OperationType, parse, print_ast
    from graphql.language import FragmentDefinitionNode

    if len(text) > MAX_CHARS:
        raise ConfigError(f"the query has more than {MAX_CHARS} characters")
    try:
        document = parse(text, no_location=True, max_tokens=_MAX_TOKENS)
    except GraphQLError as error:
        raise ConfigError(f"the query cannot be read: {error.message[:200]}") from None
    except RecursionError:
        raise ConfigError("the query is nested too deeply") from None
    operations = [d for d in document.definitions if isinstance(d, OperationDefinitionNode)]
    others = [
        d for d in document.definitions if not isinstance(d, OperationDefinitionNode | FragmentDefinitionNode)
    ]
    if len(operations) != 1 or others:
        raise ConfigError("the query must be one operation and its fragments")
    if operations[0].operation is not OperationType.QUERY:
        raise ConfigError(f"only a query may be sent, found a {operations[0].operation.value}")
    first = next((f for f in operations[0].selection_set.selections if isinstance(f, FieldNode)), None)
    if first is None:
        raise ConfigError("the query asks for no field", hint="Ask for the list of records first")
    return _read(print_ast(document), first)


def _read(text: str, field: "FieldNode") -> Query:
    from graphql import FieldNode, VariableNode

    selected = field.selection_set.selections if field.selection_set else ()
    inner = {f.name.value: f for f in selected if isinstance(f, FieldNode)}
    at = f"data.{field.alias.value if field.alias else field.name.value}"
    after = next((a.value for a in field.arguments if a.name.value == "after"), None)
    pages = None
    if "pageInfo" in inner and isinstance(after, VariableNode):
        info = f"{at}.pageInfo"
        pages = Cursor(
            type="cursor",
            param=after.name.value,
            next_path=f"{info}.endCursor",
            more_path=f"{info}.hasNextPage",
        )
    if "nodes" in inner:
        return Query(text, f"{at}.nodes", None, pages)
    return Query(text, f"{at}.edges", "node", pages) if "edges" in inner else Query(text, at, None, pages)


def nodes_of(records: Sequence[bytes], node: str) -> list[bytes]:
    """The records inside a connection's edges; an edge that is null stays one."""
    decoder = msgspec.json.Decoder(dict[str, msgspec.Raw] | None)
    try:
        edges = [decoder.decode(r) for r in records]
        return [b"null" if edge is None else bytes(edge[node]) for edge in edges]
    except (KeyError, msgspec.DecodeError):
        raise ConfigError(f"an edge has no '{node}'", hint="Correct options: {node: …}") from None


def found_streams(api: Api) -> Iterator[FoundStream]:
    """A query for each list and connection that the schema's root offers without required arguments."""
    answer = api.fetch(Call(api.base_url, "POST", body={"query": _INTROSPECTION})).value("data.__schema")
    if not isinstance(answer, dict):
        return
    types = {t["name"]: t for t in answer["types"]}
    for found in types.get((answer.get("queryType") or {}).get("name"), {}).get("fields") or ():
        if any(a["type"]["kind"] == "NON_NULL" for a in found["args"]):
            continue
        stream = _stream_of(found, types)
        if stream:
            yield stream


def _stream_of(found: dict[str, Any], types: dict[str, Any]) -> FoundStream | None:
    name, kinds = _unwrapped(found["type"])
    inner = {f["name"]: f["type"] for f in types.get(name, {}).get("fields") or ()}
    if "LIST" in kinds:
        fields, form = _scalars(types.get(name, {})), "{{ {} {{ {} }} }}"
    elif {"nodes", "pageInfo"} <= inner.keys() and any(a["name"] == "after" for a in found["args"]):
        fields = _scalars(types.get(_unwrapped(inner["nodes"])[0], {}))
        form = (
            "query($after: String) {{ {}(after: $after) "
            "{{ nodes {{ {} }} pageInfo {{ hasNextPage endCursor }} }} }}"
        )
    else:
        return None
    if not fields:
        return None
    return FoundStream(
        name=found["name"].lower(),
        place="query",
        value=form.format(found["name"], " ".join(fields)),
        columns=tuple(ColumnInfo(n, "", kind) for n, kind in fields.items()),
    )


def _unwrapped(kind: dict[str, Any]) -> tuple[str, set[str]]:
    kinds = set()
    while kind.get("ofType"):
        kinds.add(kind["kind"])
        kind = kind["ofType"]
    return kind.get("name") or "", kinds


def _scalars(kind: dict[str, Any]) -> dict[str, str]:
    """Name → type of the fields that hold one plain value and need no arguments."""
    found = {f["name"]: f for f in kind.get("fields") or () if not f["args"]}
    plain = ("SCALAR", "ENUM")
    return {
        name: _unwrapped(f["type"])[0]
        for name, f in found.items()
        if f["type"]["kind"] in plain or (f["type"].get("ofType") or {}).get("kind") in plain
    }
