"""Free text as SQL: what the detectors find within a text becomes its kind in brackets.

Patterns only, without their checksums: a number that is no card is better hidden than a card shown.
"""

from collections.abc import Sequence

from superinsight_sync.core.sql import literal
from superinsight_sync.security.detection import Rule
from superinsight_sync.security.sensitive import builtin_rules

_LONG_NUMBER = r"\b[A-Z]{0,3}\d(?:[ -]?\d){7,}[Xx]?\b"
"""Digits that no detector knows: a customer's number perhaps."""


def masked_text(text: str, rules: Sequence[Rule] | None = None) -> str:
    """SQL of a text without what `rules` (default: the built-in ones) find in it, in one pass for each kind."""
    patterns: dict[str, list[str]] = {}
    for rule in builtin_rules() if rules is None else rules:
        if rule.inside:
            patterns.setdefault(rule.kind, []).append(f"(?:{rule.inside})")
    for kind, alternatives in patterns.items():
        text = f"regexp_replace({text}, {literal('|'.join(alternatives))}, '[{kind}]', 'g')"
    return f"regexp_replace({text}, {literal(_LONG_NUMBER)}, '[number]', 'g')"
