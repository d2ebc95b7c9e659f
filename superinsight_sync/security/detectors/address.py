"""`address`: where somebody lives."""

from superinsight_sync.security.detection import NoOptions, Rule

Config = NoOptions
_HAN = "一-鿿"
_STREET = (
    "street|st|road|rd|avenue|ave|lane|ln|drive|dr|boulevard|blvd|court|ct|place|pl|way|terrace|crescent|close"
    "|highway"
)


class Addresses:
    """Streets with a house number, Chinese addresses, and postal parts by the column's name."""

    rank = 80

    def __init__(self, config: NoOptions) -> None: ...

    def rules(self) -> tuple[Rule, ...]:
        return (
            Rule(
                "street_address",
                "address",
                names=r"(street|home|mailing|postal|billing|shipping)_?(addr(ess)?|line)?|addr(ess)?(_?line)?|street",
                words=("地址", "住址"),
                value=rf"\d{{1,5}}[A-Za-z]? [\w .'-]*\b(?i:{_STREET})\b\.?.*"
                r"|[\w .'-]*(?:straße|strasse|str\.|weg|gasse|platz|allee) ?\d{1,4}[a-z]?(?:,.*)?"
                rf"|[{_HAN}]*(?:省|市|区|县)[{_HAN}\w]*(?:路|街|道|巷|村|镇)[{_HAN}\w]*",
                by_chance=0.3,
                inside=rf"\b\d{{1,5}}[A-Za-z]? (?:[A-Z][\w'-]* ){{1,3}}(?i:{_STREET})\b"
                rf"|[{_HAN}]{{2,8}}(?:省|市|区|县)[{_HAN}\w]{{1,20}}(?:路|街|道|巷|村|镇)[\w-]*(?:号|弄)?[\w-]*",
                believed_in_text=False,
            ),
            Rule("postcode", "address", names=r"zip|zip_?code|post_?code|postal_?code|plz", words=("邮编",)),
        )


PLUGIN = Addresses
