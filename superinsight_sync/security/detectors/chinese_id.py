"""`chinese_id`: identity cards, passports and permits of China, Hong Kong, Macau and Taiwan, and company codes."""

from superinsight_sync.security.checksums import (
    chinese_id_holds,
    company_id_holds,
    hong_kong_id_holds,
    taiwan_id_holds,
)
from superinsight_sync.security.detection import NoOptions, Rule

Config = NoOptions
_ID = r"[1-9]\d{5}(?:18|19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx]"


class ChineseIds:
    """Official numbers of Chinese-speaking places."""

    rank = 40

    def __init__(self, config: NoOptions) -> None: ...

    def rules(self) -> tuple[Rule, ...]:
        return (
            Rule(
                "chinese_id_card",
                "national_id",
                words=("身份证", "证件号"),
                value=r"\d{17}[\dXx]",
                holds=chinese_id_holds,
                by_chance=1 / 11,
                inside=rf"\b{_ID}\b",
            ),
            Rule(
                "unified_social_credit_code",
                "company_id",
                names=r"uscc|unified_social_credit_code|credit_code",
                words=("统一社会信用代码", "信用代码"),
                value=r"[0-9A-HJ-NPQRTUWXY]{2}\d{6}[0-9A-HJ-NPQRTUWXY]{10}",
                holds=company_id_holds,
                by_chance=1 / 31,
                inside=r"\b[1-9A-HJ-NPQRTUWXY][1-9]\d{6}[0-9A-HJ-NPQRTUWXY]{10}\b",
                believed_in_text=False,
            ),
            Rule(
                "hong_kong_id",
                "national_id",
                names=r"hkid",
                value=r"[A-Za-z]{1,2}\d{6}\(?[\dAa]\)?",
                holds=hong_kong_id_holds,
                by_chance=1 / 11,
                inside=r"\b[A-Z]{1,2}\d{6}\([\dA]\)",
            ),
            Rule(
                "taiwan_id",
                "national_id",
                value=r"[A-Za-z][1289]\d{8}",
                holds=taiwan_id_holds,
                by_chance=1 / 10,
                inside=r"\b[A-Z][1289]\d{8}\b",
            ),
            Rule(
                "macau_id",
                "national_id",
                names=r"bir|macau_id",
                value=r"[157]/\d{6}/\d|[157]\d{6}\(\d\)",
                by_chance=0.01,
                inside=r"\b[157]/\d{6}/\d\b|\b[157]\d{6}\(\d\)",
            ),
            Rule(
                "travel_permit",
                "national_id",
                words=("通行证", "回乡证", "台胞证"),
                value=r"[HMhm]\d{8}(?:\d{2})?|\d{8}",
                named_only=True,
                inside=r"\b[HM]\d{8}(?:\d{2})?\b",
                believed_in_text=False,
            ),
            Rule(
                "passport",
                "national_id",
                names=r"passport(?:_?(?:no|num|number|nr|id))?",
                words=("护照",),
                value=r"[A-Za-z]{1,2}\d{6,8}|\d{9}|[A-Z0-9]{9}",
                named_only=True,
                inside=r"\b(?:[EGDSPK]\d{8}|E[A-Z]\d{7})\b",
                believed_in_text=False,
            ),
        )


PLUGIN = ChineseIds
