"""`card`: numbers of bank cards."""

from superinsight_sync.security.checksums import luhn_holds
from superinsight_sync.security.detection import NoOptions, Rule

Config = NoOptions


class Cards:
    """Card numbers: an issuer's first digits and a check digit, which one random number in ten has as well."""

    rank = 50

    def __init__(self, config: NoOptions) -> None: ...

    def rules(self) -> tuple[Rule, ...]:
        return (
            Rule(
                "card",
                "card",
                names=r"card_?(no|num|number|nr)|cc_?(no|num|number)|credit_?card|pan",
                words=("银行卡", "卡号"),
                value=r"(?:4|5[1-5]|2[2-7]|3[47]|3[0689]|6)\d(?:[ -]?\d){10,17}",
                holds=luhn_holds,
                by_chance=0.1,
                inside=r"\b(?:\d[ -]?){12,18}\d\b",
                believed_in_text=False,
            ),
        )


PLUGIN = Cards
