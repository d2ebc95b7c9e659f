"""`sql`: one safe SELECT over the table `input`, for what the other steps cannot say."""

from typing import TYPE_CHECKING, ClassVar

from pydantic import ConfigDict, Field

from superinsight_sync.core.plugins import PluginConfig
from superinsight_sync.core.sql import safe_select
from superinsight_sync.model.tables import SYSTEM_COLUMNS
from superinsight_sync.transform.protocol import Compiled, StepContext

if TYPE_CHECKING:
    import pyarrow as pa


class Config(PluginConfig):
    """Replaces the records by those of a SELECT (DuckDB's dialect) over the table `input`.

    The system columns (`_sis_load_id`, `_sis_extracted_at`, `_sis_hash`, `_sis_partition`) are there too and
    may be selected, as `SELECT *` does. Where they are not, a record gets the newest load and time of its
    input and a hash of its own content. Later steps quarantine these new records, not the raw ones.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    select: str = Field(min_length=1)
    """The SELECT, such as `SELECT origin, count(*) AS flights FROM input GROUP BY origin`."""


class Sql:
    """The `sql` step."""

    row_wise: ClassVar[bool] = False

    def __init__(self, config: Config) -> None:
        self._config = config

    def compile(self, schema: "pa.Schema", context: StepContext) -> Compiled:
        safe = safe_select(self._config.select, {"input": (*schema.names, *SYSTEM_COLUMNS)})
        lineage = {
            name: tuple(column for _, column in sources)
            for name, sources in safe.lineage.items()
            if name not in SYSTEM_COLUMNS
        }
        return Compiled(
            {}, {}, lineage, relation=safe.sql, row_wise=False, counts_dropped_as="left_out_by_sql"
        )


PLUGIN = Sql
