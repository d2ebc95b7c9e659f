"""JSON: one array of objects, an object a line, UTF-8. How each type is written: `export/text_values.py`."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from superinsight_sync.core.plugins import PluginConfig

if TYPE_CHECKING:
    import pyarrow as pa


class Config(PluginConfig):
    """Nothing to configure."""


class JsonArray:
    """Writes one JSON array, batch by batch."""

    extension: ClassVar[str] = "json"

    def __init__(self, config: Config) -> None:
        self.config = config

    def write(self, batches: "pa.RecordBatchReader", target: Path) -> int:
        from superinsight_sync.export.text_values import json_frame
        from superinsight_sync.export.types import check_types

        check_types(batches.schema)
        rows = 0
        with target.open("xb") as file:
            file.write(b"[")
            for batch in batches:
                if not len(batch):
                    continue
                lines = io.BytesIO()
                json_frame(batch).write_ndjson(lines)
                # Within JSON text a line feed is always escaped: each one here ends an object.
                objects = lines.getvalue()[:-1].replace(b"\n", b",\n")
                file.write(b",\n" if rows else b"\n")
                file.write(objects)
                rows += len(batch)
            file.write(b"\n]\n")
        return rows


PLUGIN = JsonArray
