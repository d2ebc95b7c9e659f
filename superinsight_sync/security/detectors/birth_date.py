"""`birth_date`: days of birth."""

from superinsight_sync.security.checksums import is_life_date
from superinsight_sync.security.detection import NoOptions, Rule

Config = NoOptions


class BirthDates:
    """By the column's name: a date alone may be anything."""

    rank = 70

    def __init__(self, config: NoOptions) -> None: ...

    def rules(self) -> tuple[Rule, ...]:
        return (
            Rule(
                "birth_date",
                "birth_date",
                names=r"dob|birth_?da(te|y)|birthday|date_of_birth|born(_on)?",
                words=("出生", "生日"),
                value=r"\d{4}[-/.]\d{2}[-/.]\d{2}.*|\d{8}",
                holds=is_life_date,
                named_only=True,
            ),
        )


PLUGIN = BirthDates
