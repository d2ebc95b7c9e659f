"""`map`: which columns there are, what they are called, and how they nest. It changes no value."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import BeforeValidator, ConfigDict, Field

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.plugins import PluginConfig
from superinsight_sync.core.sql import close_to, literal, quote
from superinsight_sync.model.declaration import RESERVED_PREFIX
from superinsight_sync.transform.protocol import Compiled, StepContext

if TYPE_CHECKING:
    import pyarrow as pa


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class Config(PluginConfig):
    """Selects, drops, unnests, renames and nests columns, in this order; each sees what came before."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    select: tuple[str, ...] | None = None
    """Keeps these columns, in this order, and no others."""
    drop: tuple[str, ...] = ()
    """Removes these columns."""
    unnest: Annotated[
        tuple[str, ...], BeforeValidator(_one_or_more, json_schema_input_type=str | list[str])
    ] = ()
    """Struct columns whose fields become columns named `<prefix><field>`."""
    prefix: str | None = None
    """What the names of unnested fields begin with. Default: the struct's name and `_`."""
    rename: dict[str, str] = Field(default={})
    """Old name → new name. The columns stay where they are."""
    nest: dict[str, tuple[str, ...]] = Field(default={})
    """New struct column → the columns it takes in, such as `{address: [street, city]}`."""


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
        if name.casefold() in {n.casefold() for n in self.now}:
            raise ConfigError(f"two columns would be called '{name}'", hint="Rename or drop one")
        if name.startswith(RESERVED_PREFIX) or not name:
            raise ConfigError(f"'{name}' cannot be a column's name", hint=f"{RESERVED_PREFIX}… is reserved")
        self.now[name] = column


class Map:
    """The `map` step."""

    row_wise: ClassVar[bool] = True

    def __init__(self, config: Config) -> None:
        self._config = config

    def compile(self, schema: "pa.Schema", context: StepContext) -> Compiled:
        columns = _Columns(schema)
        if self._config.select is not None:
            columns.now = {name: columns.take(name) for name in self._config.select}
        for name in self._config.drop:
            columns.take(name)
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
        )

    def _unnest(self, columns: _Columns, name: str) -> None:
        import pyarrow.types as t

        expression, dtype, inputs = columns.now.get(name) or columns.take(name)
        if not t.is_struct(dtype):
            raise ConfigError(f"column '{name}' of type {dtype} is no struct and cannot be unnested")
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
