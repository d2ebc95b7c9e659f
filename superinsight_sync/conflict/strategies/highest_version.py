"""`highest_version`: the value of the record with the greatest version number wins."""

from superinsight_sync.conflict.protocol import Scored, StrategyContext
from superinsight_sync.core.plugins import PluginConfig


class Config(PluginConfig):
    """Takes the value with the greatest version. Decides nothing where a record has none."""


class HighestVersion:
    """The `highest_version` strategy."""

    def __init__(self, config: Config) -> None:
        pass

    def compile(self, context: StrategyContext) -> Scored:
        return Scored("version", everyone=True)


PLUGIN = HighestVersion
