"""Dagster's single entry point."""

from pathlib import Path

import dagster as dg

from superinsight_sync.orchestration.loading import load_project_definitions


@dg.definitions
def defs() -> dg.Definitions:
    """Everything declared under ``defs/``."""
    return load_project_definitions(Path(__file__).parent)
