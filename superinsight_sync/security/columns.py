"""What a sample of a column's values shows, and how sure that is."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from superinsight_sync.security.detection import Rule, SensitiveKind
from superinsight_sync.security.sensitive import MIN_SHARE, names_a_person, rule_of_name, rule_of_value

Confidence = Literal["high", "medium", "low"]
Evidence = Literal["name", "values", "name and values", "text"]
_SURE_SHARE = 0.8
_SURE_CHANCE = 0.11
_FEW_VALUES = 10


@dataclass(frozen=True)
class Judged:
    """What a column holds.

    Attributes:
        rule: the detector's rule that found it; `free text` where several may stand within texts.
        matched, examined: distinct values of the sample that fit, and all of them.
        confidence: high: name and values agree, or at least 80 % of ten or more values fit a form or check digit that
            at most one in nine random values has. medium: enough values fit, or the name says so and values cannot
            tell. low: the name says so but values that have a strict form do not look so, or a few texts hold
            something.
    """

    kind: SensitiveKind
    rule: str
    evidence: Evidence
    confidence: Confidence
    matched: int
    examined: int


def judge(name: str, table: str, values: Sequence[str], rules: tuple[Rule, ...]) -> Judged | None:
    """What the column is, by its name and distinct values of it; None if it looks harmless."""
    named = rule_of_name(name, table, rules)
    found = Counter(rule_of_value(v, rules, named.kind if named else None) for v in values)
    fitting = {rule: n for rule, n in found.items() if rule is not None}
    matched, examined = sum(fitting.values()), len(values)
    if matched and matched >= MIN_SHARE * examined:
        rule = max(fitting, key=lambda r: (fitting[r], r.name))
        matched = sum(n for r, n in fitting.items() if r.kind == rule.kind)
        agrees = named is not None and named.kind == rule.kind
        sure = agrees or (
            examined >= _FEW_VALUES and matched >= _SURE_SHARE * examined and rule.by_chance <= _SURE_CHANCE
        )
        evidence: Evidence = "name and values" if agrees else "values"
        return Judged(rule.kind, rule.name, evidence, "high" if sure else "medium", matched, examined)
    inside = sum(names_a_person(value) for value in values)
    if named is not None:
        weak = bool(named.value) and named.by_chance <= _SURE_CHANCE and examined >= _FEW_VALUES
        return Judged(named.kind, named.name, "name", "low" if weak else "medium", matched, examined)
    if inside:
        confidence: Confidence = "medium" if inside >= MIN_SHARE * examined else "low"
        return Judged("personal_text", "free text", "text", confidence, inside, examined)
    return None


def inside_rules(rules: Sequence[Rule]) -> list[Rule]:
    """Rules that look within texts and are believed there, to be counted over whole columns."""
    return [r for r in rules if r.inside and (r.believed_in_text or r.kind == "phone")]
