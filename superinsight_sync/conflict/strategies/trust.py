"""`trust`: the value of the sources that were right more often wins, where reviewed cases show that this is enough."""

from superinsight_sync.conflict.protocol import Scored, StrategyContext
from superinsight_sync.core.plugins import PluginConfig


class Config(PluginConfig):
    """Takes the value with the greatest sum of learned weights. Decides only where the weight's lead was right often
    enough among the cases that people reviewed; before `sis conflicts learn` has seen enough of them, nothing."""


class Trust:
    """The `trust` strategy."""

    def __init__(self, config: Config) -> None:
        pass

    def compile(self, context: StrategyContext) -> Scored:
        if context.threshold is None:
            return Scored("CAST(NULL AS DOUBLE)")
        return Scored("weight", gather="sum", margin=context.threshold)


PLUGIN = Trust
