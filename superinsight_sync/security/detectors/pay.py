"""`pay`: what somebody earns."""

from superinsight_sync.security.detection import NoOptions, Rule

Config = NoOptions


class Pay:
    """By the column's name: an amount alone may be anything."""

    rank = 90

    def __init__(self, config: NoOptions) -> None: ...

    def rules(self) -> tuple[Rule, ...]:
        return (
            Rule(
                "pay",
                "pay",
                names=r"salar(y|ies)|wages?|pay$|pay_?(grade|rate|band|check|roll)|bonus(es)?$|compensation|hourly_rate"
                r"|incomes?|earnings|remuneration|stipend|gehalt|lohn|salaire|salario|sueldo",
                words=("工资", "薪资", "薪水", "奖金"),
            ),
        )


PLUGIN = Pay
