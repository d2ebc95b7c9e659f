"""What a WSDL declares: services, operations, and the columns of their records."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from zeep import Client, Settings, xsd
from zeep.exceptions import Error as ZeepError
from zeep.wsdl.bindings.soap import SoapBinding

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.model.naming import not_there
from superinsight_sync.model.read import Column
from superinsight_sync.model.types import arrow_type, type_text
from superinsight_sync.sources.soap.transport import SoapTransport

_MOST_DEPTH = 8
READING_WORDS = frozenset(
    {"get", "list", "find", "search", "read", "query", "fetch", "count", "describe", "retrieve", "lookup"}
    | {"select", "show", "view", "browse", "export", "download", "report", "enumerate"}
)
_DECIMAL_20 = pa.decimal128(20, 0)
_DECIMAL_38 = pa.decimal128(38, 0)
_TIME = pa.timestamp("us", tz="UTC")
_TYPES: dict[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "byte": pa.int8(),
    "short": pa.int16(),
    "int": pa.int32(),
    "long": pa.int64(),
    "unsignedByte": pa.int16(),
    "unsignedShort": pa.int32(),
    "unsignedInt": pa.int64(),
    "unsignedLong": _DECIMAL_20,
    **dict.fromkeys(
        ("integer", "nonPositiveInteger", "negativeInteger", "nonNegativeInteger", "positiveInteger"),
        _DECIMAL_38,
    ),
    "float": pa.float32(),
    "double": pa.float64(),
    "date": pa.date32(),
    "dateTime": _TIME,
    "base64Binary": pa.binary(),
    "hexBinary": pa.binary(),
}
"""XSD types that Arrow has. Others are text: a decimal too, which has no scale until one is declared."""


@dataclass(frozen=True)
class Field:
    """A column and how it is taken from a record.

    Attributes:
        form: text, json (a nested element), list (of simple ones), attribute.
        xsd: the XSD type's name.
    """

    column: Column
    form: str
    xsd: str


class Contract:
    """A loaded WSDL. Raises ConfigError if it cannot be."""

    def __init__(self, address: str, transport: SoapTransport, wsse: Any = None) -> None:
        settings = Settings(
            strict=True, forbid_dtd=True, forbid_entities=True, xml_huge_tree=False, raw_response=True
        )
        try:
            self.client: Any = Client(address, transport=transport, settings=settings, wsse=wsse)
        except (ZeepError, ValueError, KeyError, AttributeError) as error:
            raise ConfigError(
                f"the WSDL cannot be read ({type(error).__name__})",
                where="connection.wsdl",
                hint="A WSDL must be XML without DTD and entities; check the address",
            ) from None

    def operations(self) -> Iterator[tuple[str, str, str, Any]]:
        """(service, port, operation, its binding's entry) of everything that speaks SOAP."""
        for service in self.client.wsdl.services.values():
            for port in service.ports.values():
                if isinstance(port.binding, SoapBinding):
                    for name, operation in _all(port.binding):
                        yield service.name, port.name, name, operation

    def operation(self, name: str, service: str | None, port: str | None) -> tuple[str, str, Any]:
        """(service, port, its binding's entry). Raises ConfigError naming close ones if it is not there."""
        found = [
            (s, p, entry)
            for s, p, n, entry in self.operations()
            if n == name and service in (None, s) and port in (None, p)
        ]
        if not found:
            raise not_there("operation", name, {n for _, _, n, _ in self.operations()})
        return found[0]

    def call(self, service: str, port: str, name: str, params: dict[str, Any], address: str) -> Any:
        """The answer to a call, sent to an address. Raises ConfigError for params that the operation does not take."""
        binding = self.client.wsdl.services[service].ports[port].binding
        try:
            return binding.send(self.client, {"address": address}, name, (), params)
        except (ZeepError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(
                f"the operation does not take these params ({type(error).__name__})",
                hint="Check options.params against the WSDL",
            ) from None

    def address(self, service: str, port: str) -> str:
        """Where calls of a port go."""
        return str(self.client.wsdl.services[service].ports[port].binding_options["address"])


def reads_by_name(operation: str) -> bool:
    """Whether the first word of the name says that it reads."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", operation)
    return bool(words) and words[0].lower() in READING_WORDS


def fields_of(operation: Any, path: tuple[str, ...]) -> tuple[Field, ...]:
    """The columns of the records at a path of the operation's answer. Raises ConfigError with what is there."""
    kind = _answer_type(operation)
    for name in path:
        elements = dict(_elements(kind))
        if name not in elements:
            raise not_there("element in the answer", name, elements)
        kind = elements[name].type
    if not isinstance(kind, xsd.ComplexType):
        raise ConfigError(
            f"options.records: '{'.'.join(path)}' is {kind.name}, no record",
            hint=f"Records could be: {', '.join(record_paths(operation)) or 'none'}",
        )
    fields = [_field(name, element) for name, element in _elements(kind)]
    attributes = [_attribute(n, a) for n, a in (kind.attributes or []) if isinstance(n, str) and a.type]
    return (*fields, *attributes)


@dataclass(frozen=True)
class Records:
    """Where the records of an answer are, and their columns."""

    path: tuple[str, ...]
    fields: tuple[Field, ...]


def records_of(operation: Any, path: str | None, types: dict[str, str], where: str) -> Records:
    """At a path, or at the one place where records can be; `types` are those that the declaration gives.
    Raises ConfigError if there is no such place or column."""
    if path is None:
        found = record_paths(operation)
        if len(found) != 1:
            raise ConfigError(
                f"records could be at {len(found)} places of the answer",
                hint=f"Write options.records: one of {', '.join(found) or 'none'}",
            )
        path = found[0]
    names = tuple(path.split("."))
    return Records(names, _declared(fields_of(operation, names), types, where))


def record_paths(operation: Any) -> list[str]:
    """Paths of the answer to elements of several fields that may be there many times."""
    found: list[str] = []
    level: list[tuple[tuple[str, ...], Any]] = [((), _answer_type(operation))]
    for _ in range(_MOST_DEPTH):
        inner = []
        for path, kind in level:
            for name, element in _elements(kind):
                if isinstance(element.type, xsd.ComplexType):
                    inner.append(((*path, name), element.type))
                    if element.accepts_multiple:
                        found.append(".".join((*path, name)))
        level = inner
    return found


def _answer_type(operation: Any) -> Any:
    body = operation.output.body if operation.output else None
    if body is None:
        raise ConfigError("the operation answers nothing that could be read")
    return body.type


def _all(binding: Any) -> Iterator[tuple[str, Any]]:
    yield from binding.all().items()


def _elements(kind: Any) -> Iterator[tuple[str, Any]]:
    for _, element in getattr(kind, "elements", ()) or ():
        if isinstance(element, xsd.Element):
            yield str(element.name), element


def _field(name: str, element: Any) -> Field:
    kind = element.type
    if isinstance(kind, xsd.ComplexType):
        said = type_name(kind)
        return Field(Column(name, said, pa.string(), comment="as JSON text"), "json", said)
    base = builtin(kind)
    if element.accepts_multiple:
        if base in ("base64Binary", "hexBinary"):
            return Field(Column(name, f"{base}[]", pa.string(), comment="as JSON text"), "json", base)
        return Field(Column(name, f"{base}[]", pa.list_(_TYPES.get(base, pa.string()))), "list", base)
    return Field(Column(name, base, _TYPES.get(base, pa.string())), "text", base)


def _attribute(name: str, attribute: Any) -> Field:
    base = builtin(attribute.type)
    return Field(Column(name, base, _TYPES.get(base, pa.string())), "attribute", base)


def builtin(kind: Any) -> str:
    """The built-in XSD type that a simple one restricts; `string` for a union or a list."""
    for cls in type(kind).__mro__:
        qname = getattr(cls, "_default_qname", None)
        if cls.__module__ == "zeep.xsd.types.builtins" and qname is not None:
            return str(qname.localname)
    return "string"


def type_name(kind: Any) -> str:
    """A type's name as the WSDL has it."""
    return str(kind.qname.localname) if getattr(kind, "qname", None) is not None else "anonymous"


def _declared(fields: tuple[Field, ...], types: dict[str, str], where: str) -> tuple[Field, ...]:
    """The fields with the types that the declaration gives some of them."""
    names = [f.column.name for f in fields]
    for name in types:
        if name not in names:
            raise not_there("column", name, names).at(where)
    return tuple(_retyped(f, types.get(f.column.name), where) for f in fields)


def _retyped(field: Field, text: str | None, where: str) -> Field:
    if text is None:
        return field
    try:
        dtype = arrow_type(text)
    except ConfigError as error:
        raise error.at(f"{where}, options.columns, column '{field.column.name}'") from None
    if field.form in ("json", "list") and dtype != field.column.arrow:
        raise ConfigError(
            f"options.columns: '{field.column.name}' is {type_text(field.column.arrow)} and stays so",
            where=where,
        )
    return Field(Column(field.column.name, field.column.source_type, dtype), field.form, field.xsd)
