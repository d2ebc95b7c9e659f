"""Export: a dataset from refined streams, published as a whole or not at all."""

import tempfile
import time
from pathlib import Path

from superinsight_sync.core.canonical import fingerprint
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.model.declaration import DatasetSpec
from superinsight_sync.model.results import ExportResult
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.pipeline.execution import Outcome, Task, execute


def dataset_prefix(spec: DatasetSpec) -> str:
    """Where a dataset's versions are, below the lake's root."""
    return f"{spec.tenant}/datasets/{spec.name}"
