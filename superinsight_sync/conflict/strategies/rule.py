"""`rule`: the value for which an expression holds wins, or the one for which it is greatest."""

from pydantic import Field

from superinsight_sync.conflict.protocol import CLAIM_COLUMNS, Scored, StrategyContext
from superinsight_sync.core.plugins import PluginConfig
from superinsight_sync.core.sql import safe_expression


class Config(PluginConfig):
    """Takes the value that a business rule prefers."""

    prefer: str = Field(min_length=1)
    """An expression over `value`, `stream`, `as_of`, `version` and the fields of the same record. It is true or false,
    such as `verified AND value > 0`, or a number, of which the greatest wins. A claim for which it is false or NULL
    cannot win."""


class Rule:
    """The `rule` strategy."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def compile(self, context: StrategyContext) -> Scored:
        known = [*CLAIM_COLUMNS, *(f for f in context.fields if f not in CLAIM_COLUMNS)]
        wanted = safe_expression(self._config.prefer, known)
        number = f"TRY(CAST(({wanted}) AS DOUBLE))"
        return Scored(f"CASE WHEN typeof({wanted}) = 'BOOLEAN' THEN nullif({number}, 0) ELSE {number} END")


PLUGIN = Rule
