"""`keep_both`: nothing is decided and nothing is lost: the field holds a list of all values."""

from superinsight_sync.conflict.protocol import Combined, StrategyContext
from superinsight_sync.core.plugins import PluginConfig


class Config(PluginConfig):
    """Keeps all values. The field's column is a list in every row, also where all sources agree."""


class KeepBoth:
    """The `keep_both` strategy: it compiles on the list that the field's column holds."""

    def __init__(self, config: Config) -> None:
        pass

    def compile(self, context: StrategyContext) -> Combined:
        return Combined("list_sort(list_distinct(flatten(list(value))))")


PLUGIN = KeepBoth
