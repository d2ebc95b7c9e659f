"""What the kinds have in common whose columns a sample of the records tells."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from superinsight_sync.core.errors import SisError
from superinsight_sync.model.declaration import StreamSpec

if TYPE_CHECKING:
    import pyarrow as pa

    from superinsight_sync.records.json_rows import Shape

_KEYS = {"name", "endpoint", "query", "collection", "options", "sync", "primary_key"}


class Sampled:
    """Keeps what a sample said of each stream, and what its table holds. See `sources.protocol.Accompanied`."""

    def __init__(self) -> None:
        self._shapes: dict[str, Shape] = {}
        self._tables: dict[str, pa.Schema] = {}

    def prepare(self, stream: StreamSpec, known: "pa.Schema", position: Any) -> None:
        """Takes the columns that a table has: they keep their types where these hold what a sample has."""
        self._tables[_key(stream)] = known
        self._shapes.pop(_key(stream), None)

    def landed(self, stream: StreamSpec, position: Any, load_id: str) -> Mapping[str, int | float]:
        """The server is told nothing."""
        return {}

    def failed(self, stream: StreamSpec, error: SisError) -> None:
        """The server is told nothing."""

    def _table(self, stream: StreamSpec) -> "pa.Schema | None":
        return self._tables.get(_key(stream))

    def _keep(self, stream: StreamSpec, shape: "Shape") -> "Shape":
        self._shapes[_key(stream)] = shape
        return shape

    def _kept(self, stream: StreamSpec) -> "Shape | None":
        return self._shapes.get(_key(stream))


def _key(stream: StreamSpec) -> str:
    return stream.model_dump_json(include=_KEYS)
