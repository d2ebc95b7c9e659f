"""`manual`: a person decides."""

from superinsight_sync.conflict.protocol import Stopped, StrategyContext
from superinsight_sync.core.plugins import PluginConfig


class Config(PluginConfig):
    """Puts the conflict into the review queue. Strategies after it are not tried."""


class Manual:
    """The `manual` strategy."""

    def __init__(self, config: Config) -> None:
        pass

    def compile(self, context: StrategyContext) -> Stopped:
        return Stopped()


PLUGIN = Manual
