"""`plate`: number plates of vehicles."""

from superinsight_sync.security.detection import NoOptions, Rule

Config = NoOptions
_CHINESE = (
    "[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼]"
    "[A-HJ-NP-Z][·• ]?[A-HJ-NP-Z0-9]{4,5}[A-HJ-NP-Z0-9挂学警港澳]"
)


class Plates:
    """Chinese plates by their form; others by the column's name."""

    rank = 55

    def __init__(self, config: NoOptions) -> None: ...

    def rules(self) -> tuple[Rule, ...]:
        return (
            Rule(
                "plate",
                "plate",
                names=r"(license|licence|number|vehicle|car)_?plate(?:_?(?:no|num|number))?|plate_?(no|num|number)"
                r"|kennzeichen",
                words=("车牌",),
                value=_CHINESE,
                by_chance=0.0,
                inside=_CHINESE,
            ),
        )


PLUGIN = Plates
