"""`iban`: numbers of bank accounts."""

from superinsight_sync.security.checksums import iban_holds
from superinsight_sync.security.detection import NoOptions, Rule

Config = NoOptions


class Ibans:
    """IBANs by their check digits; other account numbers by the column's name."""

    rank = 35

    def __init__(self, config: NoOptions) -> None: ...

    def rules(self) -> tuple[Rule, ...]:
        return (
            Rule(
                "iban",
                "iban",
                names=r"iban|account_?(no|num|number)|bank_?account|routing_?number|bic|swift",
                value=r"[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}",
                holds=iban_holds,
                by_chance=1 / 97,
                inside=r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b",
                believed_in_text=False,
            ),
        )


PLUGIN = Ibans
