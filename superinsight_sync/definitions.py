"""Dagster's single entry point."""

from pathlib import Path

import dagster as dg

from superinsight_sync.core.process import ease_collector
from superinsight_sync.orchestration.loading import load_project_definitions

ease_collector()


@dg.definitions
def defs() -> dg.Definitions:
    """Everything declared under ``defs/``."""
    return load_project_definitions(Path(__file__).parent)
