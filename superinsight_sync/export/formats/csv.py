"""CSV after RFC 4180 with a header, UTF-8 without a byte order mark, and LF as line end.

NULL is an empty cell and the empty text is `""`. In a dataset of one column a NULL is therefore an empty
line, which some readers skip. How each type is written: `export/text_values.py`.
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from superinsight_sync.core.plugins import PluginConfig

if TYPE_CHECKING:
    import pyarrow as pa


class Config(PluginConfig):
    """Nothing to configure."""


class Csv:
    """Writes CSV."""

    extension: ClassVar[str] = "csv"

    def __init__(self, config: Config) -> None:
        self.config = config

    def write(self, batches: "pa.RecordBatchReader", target: Path) -> int:
        from superinsight_sync.export.text_values import csv_frame
        from superinsight_sync.export.types import check_types

        check_types(batches.schema)
        rows = 0
        with target.open("xb") as file:
            file.write(_header(batches.schema.names))
            for batch in batches:
                lines = io.BytesIO()
                csv_frame(batch).write_csv(lines, include_header=False)
                file.write(lines.getbuffer())
                rows += len(batch)
        return rows


def _header(names: list[str]) -> bytes:
    """The first line; every name is quoted, so that none can be taken for something else."""
    cells = (f'"{name.replace(chr(34), chr(34) * 2)}"' for name in names)
    return (",".join(cells) + "\n").encode()


PLUGIN = Csv
