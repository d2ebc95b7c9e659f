"""Countries by their ISO 3166-1 codes and their names in English, German, French, Spanish and Chinese."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from functools import cache

_LANGUAGES = ("de", "fr", "es", "zh_CN")
_NAMES = ("name", "official_name", "common_name")
_EVERYDAY = {
    "AE": "uae emirates emirate|vereinigte emirate|emirats arabes unis|emiratos arabes unidos|阿联酋",
    "CD": "dr congo|drc|congo kinshasa|dr kongo|rd congo|rdc|刚果民主共和国|刚果金",
    "CG": "congo brazzaville|republic of the congo|kongo|republik kongo|刚果布",
    "CI": "ivory coast|elfenbeinküste|costa de marfil|象牙海岸",
    "CN": "people's republic of china|prc|pr china|volksrepublik china|vr china|中华人民共和国|中國",
    "CZ": "czech republic|tschechische republik|république tchèque|republica checa",
    "DE": "brd|bundesrepublik deutschland|allemagne|alemania|德國",
    "GB": "uk|u k|great britain|britain|england|scotland|wales|northern ireland|großbritannien|"
    "grande bretagne|angleterre|gran bretaña|inglaterra|schottland|大不列颠|英國",
    "IR": "iran|伊朗",
    "KP": "north korea|nordkorea|corée du nord|corea del norte|朝鲜|北朝鲜",
    "KR": "south korea|korea|südkorea|corée du sud|corea del sur|韩国|南韩|韓國",
    "LA": "laos|老挝",
    "MD": "moldova|moldau|moldawien|moldavie|moldavia",
    "MK": "macedonia|mazedonien|macédoine",
    "MM": "burma|birma|birmanie|birmania|缅甸",
    "NL": "holland|the netherlands|hollande|holanda|荷兰",
    "RU": "russia|russland|russie|rusia|俄国|俄罗斯联邦|俄羅斯",
    "SY": "syria|syrien|syrie|siria|叙利亚",
    "SZ": "swaziland|swasiland",
    "TR": "turkey|türkei|turquie|turquia|土耳其",
    "TW": "taiwan|台湾|臺灣|台灣",
    "TZ": "tanzania|tansania|tanzanie|坦桑尼亚",
    "US": "usa|u s a|u s|america|united states of america|amerika|vereinigte staaten von amerika|"
    "états unis d'amérique|etats unis|eeuu|ee uu|e e u u|estados unidos de américa|美利坚合众国|美國",
    "VA": "vatican|vatikan|vaticano|vatican city|vatikanstadt|梵蒂冈",
    "VE": "venezuela|委内瑞拉",
    "VN": "viet nam|vietnam|越南",
}


def country_code(text: str) -> str | None:
    """The alpha-2 code of a country's code or name; None for what is none, or is several countries' name."""
    return _by_key().get(_key(text))


def _key(text: str) -> str:
    """Case, accents, points, hyphens and blanks do not matter."""
    bare = unicodedata.normalize("NFKD", text.casefold().replace("’", "'").replace("&", " and "))
    bare = "".join(c for c in bare if not unicodedata.combining(c))
    return re.sub(r"[\s.\-\u200b]+", " ", bare).strip().removeprefix("the ")


@cache
def _by_key() -> dict[str, str]:
    """Surer names win: codes, then English, then other languages, then what stands before a comma."""
    import pycountry

    found: dict[str, str] = {}
    countries = [(c.alpha_2, c) for c in pycountry.countries]
    _add(found, [(k, code) for code, c in countries for k in (c.alpha_2, c.alpha_3)])
    english = [(name, code) for code, c in countries for n in _NAMES if (name := getattr(c, n, None))]
    _add(found, english)
    everyday = [(name, code) for code, names in _EVERYDAY.items() for name in names.split("|")]
    _add(found, everyday)
    others = [(t, code) for name, code in english for t in _translations(name)]
    _add(found, others)
    _add(found, [(turned, code) for name, code in english + others for turned in _turned(name)])
    return found


def _add(found: dict[str, str], names: list[tuple[str, str]]) -> None:
    """Adds names that no surer one is like, and that are one country's."""
    codes = defaultdict(set)
    for name, code in names:
        codes[_key(name)].add(code)
    for key, meant in codes.items():
        if len(meant) == 1:
            found.setdefault(key, *meant)


def _translations(name: str) -> Iterator[str]:
    import gettext

    import pycountry

    for language in _LANGUAGES:
        texts = gettext.translation("iso3166-1", pycountry.LOCALES_DIR, languages=[language])
        yield texts.gettext(name)


def _turned(name: str) -> Iterator[str]:
    """`Korea, Republik` is also `Republik Korea`; `Bolivien, Plurinationaler Staat` also `Bolivien`."""
    first, comma, rest = name.partition(",")
    if comma:
        yield f"{rest} {first}"
        yield first
