"""The Dagster definitions of the project the command is in."""

import importlib
import sys
import tomllib
import warnings

import dagster as dg

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.settings import load_settings


def definitions() -> dg.Definitions:
    """Loads them as Dagster would. Raises ConfigError outside a project."""
    for noise in (dg.BetaWarning, dg.PreviewWarning, dg.SupersessionWarning):
        warnings.filterwarnings("ignore", category=noise)
    folder = load_settings().project_dir
    try:
        dg_config = tomllib.loads((folder / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    except (OSError, KeyError) as error:
        raise ConfigError(
            f"{folder} is no project folder", hint="Go to one, or make one with `sis init`"
        ) from error
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    target = dg_config.get("code_location_target_module", f"{dg_config['root_module']}.definitions")
    loaded = importlib.import_module(target).defs
    found: dg.Definitions = loaded() if callable(loaded) else loaded
    return found
