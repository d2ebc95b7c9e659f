"""`sql`: one safe SELECT over the table `input`, for what the other steps cannot say."""

from typing import TYPE_CHECKING

from pydantic import ConfigDict, Field

from superinsight_sync.core.plugins import PluginConfig
from superinsight_sync.core.sql import safe_select
from superinsight_sync.model.tables import SYSTEM_COLUMNS, is_system
from superinsight_sync.transform.protocol import Compiled, StepContext

if TYPE_CHECKING:
    import pyarrow as pa


class Config(PluginConfig):
    """Replaces the records by those of a SELECT (DuckDB's dialect) over the table `input`.

    The system columns (`_sis_load_id`, `_sis_file`, `_sis_deleted_at` and what else the stream has) are there too
    and may be selected. Where they are not: a SELECT that makes each record of one record (it computes, filters,
    sorts, unnests) carries them along; records made of several get the newest load and time of the input, a hash
    of their own content, and NULL in the others. In a stream with partitions the SELECT runs for each partition by
    itself. Later steps quarantine these new records, not the raw ones. DuckDB's JSON functions cut a number with more
    than 17 digits and a fraction: `from_json` with a DECIMAL reads all of them, `cast` and `map` quarantine what they
    cannot keep.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    select: str = Field(min_length=1)
    """The SELECT, such as `SELECT origin, count(*) AS flights FROM input GROUP BY origin`."""


class Sql:
    """The `sql` step."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def compile(self, schema: "pa.Schema", context: StepContext) -> Compiled:
        system = context.system or SYSTEM_COLUMNS
        safe = safe_select(self._config.select, {"input": (*schema.names, *system)}, carried=system)
        lineage = {
            name: tuple(column for _, column in sources)
            for name, sources in safe.lineage.items()
            if not is_system(name)
        }
        return Compiled(
            {}, {}, lineage, relation=safe.sql, row_wise=False, counts_dropped_as="left_out_by_sql"
        )


PLUGIN = Sql
