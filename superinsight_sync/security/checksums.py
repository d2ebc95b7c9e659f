"""Check digits of official numbers, cards and accounts."""

import ipaddress
from datetime import date

_TAIWAN_LETTERS = "ABCDEFGHJKLMNPQRSTUVXYWZIO"
_COMPANY_SIGNS = "0123456789ABCDEFGHJKLMNPQRTUWXY"


def luhn_holds(text: str) -> bool:
    """ISO/IEC 7812-1 check digit; other characters than digits are skipped."""
    digits = [int(c) for c in text if c.isdigit()]
    doubled = [d * 2 - 9 if d > 4 else d * 2 for d in digits[-2::-2]]
    return len(digits) >= 12 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def iban_holds(text: str) -> bool:
    """ISO 13616: modulo 97 is 1."""
    plain = text.replace(" ", "")
    return int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def chinese_id_holds(text: str) -> bool:
    """GB 11643-1999: ISO 7064 MOD 11-2."""
    total = sum(int(c) * (2 ** (17 - i) % 11) for i, c in enumerate(text[:17]))
    return "10X98765432"[total % 11] == text[17].upper()


def company_id_holds(text: str) -> bool:
    """GB 32100-2015: modulo 31 over weights that are powers of 3."""
    values = [_COMPANY_SIGNS.find(c) for c in text.upper()]
    if len(values) != 18 or -1 in values:
        return False
    total = sum(value * pow(3, i, 31) for i, value in enumerate(values[:17]))
    return (31 - total % 31) % 31 == values[17]


def hong_kong_id_holds(text: str) -> bool:
    """Modulo 11 over weights from 9 down; one letter alone has a blank of 36 before it."""
    plain = "".join(c for c in text.upper() if c.isalnum())
    head, last = plain[:-1].rjust(8), plain[-1]
    values = [36 if c == " " else int(c, 36) for c in head]
    total = sum(value * weight for value, weight in zip(values, range(9, 1, -1), strict=True))
    return (total + (10 if last == "A" else int(last, 36))) % 11 == 0


def taiwan_id_holds(text: str) -> bool:
    """Modulo 10; the letter counts as a number from 10 up."""
    letter = _TAIWAN_LETTERS.index(text[0].upper()) + 10
    digits = [letter // 10, letter % 10, *(int(c) for c in text[1:])]
    weights = (1, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1)
    return sum(d * w for d, w in zip(digits, weights, strict=True)) % 10 == 0


def is_ip(text: str) -> bool:
    """Whether it is an address of IPv4 or IPv6."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_life_date(text: str) -> bool:
    """Whether a date, `YYYY-MM-DD` or `YYYYMMDD` at its beginning, can be somebody's day of birth."""
    plain = text.replace("/", "-").replace(".", "-")
    parts = plain[:10].split("-") if "-" in plain else [plain[:4], plain[4:6], plain[6:8]]
    try:
        return 1900 <= date(*(int(p) for p in parts)).year <= 2030
    except (ValueError, TypeError):
        return False


CHECKS = {"luhn": luhn_holds, "iban": iban_holds, "chinese_id": chinese_id_holds}
"""Those that a detector in YAML may name."""
