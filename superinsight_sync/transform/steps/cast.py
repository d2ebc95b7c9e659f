"""`cast`: typed conversion. A cell that does not convert sends its record to quarantine, never changed."""

from typing import TYPE_CHECKING

from pydantic import ConfigDict, Field

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.plugins import PluginConfig
from superinsight_sync.core.sql import quote
from superinsight_sync.transform.columns import require
from superinsight_sync.transform.conversion import Casting, convert
from superinsight_sync.transform.protocol import Compiled, Reject, StepContext

if TYPE_CHECKING:
    import pyarrow as pa


class Config(PluginConfig):
    """Converts columns to types. Columns that are not named stay as they are."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    columns: dict[str, Casting] = Field(min_length=1)
    """Column → type, or an object with the type and how the values are written."""


class Cast:
    """The `cast` step."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def compile(self, schema: "pa.Schema", context: StepContext) -> Compiled:
        from superinsight_sync.model.types import arrow_type

        require(self._config.columns, schema)
        columns = {n: quote(n) for n in schema.names}
        types = {f.name: f.type for f in schema}
        rejects: list[Reject] = []
        texts: dict[str, str] = {}
        values: dict[str, str] = {}
        for number, (name, how) in enumerate(self._config.columns.items()):
            text, made = f"_sis_text_{number}", f"_sis_cast_{number}"
            try:
                target = arrow_type(how.type)
                converted = convert(name, types[name], target, how, text)
            except ConfigError as error:
                raise error.at(f"column '{name}'") from None
            values[made], columns[name], types[name] = converted.value, quote(made), target
            if converted.text is not None:
                texts[text] = converted.text
            if converted.given is not None:
                reason = f"the value does not convert to {how.type} without loss"
                rejects.append(Reject(f"cast_{name}", converted.failed(made), reason, name))
        lineage = {n: (n,) for n in schema.names}
        computed = (texts, values) if texts else (values,)
        return Compiled(columns, types, lineage, rejects=tuple(rejects), computed=computed)


PLUGIN = Cast
