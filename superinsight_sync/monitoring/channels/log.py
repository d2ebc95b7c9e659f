"""`log`: a JSON line in ``<home>/alerts.jsonl``, and a line of the logger."""

import json
import logging
import os

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.plugins import PluginConfig
from superinsight_sync.core.settings import Settings
from superinsight_sync.monitoring.alerts import Alert

_log = logging.getLogger("superinsight_sync.alerts")
_LEVELS = {
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}


class Config(PluginConfig):
    """Nothing to configure."""


class LogChannel:
    """Always at hand: needs a disk, no network."""

    def __init__(self, config: Config, settings: Settings) -> None:
        self.path = settings.home / "alerts.jsonl"

    def send(self, alert: Alert) -> None:
        """Appends the alert; lines of several processes do not mix. Raises ConfigError if it cannot write."""
        payload = alert.payload()
        _log.log(_LEVELS[alert.severity], "%s: %s", payload["title"], payload["text"])
        line = f"{json.dumps(payload, ensure_ascii=True)}\n".encode()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                written = os.write(file, line)
            finally:
                os.close(file)
        except OSError as error:
            raise ConfigError(f"cannot write: {error.strerror}", where=str(self.path)) from error
        if written != len(line):
            raise ConfigError("the disk is full", where=str(self.path), hint="Free some space")


PLUGIN = LogChannel
