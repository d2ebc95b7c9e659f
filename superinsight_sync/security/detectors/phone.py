"""`phone`: telephone numbers."""

from superinsight_sync.security.detection import NoOptions, Rule

Config = NoOptions


class Phones:
    """Chinese mobiles, international numbers, and numbers as they are written in North America."""

    rank = 45

    def __init__(self, config: NoOptions) -> None: ...

    def rules(self) -> tuple[Rule, ...]:
        return (
            Rule(
                "phone",
                "phone",
                names=r"phone|telephone|tel|mobile|cell_?phone|fax|msisdn|phone_?(no|num|nr|number)|handy",
                words=("手机", "电话"),
                value=r"\+\d[\d\s().-]{6,18}\d|\(\d{3}\)\s?\d{3}[-. ]\d{4}|\d{3}[-. ]\d{3}[-. ]\d{4}"
                r"|1[3-9]\d{9}|00\d{9,13}",
                by_chance=0.3,
                inside=r"\+\d[\d\s().-]{6,18}\d|\(0?\d{2,4}\)\s?\d{3}[-. ]?\d{3,5}|\b\d{3}[-. ]\d{3}[-. ]\d{4}\b"
                r"|\b0\d{2,4}[ /-]\d{5,8}\b|\b0\d{9,11}\b|\b(?:86)?1[3-9]\d[ -]?\d{4}[ -]?\d{4}\b",
                believed_in_text=False,
            ),
        )


PLUGIN = Phones
