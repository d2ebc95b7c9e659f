"""`person_name`: names of people."""

import re

from superinsight_sync.security.detection import NoOptions, Rule
from superinsight_sync.security.name_lists import CHINESE_SURNAMES, FIRST_NAMES

Config = NoOptions
_WORD = r"[A-Z][A-Za-z'’-]*\.?"
_NAME = r"\p{Lu}[\p{L}'’-]+"
_FIRST = "|".join(sorted(name.capitalize() for name in FIRST_NAMES if len(name) > 2))
_TITLE = r"(?:Mr|Mrs|Ms|Miss|Dr|Prof|Herr|Frau|Mme|Sr|Sra)"


def _begins_with_a_first_name(text: str) -> bool:
    words = [w.strip(".").lower() for w in re.split(r"[ ,]+", text) if w]
    return bool(FIRST_NAMES & set(words[:1] if "," not in text else words[1:2]))


def _begins_with_a_surname(text: str) -> bool:
    return text[0] in CHINESE_SURNAMES or text[:2] in CHINESE_SURNAMES


class PersonNames:
    """First and last name by a list of first names; one word alone only where the column's name agrees."""

    rank = 75

    def __init__(self, config: NoOptions) -> None: ...

    def rules(self) -> tuple[Rule, ...]:
        return (
            Rule(
                "person_name",
                "person_name",
                names=r"(first|last|full|given|family|middle|maiden|sur|user|nick|display|legal)_?name"
                r"|(customer|client|patient|employee|contact|person|passenger|recipient|sender|owner)_?name"
                r"|mothers?_maiden|fname|lname|forename|vorname|nachname|login|username",
                words=("姓名", "名字"),
                value=rf"(?:{_TITLE}\.? )?{_WORD},? {_WORD}(?: {_WORD}){{0,2}}",
                holds=_begins_with_a_first_name,
                by_chance=0.3,
                inside=rf"(?:\b{_TITLE}\.? |\b(?i:my name is|i am|i'm|this is) ){_NAME}(?: {_NAME}){{0,2}}"
                rf"|\b(?:{_FIRST})\b(?: [A-Z]\.)?(?: {_NAME}){{0,2}}",
                believed_in_text=False,
            ),
            Rule(
                "single_name",
                "person_name",
                value=r"[A-Za-z][a-z'’-]+|[A-Z'’-]+",
                holds=lambda text: text.lower() in FIRST_NAMES,
                named_only=True,
            ),
            Rule(
                "chinese_name",
                "person_name",
                value="[一-鿿]{2,4}",
                holds=_begins_with_a_surname,
                by_chance=0.3,
                named_only=True,
                inside=r"(?:姓名|联系人|收件人|先生|女士)[:： ]?[一-鿿]{2,3}",
                believed_in_text=False,
            ),
        )


PLUGIN = PersonNames
