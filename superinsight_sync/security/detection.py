"""What every detector of sensitive data implements; one file in `detectors/` is one family.

A rule says by what a column's name, a whole value, and a place in free text are known. Patterns are RE2's, so that
DuckDB can look for them as well.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

from superinsight_sync.core.plugins import PluginConfig, Registry

SensitiveKind = Literal[
    "email",
    "phone",
    "national_id",
    "card",
    "iban",
    "ip",
    "person_name",
    "address",
    "birth_date",
    "pay",
    "personal_text",
    "plate",
    "company_id",
    "secret",
]


@dataclass(frozen=True)
class Rule:
    """How one sort of sensitive value is known.

    Attributes:
        name: of the rule, in reports.
        kind: what is found.
        names: alternatives of a pattern for column names, which are compared in snake case.
        words: parts of column names in other scripts.
        value: a pattern of the whole value; empty if values tell nothing.
        holds: what else a value of that shape must satisfy, such as a checksum.
        by_chance: the share of random values of that shape for which `holds` is true.
        named_only: whether values prove something only where the column's name says the same.
        inside: a pattern of such a value within free text.
        believed_in_text: whether what `inside` finds makes a text personal; masks hide it in any case.
    """

    name: str
    kind: SensitiveKind
    names: str = ""
    words: tuple[str, ...] = ()
    value: str = ""
    holds: Callable[[str], bool] | None = None
    by_chance: float = 1.0
    named_only: bool = False
    inside: str = ""
    believed_in_text: bool = True

    @cached_property
    def _name(self) -> re.Pattern[str]:
        return re.compile(rf"(?:^|_)(?:{self.names})(?:_?\d+)?(?:$|_)")

    @cached_property
    def _value(self) -> re.Pattern[str]:
        return re.compile(self.value)

    def fits_name(self, snake_case: str) -> bool:
        """Whether a column's name says so."""
        return bool(self.names) and self._name.search(snake_case) is not None

    def fits_words(self, name: str) -> bool:
        """Whether a name in another script says so."""
        return any(word in name for word in self.words)

    def fits_value(self, text: str) -> bool:
        """Whether a text without blanks around it is such a value as a whole."""
        if not self.value or not self._value.fullmatch(text):
            return False
        return self.holds is None or self.holds(text)


class Detector(Protocol):
    """One family of detectors. Made from its validated `Config`.

    Attributes:
        rank: families of a smaller rank are asked first.
    """

    rank: int

    def __init__(self, config: Any) -> None: ...

    def rules(self) -> tuple[Rule, ...]:
        """Its rules, in the order they are asked."""
        ...


class NoOptions(PluginConfig):
    """A detector without options."""


DETECTORS: Registry[Detector] = Registry("superinsight_sync.security.detectors", "detector")
