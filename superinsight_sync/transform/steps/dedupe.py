"""`dedupe`: one record per key."""

from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.plugins import PluginConfig
from superinsight_sync.core.sql import quote
from superinsight_sync.model.tables import EXTRACTED_AT, HASH, LOAD_ID
from superinsight_sync.transform.columns import require, unchanged
from superinsight_sync.transform.protocol import Compiled, Reject, StepContext

if TYPE_CHECKING:
    import pyarrow as pa


class Config(PluginConfig):
    """Keeps the latest (or the first) record of each key and counts the others as duplicates.

    Records with equal `order_by` are told apart by when they were extracted, then by their hash: the choice
    does not depend on the order they arrive in. A record whose `order_by` is NULL loses against one that has
    it.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    keys: tuple[str, ...] = ()
    """Columns that make a record the same one. Default: the stream's primary key."""
    keep: Literal["latest", "first"] = "latest"
    """Which record stays: the one with the greatest, or the least, `order_by`."""
    order_by: tuple[str, ...] = ()
    """Columns that tell which is later. Default: the stream's cursor, else when it was extracted."""
    null_keys: Literal["keep", "quarantine"] = "keep"
    """Records with a NULL in their key are nobody's duplicates: all are kept, or all quarantined."""


class Dedupe:
    """The `dedupe` step."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def compile(self, schema: "pa.Schema", context: StepContext) -> Compiled:
        keys = self._config.keys or context.primary_key
        if not keys:
            raise ConfigError("dedupe has no key", hint="Set keys, or the stream's primary_key")
        order = self._config.order_by or ((context.cursor,) if context.cursor else ())
        require((*keys, *order), schema)
        direction = "DESC" if self._config.keep == "latest" else "ASC"
        ranks = (*order, EXTRACTED_AT, HASH, LOAD_ID, "_sis_row")
        ranking = ", ".join(f"{quote(c)} {direction} NULLS LAST" for c in ranks)
        whole = " AND ".join(f"{quote(k)} IS NOT NULL" for k in keys)
        drops = (
            f"SELECT _sis_row FROM _sis_input WHERE {whole} "  # noqa: S608
            f"QUALIFY row_number() OVER (PARTITION BY {', '.join(map(quote, keys))} ORDER BY {ranking}) > 1"
        )
        rejects: tuple[Reject, ...] = ()
        if self._config.null_keys == "quarantine":
            only = keys[0] if len(keys) == 1 else None
            rejects = (Reject("dedupe_null_key", f"NOT ({whole})", f"a NULL in key {', '.join(keys)}", only),)
        return unchanged(schema, rejects=rejects, drops=drops, row_wise=False, counts_dropped_as="duplicates")


PLUGIN = Dedupe
