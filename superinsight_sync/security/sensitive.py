"""Which columns hold personal or secret data: by their names, and by checking a sample of distinct values.

Meant to err on the side of protection: a column that is wrongly called sensitive only loses its statistics.
"""

import ipaddress
import re
from collections import Counter
from collections.abc import Iterable
from typing import Literal

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
    "secret",
]
Sensitivity = Literal["public", "internal", "personal", "secret"]

MIN_SHARE = 0.3
"""A column is sensitive when at least this share of its sampled values looks so."""

_NAMES: tuple[tuple[SensitiveKind, str], ...] = (
    (
        "secret",
        r"password|passwd|pwd|secret|api_?key|private_?key|credential|auth_?token|access_?token|token|pin",
    ),
    ("secret", r"cvv|cvc|otp"),
    ("email", r"e_?mail|mail|email_?addr(ess)?"),
    ("ip", r"ip|ip_?addr(ess)?|ipv4|ipv6|mac_?addr(ess)?"),
    ("phone", r"phone|telephone|tel|mobile|cell_?phone|fax|msisdn|phone_?(no|num|nr)|handy"),
    (
        "national_id",
        r"ssn|social_?security|passport|national_?id|id_?card|identity_?(no|number|card)|tax_?id|tin|nin",
    ),
    ("national_id", r"driver_?s?_?licen[cs]e|cpf|cnpj|pesel|nhs_?(no|number)|aadhaar|sozialversicherung"),
    ("card", r"card_?(no|num|number|nr)|cc_?(no|num|number)|credit_?card|pan"),
    ("iban", r"iban|account_?(no|num|number)|bank_?account|routing_?number|bic|swift"),
    ("birth_date", r"dob|birth_?da(te|y)|birthday|date_of_birth|born(_on)?"),
    ("person_name", r"(first|last|full|given|family|middle|maiden|sur|user|nick|display|legal)_?name"),
    (
        "person_name",
        r"(customer|client|patient|employee|contact|person|passenger|recipient|sender|owner)_?name",
    ),
    ("person_name", r"fname|lname|forename|vorname|nachname|login|username"),
    (
        "address",
        r"(street|home|mailing|postal|billing|shipping)_?(addr(ess)?|line)?|addr(ess)?(_?line)?|street",
    ),
    ("address", r"zip|zip_?code|post_?code|postal_?code|plz"),
    (
        "pay",
        r"salar(y|ies)|wages?|pay$|pay_?(grade|rate|band|check|roll)|bonus(es)?$|compensation|hourly_rate",
    ),
    ("pay", r"incomes?|earnings|remuneration|stipend|gehalt|lohn|salaire|salario|sueldo"),
)
_BY_NAME = tuple((kind, re.compile(rf"(?:^|_)(?:{pattern})(?:_?\d+)?(?:$|_)")) for kind, pattern in _NAMES)
_BY_WORD: tuple[tuple[SensitiveKind, tuple[str, ...]], ...] = (
    ("person_name", ("姓名", "名字")),
    ("phone", ("手机", "电话")),
    ("email", ("邮箱", "邮件")),
    ("national_id", ("身份证", "护照")),
    ("address", ("地址", "住址")),
    ("card", ("银行卡", "卡号")),
    ("secret", ("密码",)),
    ("pay", ("工资", "薪资", "薪水", "奖金")),
)
_PEOPLE = re.compile(
    r"(?:^|_)(customer|client|user|person|people|employee|patient|contact|member|passenger|staff|student|author)s?$"
)

_EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,24}")
_PHONE = re.compile(
    r"\+\d[\d\s().-]{6,18}\d|\(\d{3}\)\s?\d{3}[-. ]\d{4}|\d{3}[-. ]\d{3}[-. ]\d{4}|1[3-9]\d{9}|00\d{9,13}"
)
_SSN = re.compile(r"(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}")
_CHINESE_ID = re.compile(r"\d{17}[\dXx]")
_CPF = re.compile(r"\d{3}\.\d{3}\.\d{3}-\d{2}")
_CARD = re.compile(r"(?:4|5[1-5]|2[2-7]|3[47]|3[0689]|6)\d(?:[ -]?\d){10,17}")
_IBAN = re.compile(r"[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}")
_IP = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F:]*:[0-9a-fA-F:]*:[0-9a-fA-F:.]*")
_SECRET = re.compile(
    r"(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|AKIA[A-Z0-9]{16}|eyJ[\w-]+\.[\w-]+\..*"
)
_INSIDE = (_EMAIL, _SSN, _SECRET, re.compile(r"(?<!\d)\+[1-9][\d\s().-]{6,18}\d"))
_PHONE_IN_WORDS = re.compile(
    r"(?<![\w.-])(?:\(0?\d{2,4}\)\s?\d{3}[-. ]?\d{3,5}|\d{3}[-. ]\d{3}[-. ]\d{4}|0\d{2,4}[ /-]\d{5,8}|0\d{9,11})"
    r"(?![\w-])"
    r"|(?<![\d.-])1[3-9]\d{9}(?![\d-])"
)
MAX_WHOLE_LENGTH = 200
"""A longer text is free text: it is searched, not taken for one value as a whole."""


def kind_of_name(column: str, table: str = "") -> SensitiveKind | None:
    """What a column's name says. A bare `name` counts as a person's in a table of people (`customers`)."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", column)
    text = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    for kind, pattern in _BY_NAME:
        if pattern.search(text):
            return kind
    for kind, words in _BY_WORD:
        if any(word in column for word in words):
            return kind
    if text == "name" and _PEOPLE.search(table.lower()):
        return "person_name"
    return None


def kind_of_value(value: str) -> SensitiveKind | None:
    """What one value looks like as a whole, with its checksum where it has one."""
    text = value.strip()
    if len(text) > MAX_WHOLE_LENGTH:
        return None
    if _EMAIL.fullmatch(text):
        return "email"
    if _IBAN.fullmatch(text) and _iban_holds(text):
        return "iban"
    if (
        _SSN.fullmatch(text)
        or _CPF.fullmatch(text)
        or (_CHINESE_ID.fullmatch(text) and _chinese_id_holds(text))
    ):
        return "national_id"
    if _CARD.fullmatch(text) and luhn_holds(text):
        return "card"
    if _PHONE.fullmatch(text):
        return "phone"
    if _IP.fullmatch(text) and _is_ip(text):
        return "ip"
    return "secret" if _SECRET.fullmatch(text) else None


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
    if any(pattern.search(text) for pattern in _INSIDE):
        return True
    return _PHONE_IN_WORDS.search(text) is not None and any(char.isalpha() for char in text)


def luhn_holds(text: str) -> bool:
    """ISO/IEC 7812-1 check digit; other characters than digits are skipped."""
    digits = [int(c) for c in text if c.isdigit()]
    doubled = [d * 2 - 9 if d > 4 else d * 2 for d in digits[-2::-2]]
    return len(digits) >= 12 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _iban_holds(text: str) -> bool:
    """ISO 13616: modulo 97 is 1."""
    plain = text.replace(" ", "")
    return int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def _chinese_id_holds(text: str) -> bool:
    """GB 11643-1999: ISO 7064 MOD 11-2."""
    total = sum(int(c) * (2 ** (17 - i) % 11) for i, c in enumerate(text[:17]))
    return "10X98765432"[total % 11] == text[17].upper()


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
