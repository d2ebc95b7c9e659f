"""Steps' common ground: the columns that come in, and the ones that go through unchanged."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.sql import close_to, quote
from superinsight_sync.transform.protocol import Compiled

if TYPE_CHECKING:
    import pyarrow as pa


def require(names: Collection[str], schema: "pa.Schema") -> None:
    """Raises ConfigError naming the first column that is not there, and the closest one that is."""
    for name in names:
        if name not in schema.names:
            raise ConfigError(f"there is no column '{name}'", hint=close_to(name, schema.names))


def unchanged(schema: "pa.Schema", **compiled: object) -> Compiled:
    """A step whose data columns are its input's; `compiled` are further attributes of `Compiled`."""
    return Compiled(
        columns={n: quote(n) for n in schema.names},
        types={f.name: f.type for f in schema},
        lineage={n: (n,) for n in schema.names},
        **compiled,  # type: ignore[arg-type]
    )
