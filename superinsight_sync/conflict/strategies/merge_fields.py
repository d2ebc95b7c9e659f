"""`merge_fields`: all values together make one: a union of lists, the longest, the most frequent."""

from typing import Literal

from superinsight_sync.conflict.protocol import Combined, Scored, StrategyContext
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.plugins import PluginConfig


class Config(PluginConfig):
    """Makes one value of all."""

    take: Literal["union", "longest", "most_frequent", "greatest", "least"]
    """union: every element of the lists, once, in order. longest: of texts, lists or bytes. most_frequent: what most
    records say. greatest, least: of numbers, dates and times."""


class MergeFields:
    """The `merge_fields` strategy."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def compile(self, context: StrategyContext) -> Scored | Combined:
        take, is_list = self._config.take, context.type.endswith("[]")
        match take:
            case "union":
                if not is_list:
                    raise ConfigError(
                        f"merge_fields: union is of lists, and '{context.field}' has the type {context.type}",
                        hint="Use keep_both to keep single values side by side",
                    )
                return Combined("list_sort(list_distinct(flatten(list(value))))")
            case "longest":
                if not is_list and context.type not in ("VARCHAR", "BLOB"):
                    raise ConfigError(
                        f"merge_fields: longest is of texts and lists; '{context.field}' has the type {context.type}"
                    )
                return Scored("octet_length(value)" if context.type == "BLOB" else "length(value)")
            case "most_frequent":
                return Scored("1", gather="sum")
            case "greatest":
                return Combined("max(value)")
        return Combined("min(value)")


PLUGIN = MergeFields
