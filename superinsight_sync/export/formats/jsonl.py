"""JSON Lines: one object a line, UTF-8, LF. How each type is written: `export/text_values.py`."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from superinsight_sync.core.plugins import PluginConfig

if TYPE_CHECKING:
    import pyarrow as pa


class Config(PluginConfig):
    """Nothing to configure."""


class JsonLines:
    """Writes JSON Lines."""

    extension: ClassVar[str] = "jsonl"

    def __init__(self, config: Config) -> None:
        self.config = config

    def write(self, batches: "pa.RecordBatchReader", target: Path) -> int:
        from superinsight_sync.export.text_values import json_frame
        from superinsight_sync.export.types import check_types

        check_types(batches.schema)
        rows = 0
        with target.open("xb") as file:
            for batch in batches:
                lines = io.BytesIO()
                json_frame(batch).write_ndjson(lines)
                file.write(lines.getbuffer())
                rows += len(batch)
        return rows


PLUGIN = JsonLines
