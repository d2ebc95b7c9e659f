"""Which columns hold personal or secret data: by their names, and by checking a sample of distinct values.

Meant to err on the side of protection: a column that is wrongly called sensitive only loses its statistics.
"""

import re
from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Literal

from superinsight_sync.security.checksums import luhn_holds as luhn_holds
from superinsight_sync.security.detection import DETECTORS, Rule
from superinsight_sync.security.detection import SensitiveKind as SensitiveKind

Sensitivity = Literal["public", "internal", "personal", "secret"]

MIN_SHARE = 0.3
"""A column is sensitive when at least this share of its sampled values looks so."""
MAX_WHOLE_LENGTH = 200
"""A longer text is free text: it is searched, not taken for one value as a whole."""
_OPT_IN = {"pattern"}
_PEOPLE = re.compile(
    r"(?:^|_)(customer|client|user|person|people|employee|patient|contact|member|passenger|staff|student|author)s?$"
)
_PHONE_IN_WORDS = re.compile(
    r"(?<![\w.-])(?:\(0?\d{2,4}\)\s?\d{3}[-. ]?\d{3,5}|\d{3}[-. ]\d{3}[-. ]\d{4}|0\d{2,4}[ /-]\d{5,8}|0\d{9,11})"
    r"(?![\w-])"
    r"|(?<![\d.-])1[3-9]\d{9}(?![\d-])"
)
_PLUS_PHONE = re.compile(r"(?<!\d)\+[1-9][\d\s().-]{6,18}\d")


@cache
def builtin_rules() -> tuple[Rule, ...]:
    """The rules of all detectors that need no options, in the order they are asked."""
    made = [DETECTORS.load(n)(DETECTORS.config(n)()) for n in DETECTORS.names() if n not in _OPT_IN]
    return tuple(rule for detector in sorted(made, key=lambda d: d.rank) for rule in detector.rules())


@cache
def _believed_in_text() -> tuple[re.Pattern[str], ...]:
    return tuple(
        re.compile(_python_pattern(r.inside), re.ASCII)
        for r in builtin_rules()
        if r.inside and r.believed_in_text
    )


def _python_pattern(pattern: str) -> str:
    """A pattern of RE2 for Python's `re`."""
    return pattern.replace(r"[\p{L}\p{N}", r"[\w").replace(r"\p{L}", r"[^\W\d_]")


def rule_of_name(column: str, table: str = "", rules: tuple[Rule, ...] | None = None) -> Rule | None:
    """The rule that a column's name fits. A bare `name` counts as a person's in a table of people (`customers`)."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", column)
    text = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    rules = builtin_rules() if rules is None else rules
    found = next((r for r in rules if r.fits_name(text)), None) or next(
        (r for r in rules if r.fits_words(column)), None
    )
    if found is None and text == "name" and _PEOPLE.search(table.lower()):
        found = next(r for r in rules if r.kind == "person_name")
    return found


def kind_of_name(column: str, table: str = "") -> SensitiveKind | None:
    """What a column's name says."""
    rule = rule_of_name(column, table)
    return rule.kind if rule else None


def rule_of_value(
    value: str, rules: tuple[Rule, ...] | None = None, named: SensitiveKind | None = None
) -> Rule | None:
    """The rule that one value fits as a whole, with its checksum where it has one.

    Args:
        named: what the column's name says: rules whose values alone prove nothing count only for that kind.
    """
    text = value.strip()
    if len(text) > MAX_WHOLE_LENGTH:
        return None
    for rule in builtin_rules() if rules is None else rules:
        if (not rule.named_only or rule.kind == named) and rule.fits_value(text):
            return rule
    return None


def kind_of_value(value: str) -> SensitiveKind | None:
    """What one value looks like as a whole."""
    rule = rule_of_value(value)
    return rule.kind if rule else None


def kind_of_values(values: Iterable[str]) -> SensitiveKind | None:
    """What a sample of distinct values looks like: the commonest kind, if enough look sensitive at all."""
    return commonest(kind_of_value(value) for value in values)


def commonest(kinds: Iterable[SensitiveKind | None]) -> SensitiveKind | None:
    """The commonest kind of a sample, where at least `MIN_SHARE` of it has one."""
    counts = Counter(kinds)
    total = counts.total()
    found: Counter[SensitiveKind] = Counter({k: n for k, n in counts.items() if k is not None})
    if not found or found.total() < MIN_SHARE * total:
        return None
    return min(found, key=lambda k: (-found[k], k))


def sensitivity_of(kind: SensitiveKind) -> Sensitivity:
    """`secret` for credentials and payment data, `personal` for the rest, pay among it."""
    return "secret" if kind in ("secret", "card", "iban") else "personal"


def names_a_person(text: str) -> bool:
    """Whether an e-mail address, a telephone or an official number stands in a text, with words around it or not.

    Digits alone may be anything; with words around them they are believed to be a telephone.
    """
    if _PLUS_PHONE.search(text) or any(pattern.search(text) for pattern in _believed_in_text()):
        return True
    return _PHONE_IN_WORDS.search(text) is not None and any(char.isalpha() for char in text)
