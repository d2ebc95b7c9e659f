"""`mask`: values that nobody after this step may see."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import Field

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.plugins import PluginConfig
from superinsight_sync.core.sql import quote
from superinsight_sync.model.masking import Mask
from superinsight_sync.security.masking import KEEPS_KEYS_APART, compile_masks, digest_text
from superinsight_sync.transform.protocol import Compiled, Reject, StepContext

if TYPE_CHECKING:
    import pyarrow as pa


class Config(PluginConfig):
    """Masks columns. Their values stay in the raw table alone: quarantine hides them too. NULL stays NULL."""

    columns: dict[str, Mask] = Field(min_length=1)
    """Column → redact, null, partial, hmac, token, generalise, shift, format or text, or an object with `how` and the
    mask's options."""


class MaskStep:
    """The `mask` step."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def compile(self, schema: "pa.Schema", context: StepContext) -> Compiled:
        declared = self._config.columns
        for key in context.primary_key:
            if key in declared and declared[key].how not in KEEPS_KEYS_APART:
                raise ConfigError(
                    f"column '{key}' is in the primary key, and {declared[key].how} would make keys equal",
                    hint=f"Mask it by one of {', '.join(KEEPS_KEYS_APART)}",
                )
        masked = compile_masks(declared, schema, context.masking)
        secrets = dict(masked.secrets)
        hidden: dict[str, Callable[[str], str]] = dict.fromkeys(declared, _stars)
        for key in set(context.primary_key) & set(declared):
            secrets["quarantine"] = context.masking.key("quarantine")
            hidden[key] = _digest(context.masking.version)
        return Compiled(
            columns={n: masked.columns.get(n, quote(n)) for n in schema.names},
            types={f.name: masked.types.get(f.name, f.type) for f in schema},
            lineage={n: (n, *masked.subjects.get(n, ())) for n in schema.names},
            warnings=tuple(
                Reject(f"mask_{name}", condition, "the mask does not fit the value, which became NULL", name)
                for name, condition in masked.lost.items()
                if not masked.lookups
            ),
            lookups=masked.lookups,
            secrets=secrets,
            hidden=hidden,
        )


def _stars(_value: str) -> str:
    """SQL of what quarantine shows in place of a masked value."""
    return "'***'"


def _digest(version: int) -> Callable[[str], str]:
    """SQL by which quarantine knows a masked key again."""
    return lambda value: digest_text(f"CAST({value} AS VARCHAR)", "quarantine", version)


PLUGIN = MaskStep
