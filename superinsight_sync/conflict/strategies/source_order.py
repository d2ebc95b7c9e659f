"""`source_order`: the stream that comes first wins."""

from superinsight_sync.conflict.protocol import Scored, StrategyContext
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.plugins import PluginConfig
from superinsight_sync.core.sql import close_to, literal


class Config(PluginConfig):
    """Takes the value of the first stream in an order."""

    order: tuple[str, ...] = ()
    """Streams, the best first; those that are left out cannot win. Default: as the entity names them."""


class SourceOrder:
    """The `source_order` strategy. Two records of the same stream that differ are not decided."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def compile(self, context: StrategyContext) -> Scored:
        if not self._config.order:
            return Scored("-place")
        cases = []
        for number, stream in enumerate(self._config.order):
            if stream not in context.streams:
                raise ConfigError(
                    f"source_order: there is no stream '{stream}'", hint=close_to(stream, context.streams)
                )
            cases.append(f"WHEN {literal(stream)} THEN {-number}")
        return Scored(f"CASE stream {' '.join(cases)} END")


PLUGIN = SourceOrder
