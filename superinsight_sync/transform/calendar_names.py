"""Names of months and weekdays, and Chinese numerals, as SQL.

The names are those of English, German, French, Spanish, Italian, Portuguese and Dutch, without accents; no name
means one thing in one of these languages and another in another.
"""

from superinsight_sync.core.sql import literal

MONTHS = tuple(
    tuple(names.split())
    for names in (
        "january jan januar janner janvier janv enero ene gennaio gen janeiro januari",
        "february feb februar feber fevrier fevr fev febrero febbraio fevereiro februari",
        "march mar marz maerz mrz mars marzo marco maart mrt",
        "april apr avril avr abril abr aprile",
        "may mai mayo mag maggio maio mei",
        "june jun juni juin junio giugno giu junho",
        "july jul juli juillet juil julio luglio lug julho",
        "august aug aout agosto ago augustus",
        "september sep sept septembre septiembre setiembre set settembre setembro",
        "october oct oktober okt octobre octubre ottobre ott outubro out",
        "november nov novembre noviembre novembro",
        "december dec dezember dez decembre diciembre dic dicembre dezembro",
    )
)
WEEKDAYS = tuple(
    tuple(names.split())
    for names in (
        "monday mon montag mo lundi lun lunes lunedi segunda segunda-feira seg maandag maa ma",
        "tuesday tue tues dienstag di mardi mar martes martedi terca terca-feira ter dinsdag din",
        "wednesday wed mittwoch mi mercredi mer miercoles mie mercoledi quarta quarta-feira qua woensdag woe wo",
        "thursday thu thur thurs donnerstag do jeudi jeu jueves jue giovedi gio quinta quinta-feira qui donderdag",
        "friday fri freitag fr vendredi ven viernes vie venerdi sexta sexta-feira sex vrijdag vri vr",
        "saturday sat samstag sa sonnabend samedi sam sabado sab sabato zaterdag zat za",
        "sunday sun sonntag so dimanche dim domingo dom domenica zondag zon zo",
    )
)
_DIGITS = "〇零一二三四五六七八九"
_TENS = (("廿", "二十"), ("卅", "三十"))


def number_of_name(name: str, names: tuple[tuple[str, ...], ...]) -> str:
    """Which of `names` it is, from 1; NULL for none. Case, accents and a point after it do not matter."""
    bare = f"rtrim(strip_accents(lower({name})), '.')"
    cases = " ".join(
        f"WHEN {bare} IN ({', '.join(map(literal, same))}) THEN {number}"
        for number, same in enumerate(names, start=1)
    )
    return f"CASE {cases} END"


def arabic(text: str) -> str:
    """Chinese numerals of years (`二〇二六`), months and days (`十一`, `廿三`) as digits."""
    value = text
    for short, long in _TENS:
        value = f"replace({value}, {literal(short)}, {literal(long)})"
    for pattern, by in (
        ("([二三])十([一二三四五六七八九])", "\\1\\2"),
        ("([二三])十", "\\1〇"),
        ("十([一二三四五六七八九])", "一\\1"),
        ("十", "一〇"),
    ):
        value = f"regexp_replace({value}, {literal(pattern)}, {literal(by)}, 'g')"
    value = f"translate({value}, {literal(_DIGITS)}, '00123456789')"
    return f"CASE WHEN regexp_matches({text}, '[{_DIGITS}十廿卅]') THEN {value} ELSE {text} END"
