"""Numbers as SQL: a text, or a float, becomes exactly the number it is, or NULL.

One rule for rounding, where it is allowed at all: half away from zero, over the decimal digits as they are
written. A float's digits are those of its shortest text (or, by declaration, all of its exact value), so 1.005
becomes 1.01 whether it came as text or as float.
"""

import re
from dataclasses import dataclass
from typing import Literal

from superinsight_sync.core.sql import literal

_WIDE = "０１２３４５６７８９．，＋－％−（）：／"
_NARROW = "0123456789.,+-%-():/"
_EXPONENT = r"[eE][+-]?\d{1,4}"
_NOTHING = r"[^\s\S]"
_BLANK = r"[\s\x{a0}\x{202f}]*"
_PARTS = ("open", "outer", "inner", "number", "percent", "end")
_SURE_DIGITS = {"DOUBLE": 15, "FLOAT": 6}
"""Decimal texts of so many characters survive the type and back (IEEE 754)."""
_MOST_DIGITS = 1_100
_EXACT = "CASE WHEN abs({0}) >= 1e-5 THEN format('{{:.70f}}', {0}) ELSE format('{{:.1074f}}', {0}) END"
"""A double from 2**-17 on has at most 69 digits after the point, any double at most 1,074."""


@dataclass(frozen=True)
class Written:
    """How numbers are written.

    Attributes:
        mark: the sign before the fraction.
        thousands: the sign between groups of three digits, if there may be groups.
        currency: signs or codes that may stand before or after the number.
        percent: what `5%` is: 5 or 0.05; None if that sign is not read.
        accounting: whether `(5)` and `5-` are −5.
    """

    mark: str = "."
    thousands: str | None = None
    currency: tuple[str, ...] = ()
    percent: Literal["number", "fraction"] | None = None
    accounting: bool = False

    @property
    def digits(self) -> str:
        """A group of three never follows a leading zero: `0.500` with groups by `.` is no number."""
        if self.thousands is None:
            return r"\d+"
        return rf"(?:[1-9]\d{{0,2}}(?:{re.escape(self.thousands)}\d{{3}})+|\d+)"

    @property
    def number(self) -> str:
        mark = re.escape(self.mark)
        return rf"(?:{self.digits}(?:{mark}\d*)?|{mark}\d+)"

    def plain(self, text: str) -> str:
        """The number without group signs, with `.` before the fraction."""
        if self.thousands is not None:
            text = f"replace({text}, {literal(self.thousands)}, '')"
        return f"replace({text}, ',', '.')" if self.mark == "," else text


PLAIN = Written()


def narrow(text: str) -> str:
    """Full-width digits and signs, and the minus sign U+2212, as those of ASCII."""
    return (
        f"CASE WHEN strlen({text}) = length({text}) THEN {text} "
        f"ELSE translate({text}, {literal(_WIDE)}, {literal(_NARROW)}) END"
    )


def exact(text: str, target: str, scale: int, how: Written, *, rounds: bool) -> str:
    """An integer or decimal out of text; NULL where it is none, or has more digits than `scale` and not `rounds`."""
    if how.currency or how.percent or how.accounting:
        return let("n", _undecorated(narrow(text), how), _of_plain("n", target, scale, rounds=rounds))
    text, mark = narrow(text), re.escape(how.mark)
    fraction, bare = r"\d*", rf"{mark}\d+"
    if not rounds:
        fraction = rf"\d{{0,{scale}}}0*"
        bare = rf"{mark}\d{{1,{scale}}}0*" if scale else rf"{mark}0+"
    usual = rf"[+-]?(?:{how.digits}(?:{mark}{fraction})?|{bare})"
    powered = rf"[+-]?{how.number}{_EXPONENT}"
    return (
        f"CASE WHEN regexp_full_match({text}, {literal(usual)}) THEN TRY_CAST({how.plain(text)} AS {target}) "
        f"WHEN regexp_full_match({text}, {literal(powered)}) "
        f"THEN {let('n', how.plain(text), _of_plain('n', target, scale, rounds=rounds))} END"
    )


def floating(text: str, target: str, how: Written, *, rounds: bool) -> str:
    """A FLOAT or DOUBLE out of text; NULL where it is none, is infinite, or (unless `rounds`) is not the number
    that is written: its shortest text, or itself printed to as many digits as the text has."""
    if how.currency or how.percent or how.accounting:
        return let("n", _undecorated(narrow(text), how), _float_of_plain("n", target, rounds=rounds))
    text = narrow(text)
    sure = f"length({text}) <= {_SURE_DIGITS[target]} AND regexp_full_match({text}, {literal('[+-]?' + how.number)})"
    grammar = rf"[+-]?{how.number}(?:{_EXPONENT})?"
    return (
        f"CASE WHEN {sure} THEN TRY_CAST({how.plain(text)} AS {target}) "
        f"WHEN regexp_full_match({text}, {literal(grammar)}) "
        f"THEN {let('n', how.plain(text), _float_of_plain('n', target, rounds=rounds))} END"
    )


