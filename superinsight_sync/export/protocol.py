"""What every export format implements; one file in `formats/` is one format."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from superinsight_sync.core.plugins import Registry

if TYPE_CHECKING:
    import pyarrow as pa


class Format(Protocol):
    """Writes one split as one file, deterministically: equal rows in equal order give equal bytes."""

    extension: ClassVar[str]

    def __init__(self, config: Any) -> None: ...

    def write(self, batches: "pa.RecordBatchReader", target: Path) -> int:
        """Streams the rows into `target` (a local file that does not exist yet). Returns the row count.

        Raises ConfigError naming a column whose type the format cannot hold exactly.
        """
        ...


FORMATS: Registry[Format] = Registry("superinsight_sync.export.formats", "export format")
