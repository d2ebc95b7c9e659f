"""`map`: which columns there are, what they are called, and how they nest. It changes no value."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, ConfigDict, Field

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.plugins import PluginConfig
from superinsight_sync.core.sql import close_to, literal, quote
from superinsight_sync.model.declaration import RESERVED_PREFIX
from superinsight_sync.model.types import arrow_type
from superinsight_sync.transform import nested
from superinsight_sync.transform.columns import require
from superinsight_sync.transform.conversion import Casting, convert, is_text, one_or_more
from superinsight_sync.transform.protocol import Compiled, Reject, StepContext

if TYPE_CHECKING:
    import pyarrow as pa

_DIGITS = "a number in the JSON text has more digits than can be kept"


class Config(PluginConfig):
    """Explodes, selects, drops, flattens, unnests, renames and nests columns, in this order; each sees what came
    before."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    explode: str | None = None
    """A list, or a JSON array as text: a record for each element, which takes the list's place; all other columns
    are there in each. A text that is no array is quarantined."""
    position: str | None = None
    """With `explode`: a new column that counts the elements of each list from 1."""
    keep_empty: bool = False
    """With `explode`: keeps a record without elements, with NULL. Without it there is none."""
    select: tuple[str, ...] | None = None
    """Keeps these columns, in this order, and no others."""
    drop: tuple[str, ...] = ()
    """Removes these columns."""
    flatten: dict[str, dict[str, Casting]] = Field(default={})
    """JSON text → the fields to take, by paths with points (`author.name`, `items.0.sku`), and their types as in
    `cast`. They become columns `<prefix><path>` in its place, with `_` for points; other fields are left out."""
    unnest: Annotated[
        tuple[str, ...], BeforeValidator(one_or_more, json_schema_input_type=str | list[str])
    ] = ()
    """Struct columns whose fields become columns named `<prefix><field>`."""
    prefix: str | None = None
    """What the names of flattened and unnested fields begin with. Default: the column's name and `_`."""
    rename: dict[str, str] = Field(default={})
    """Old name → new name. The columns stay where they are."""
    nest: dict[str, tuple[str, ...]] = Field(default={})
    """New struct column → the columns it takes in, such as `{address: [street, city]}`."""


def check_name(name: str, taken: Iterable[str]) -> None:
    """Raises ConfigError if a new column cannot be called so."""
    if name.casefold() in {n.casefold() for n in taken}:
        raise ConfigError(f"two columns would be called '{name}'", hint="Rename or drop one")
    if name.startswith(RESERVED_PREFIX) or not name:
        raise ConfigError(f"'{name}' cannot be a column's name", hint=f"{RESERVED_PREFIX}… is reserved")


class _Columns:
    """Columns while they are mapped: name → (expression, type, input columns)."""

    def __init__(self, schema: "pa.Schema") -> None:
        self.now: dict[str, tuple[str, pa.DataType, tuple[str, ...]]] = {
            f.name: (quote(f.name), f.type, (f.name,)) for f in schema
        }

    def take(self, name: str) -> "tuple[str, pa.DataType, tuple[str, ...]]":
        if name not in self.now:
            raise ConfigError(f"there is no column '{name}'", hint=close_to(name, list(self.now)))
        return self.now.pop(name)

    def replace(self, name: str, new: "dict[str, tuple[str, pa.DataType, tuple[str, ...]]]") -> None:
        """Puts `new` in the place of `name`."""
        if name not in self.now:
            raise ConfigError(f"there is no column '{name}'", hint=close_to(name, list(self.now)))
        before = list(self.now.items())
        self.now = {}
        for old, column in before:
            for key, value in new.items() if old == name else ((old, column),):
                self._add(key, value)

    def add(self, name: str, column: "tuple[str, pa.DataType, tuple[str, ...]]") -> None:
        self._add(name, column)

    def _add(self, name: str, column: "tuple[str, pa.DataType, tuple[str, ...]]") -> None:
        check_name(name, self.now)
        self.now[name] = column