def exact_of_float(value: str, target: str, scale: int, *, rounds: bool, digits: str) -> str:
    """An integer or decimal out of a float.

    Args:
        digits: `shortest` takes the digits of its shortest text, `exact` all that its value has.
    """
    text = f"CAST({value} AS VARCHAR)" if digits == "shortest" else _EXACT.format(f"CAST({value} AS DOUBLE)")
    return exact(text, target, scale, PLAIN, rounds=rounds)


def float_of_decimal(value: str, target: str) -> str:
    """A float out of a decimal, if it is that number."""
    shortened = f"regexp_replace(CAST({value} AS VARCHAR), '\\.0*$|(\\.\\d*?)0+$', '\\1')"
    return floating(shortened, target, PLAIN, rounds=False)


def let(name: str, value: str, body: str) -> str:
    """`body` with `name` standing for `value`, which is computed once."""
    return f"list_extract(list_transform([{value}], lambda {name}: {body}), 1)"


def _undecorated(text: str, how: Written) -> str:
    """The number without currency, percent sign and brackets; NULL for two signs or half a pair of brackets."""
    signs = "|".join(re.escape(s) for s in sorted(how.currency, key=len, reverse=True)) or _NOTHING
    percent = "%" if how.percent else _NOTHING
    opened, ended = (r"\(", r"\)|-") if how.accounting else (_NOTHING, _NOTHING)
    pattern = (
        rf"^({opened})?{_BLANK}([+-])?{_BLANK}(?:(?i:{signs}){_BLANK})?([+-])?({how.number}){_BLANK}({percent})?"
        rf"{_BLANK}(?:(?i:{signs}))?{_BLANK}({ended})?$"
    )
    found = f"regexp_extract({text}, {literal(pattern)}, [{', '.join(map(literal, _PARTS))}])"
    part = {name: f"struct_extract(f, '{name}')" for name in _PARTS}
    number = how.plain(part["number"])
    if how.percent == "fraction":
        number += f" || CASE WHEN {part['percent']} = '' THEN '' ELSE 'e-2' END"
    marks = " || ".join(part[n] for n in ("open", "outer", "inner", "end"))
    signed = (
        f"CASE WHEN {part['number']} = '' THEN NULL WHEN ({marks}) IN ('', '+') THEN {number} "
        f"WHEN ({marks}) IN ('-', '()') THEN '-' || {number} END"
    )
    return let("f", found, signed)


def _of_plain(text: str, target: str, scale: int, *, rounds: bool) -> str:
    fraction = r"\d*" if rounds else rf"\d{{0,{scale}}}0*"
    grammar = rf"[+-]?\d*(?:\.{fraction})?"
    kept = f"CASE WHEN regexp_full_match(w, {literal(grammar)}) THEN TRY_CAST(w AS {target}) END"
    return let("w", _written_out(text), kept)


def _written_out(text: str) -> str:
    """A plain number without its exponent: `1.5e3` as `1500`. NULL stays NULL."""
    pattern = r"^([+-]?)0*(\d*)\.?(\d*)[eE]([+-]?\d+)$"
    found = f"regexp_extract({text}, {literal(pattern)}, ['sign', 'whole', 'part', 'power'])"
    sign, whole, part, power = (f"struct_extract(x, '{n}')" for n in ("sign", "whole", "part", "power"))
    digits, point = f"({whole} || {part})", f"(length({whole}) + CAST({power} AS INTEGER))"
    shifted = (
        f"CASE WHEN {digits} = '' OR regexp_full_match({digits}, '0*') THEN '0' "
        f"WHEN {point} <= 0 THEN {sign} || '0.' || repeat('0', -{point}) || {digits} "
        f"WHEN {point} >= length({digits}) THEN {sign} || {digits} || repeat('0', {point} - length({digits})) "
        f"ELSE {sign} || left({digits}, {point}) || '.' || substr({digits}, {point} + 1) END"
    )
    return f"CASE WHEN regexp_matches({text}, '[eE]') THEN {let('x', found, shifted)} ELSE {text} END"


def _float_of_plain(text: str, target: str, *, rounds: bool) -> str:
    value = f"TRY_CAST({text} AS {target})"
    finite = f"isfinite({value})"
    if rounds:
        return f"CASE WHEN {finite} THEN {value} END"
    written = significant(text)
    printed = f"format('{{:.{{}}e}}', CAST({value} AS DOUBLE), greatest(length({_all_digits(text)}), 1) - 1)"
    kept = (
        f"{written} = {significant(f'CAST({value} AS VARCHAR)')} "
        f"OR (length({text}) < {_MOST_DIGITS} AND {written} = {significant(printed)})"
    )
    return f"CASE WHEN {finite} AND ({kept}) THEN {value} END"


def significant(text: str) -> str:
    """The digits of a number without sign, point, exponent and zeros at both ends."""
    return f"regexp_replace({_mantissa(text)}, '^0+|0+$', '', 'g')"


def _all_digits(text: str) -> str:
    return f"ltrim({_mantissa(text)}, '0')"


def _mantissa(text: str) -> str:
    return f"replace(regexp_extract({text}, '^[+-]?([0-9.]*)', 1), '.', '')"
