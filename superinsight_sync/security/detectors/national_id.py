"""`national_id`: official numbers of people in other countries."""

from superinsight_sync.security.detection import NoOptions, Rule

Config = NoOptions


def _is_issued(text: str) -> bool:
    """Whether a US social security number has parts that are given out."""
    area, group, serial = text.split("-")
    return area not in ("000", "666") and area[0] != "9" and group != "00" and serial != "0000"


class NationalIds:
    """US social security numbers and Brazilian CPF by their form; others by the column's name."""

    rank = 41

    def __init__(self, config: NoOptions) -> None: ...

    def rules(self) -> tuple[Rule, ...]:
        return (
            Rule(
                "us_ssn",
                "national_id",
                names=r"ssn|soc_?sec(?:_?id)?|social_?security(?:_?(?:no|num|number))?",
                value=r"\d{3}-\d{2}-\d{4}",
                holds=_is_issued,
                by_chance=0.01,
                inside=r"\b\d{3}-\d{2}-\d{4}\b",
            ),
            Rule(
                "brazilian_cpf",
                "national_id",
                value=r"\d{3}\.\d{3}\.\d{3}-\d{2}",
                by_chance=0.01,
                inside=r"\b\d{3}\.\d{3}\.\d{3}-\d{2}\b",
            ),
            Rule(
                "official_number",
                "national_id",
                names=r"national_?id|id_?card|identity_?(no|number|card)|tax_?id|tin|nin"
                r"|driver_?s?_?licen[cs]e|cpf|cnpj|pesel|nhs_?(no|number)|aadhaar|sozialversicherung",
            ),
        )


PLUGIN = NationalIds
