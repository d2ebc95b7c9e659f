"""`rule`: a check every record must pass, as a safe SQL boolean expression."""

from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict, Field

from superinsight_sync.core.plugins import PluginConfig
from superinsight_sync.core.sql import safe_expression
from superinsight_sync.model.declaration import Name
from superinsight_sync.transform.columns import unchanged
from superinsight_sync.transform.protocol import Compiled, Reject, StepContext

if TYPE_CHECKING:
    import pyarrow as pa


class Config(PluginConfig):
    """Quarantines, or only counts, the records for which a check is not true."""

    model_config = ConfigDict(use_attribute_docstrings=True, populate_by_name=True)

    name: Name
    """The rule's name in counts and in quarantine."""
    check: str = Field(min_length=1)
    """A boolean expression over the columns, such as `amount > 0 AND status IN ('new', 'paid')`."""
    otherwise: Literal["quarantine", "warn"] = Field(default="quarantine", alias="else")
    """`quarantine` sets the record aside; `warn` lets it pass and counts it."""
    nulls: Literal["pass", "fail"] = "fail"
    """What becomes of a record whose check is neither true nor false, because a value is NULL or the
    expression cannot be computed for it."""
    reason: str | None = None
    """What is wrong with such a record, for people. Default: the check itself."""


class Rule:
    """The `rule` step."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def compile(self, schema: "pa.Schema", context: StepContext) -> Compiled:
        check = f"TRY(CAST(({safe_expression(self._config.check, schema.names)}) AS BOOLEAN))"
        failed = f"{check} IS FALSE" if self._config.nulls == "pass" else f"{check} IS NOT TRUE"
        reason = self._config.reason or f"not true: {self._config.check}"
        reject = Reject(self._config.name, failed, reason)
        if self._config.otherwise == "warn":
            return unchanged(schema, warnings=(reject,))
        return unchanged(schema, rejects=(reject,))


PLUGIN = Rule
