"""`pattern`: a detector of your own, in `sensitive.yaml`."""

import re
from typing import Literal

from pydantic import Field, field_validator

from superinsight_sync.core.plugins import PluginConfig
from superinsight_sync.model.written import Name
from superinsight_sync.security.checksums import CHECKS
from superinsight_sync.security.detection import Rule, SensitiveKind


class Config(PluginConfig):
    """A kind of value that only you know, by column names, a pattern, or both."""

    name: Name
    """The rule's name in reports."""
    kind: SensitiveKind
    """What it finds, such as national_id."""
    columns: tuple[str, ...] = ()
    """Column names in snake case that say so, as patterns: `member_(no|id)`."""
    values: str = ""
    """A pattern of the whole value, such as `M-[0-9]{6}`."""
    check: Literal["luhn", "iban", "chinese_id"] | None = None
    """A check digit that values must have."""
    in_text: bool = Field(default=True)
    """Whether such values are looked for within free text too."""

    @field_validator("values", "columns")
    @classmethod
    def _compiles(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for pattern in (value,) if isinstance(value, str) else value:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"no pattern: {error}") from None
            if re.search(r"\(\?[=!<]|\\[1-9]", pattern):
                raise ValueError("look-around and back references are not known here")
        return value


class Pattern:
    """A detector from YAML. Asked before all others."""

    rank = 0

    def __init__(self, config: Config) -> None:
        self._config = config

    def rules(self) -> tuple[Rule, ...]:
        c = self._config
        return (
            Rule(
                c.name,
                c.kind,
                names="|".join(c.columns),
                value=c.values,
                holds=CHECKS[c.check] if c.check else None,
                by_chance=0.1 if c.check else 0.01,
                inside=rf"\b(?:{c.values})\b" if c.in_text and c.values else "",
            ),
        )


PLUGIN = Pattern