class Map:
    """The `map` step."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def compile(self, schema: "pa.Schema", context: StepContext) -> Compiled:
        if self._config.explode is not None:
            return self._explode(self._config.explode, schema, context)
        if self._config.position is not None or self._config.keep_empty:
            raise ConfigError("position and keep_empty belong to explode, which is missing")
        return self._mapped(schema)

    def _explode(self, name: str, schema: "pa.Schema", context: StepContext) -> Compiled:
        import pyarrow.types as t

        require([name], schema)
        column, dtype = quote(name), schema.field(name).type
        rejects: tuple[Reject, ...] = ()
        values = column
        if is_text(dtype):
            values = nested.elements(column)
            rejects = (
                Reject(
                    f"explode_{name}", nested.wrong_kind(column, "ARRAY"), "the text is no JSON array", name
                ),
                Reject(f"explode_{name}", nested.loses_digits(column), _DIGITS, name),
            )
        elif not (t.is_list(dtype) or t.is_large_list(dtype)):
            raise ConfigError(f"column '{name}' of type {dtype} is no list and cannot be exploded")
        if self._config.keep_empty:
            values = f"CASE WHEN len({values}) > 0 THEN {values} ELSE [NULL] END"
        listed = [f"unnest({values}) AS {column}" if n == name else quote(n) for n in schema.names]
        if self._config.position is not None:
            check_name(self._config.position, schema.names)
            listed.append(f"generate_subscripts({values}, 1) AS {quote(self._config.position)}")
        return Compiled(
            {},
            {},
            {n: (n,) for n in schema.names}
            | ({self._config.position: (name,)} if self._config.position else {}),
            rejects=rejects,
            relation=f"SELECT {', '.join([*listed, *map(quote, context.system)])} FROM input",  # noqa: S608
            multiplies=True,
            then=self._mapped,
            counts_dropped_as="left_out_by_explode",
        )

    def _mapped(self, schema: "pa.Schema") -> Compiled:
        columns = _Columns(schema)
        if self._config.select is not None:
            columns.now = {name: columns.take(name) for name in self._config.select}
        for name in self._config.drop:
            columns.take(name)
        rejects, computed = self._flattened(columns)
        for name in self._config.unnest:
            self._unnest(columns, name)
        self._rename(columns)
        for name, members in self._config.nest.items():
            self._nest(columns, name, members)
        if not columns.now:
            raise ConfigError("the step leaves no column")
        now = columns.now
        return Compiled(
            columns={n: c[0] for n, c in now.items()},
            types={n: c[1] for n, c in now.items()},
            lineage={n: c[2] for n, c in now.items()},
            rejects=tuple(rejects),
            computed=tuple(layer for layer in computed if layer),
        )

    def _flattened(self, columns: _Columns) -> tuple[list[Reject], list[dict[str, str]]]:
        """Puts columns' declared fields in their places; returns what sends a record to quarantine, and what is
        computed for it."""
        rejects: list[Reject] = []
        computed: list[dict[str, str]] = []
        for number, name in enumerate(self._config.flatten):
            failing, layers = self._flatten(columns, name, f"{number}_")
            rejects += failing
            computed += layers
        return rejects, computed

    def _flatten(
        self, columns: _Columns, name: str, mark: str
    ) -> tuple[list[Reject], tuple[dict[str, str], ...]]:
        import pyarrow as pa

        expression, dtype, inputs = columns.now.get(name) or columns.take(name)
        if not is_text(dtype):
            raise ConfigError(
                f"column '{name}' of type {dtype} is no JSON text", hint="A struct is unnested: unnest"
            )
        prefix = f"{name}_" if self._config.prefix is None else self._config.prefix
        rule = f"flatten_{name}"
        rejects = [
            Reject(rule, nested.wrong_kind(expression, "OBJECT"), "the text is no JSON object", name),
            Reject(rule, nested.loses_digits(expression), _DIGITS, name),
        ]
        fields = {}
        layers: tuple[dict[str, str], ...] = ({}, {}, {})
        for number, (path, how) in enumerate(self._config.flatten[name].items()):
            target = arrow_type(how.type)
            field, text, made = (f"_sis_{kind}_{mark}{number}" for kind in ("field", "text", "cast"))
            found = convert(field, pa.string(), target, how, text)
            for layer, column, sql in zip(
                layers,
                (field, text, made),
                (nested.field(expression, path), found.text, found.value),
                strict=True,
            ):
                layer[column] = sql or "NULL"
            fields[prefix + path.replace(".", "_")] = (quote(made), target, inputs)
            if found.given is not None:
                reason = f"'{path}' does not convert to {how.type} without loss"
                rejects.append(Reject(rule, found.failed(made), reason, name))
        columns.replace(name, fields)
        return rejects, layers

    def _unnest(self, columns: _Columns, name: str) -> None:
        import pyarrow.types as t

        expression, dtype, inputs = columns.now.get(name) or columns.take(name)
        if not t.is_struct(dtype):
            raise ConfigError(
                f"column '{name}' of type {dtype} is no struct and cannot be unnested",
                hint=f"JSON text is taken apart by flatten: {{{name}: {{path: type}}}}, a list by explode: {name}",
            )
        prefix = f"{name}_" if self._config.prefix is None else self._config.prefix
        fields = {
            prefix + f.name: (f"struct_extract({expression}, {literal(f.name)})", f.type, inputs)
            for f in dtype
        }
        columns.replace(name, fields)

    def _rename(self, columns: _Columns) -> None:
        before = list(columns.now.items())
        for old in self._config.rename:
            if old not in columns.now:
                raise ConfigError(f"there is no column '{old}'", hint=close_to(old, list(columns.now)))
        columns.now = {}
        for name, column in before:
            columns.add(self._config.rename.get(name, name), column)

    def _nest(self, columns: _Columns, name: str, members: tuple[str, ...]) -> None:
        import pyarrow as pa

        if not members:
            raise ConfigError(f"nest: '{name}' takes in no column")
        taken = {m: columns.take(m) for m in members}
        expression = "{" + ", ".join(f"{literal(m)}: {c[0]}" for m, c in taken.items()) + "}"
        dtype = pa.struct([pa.field(m, c[1]) for m, c in taken.items()])
        inputs = tuple(dict.fromkeys(i for c in taken.values() for i in c[2]))
        columns.add(name, (expression, dtype, inputs))


PLUGIN = Map
