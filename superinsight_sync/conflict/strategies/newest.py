"""`newest`: the value that was said last wins."""

from collections.abc import Mapping
from datetime import timedelta

from superinsight_sync.conflict.protocol import Scored, StrategyContext
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.plugins import PluginConfig
from superinsight_sync.core.sql import close_to, literal
from superinsight_sync.model.written import Duration


class Config(PluginConfig):
    """Takes the value whose source began to say it last, by the sources' clocks."""

    tolerance: Duration = timedelta(0)
    """Values that came closer together than this are not decided by it: `5m`."""
    clocks: Mapping[str, Duration] = {}
    """Stream → how far its clock is ahead of the others'."""


class Newest:
    """The `newest` strategy."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def compile(self, context: StrategyContext) -> Scored:
        ahead = []
        for stream, by in self._config.clocks.items():
            if stream not in context.streams:
                raise ConfigError(
                    f"newest: there is no stream '{stream}'", hint=close_to(stream, context.streams)
                )
            ahead.append(f"WHEN {literal(stream)} THEN {round(by.total_seconds() * 1e6)}")
        late = f" - CASE stream {' '.join(ahead)} ELSE 0 END" if ahead else ""
        return Scored(f"epoch_us(as_of){late}", margin=self._config.tolerance.total_seconds() * 1e6)


PLUGIN = Newest
