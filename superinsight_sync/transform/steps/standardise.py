"""`standardise`: one way to write a text, an e-mail address, a phone number, a date, a country."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from superinsight_sync.core.duckdb_lookups import Lookup
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.plugins import PluginConfig
from superinsight_sync.core.sql import literal, quote
from superinsight_sync.transform import moments
from superinsight_sync.transform.columns import require
from superinsight_sync.transform.countries import country_code
from superinsight_sync.transform.protocol import Compiled, Reject, StepContext

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["text", "email", "phone", "date", "country"]
_LOCAL = r"[^\s@<>(),;:\\\".\[\]]+"
_EMAIL = rf"{_LOCAL}(?:\.{_LOCAL})*@(?:[\p{{L}}\p{{N}}](?:[\p{{L}}\p{{N}}-]*[\p{{L}}\p{{N}}])?\.)+[\p{{L}}]{{2,63}}"
_ZERO_WIDTH = r"[\x{200b}\x{2060}\x{feff}\x{ad}]"
_JOINER = r"(^|[\p{Latin}\p{N}\p{P}\p{Z}])[\x{200c}\x{200d}]+"
"""A joiner means something between Persian or Indian letters and in emoji, and nothing here."""
_PLAIN_DATES = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%Y年%m月%d日"),
    *("%d %b %Y", "%d. %b %Y", "%d de %B de %Y", "%b %d %Y", "%b %d, %Y", "%d-%b-%Y"),
)


class ColumnStandard(PluginConfig):
    """How one column is written alike."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    type: Kind
    """text: no blanks around, single blanks, composed letters, no zero-width characters. email: lower case. phone:
    E.164 (+49…). date: YYYY-MM-DD. country: ISO 3166-1 alpha-2, from codes and from names in English, German,
    French, Spanish and Chinese."""
    case: Literal["keep", "lower", "upper"] = "keep"
    """text: the case it is brought to."""
    region: str | None = Field(default=None, pattern="^[A-Z]{2}$")
    """phone: the country of numbers without a `+`, such as DE."""
    day_first: bool | None = None
    """date: whether `05/03/2026` is 5 March. Without it, such a date cannot be standardised."""
    formats: tuple[str, ...] = ()
    """date: how dates are written, with strptime's signs. Default: the unambiguous usual ones."""


def _type_alone(value: object) -> object:
    return {"type": value} if isinstance(value, str) else value


class Config(PluginConfig):
    """Brings text columns to one way of writing. NULL stays NULL."""

    model_config = ConfigDict(use_attribute_docstrings=True, populate_by_name=True)

    columns: dict[
        str,
        Annotated[ColumnStandard, BeforeValidator(_type_alone, json_schema_input_type=str | ColumnStandard)],
    ] = Field(min_length=1)
    """Column → text, email, phone, date or country, or an object with the type and its options."""
    otherwise: Literal["keep", "quarantine"] = Field(default="keep", alias="else")
    """What becomes of a value that cannot be standardised: it stays as it is, or its record is set aside."""


class Standardise:
    """The `standardise` step. Phones and countries are looked up once per distinct value."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def compile(self, schema: "pa.Schema", context: StepContext) -> Compiled:
        require(self._config.columns, schema)
        columns = {n: quote(n) for n in schema.names}
        lookups: dict[str, Lookup] = {}
        rejects = []
        for at, (name, how) in enumerate(self._config.columns.items()):
            if str(schema.field(name).type) not in ("string", "large_string", "string_view"):
                raise ConfigError(
                    f"column '{name}' is no text and cannot be standardised", hint="Cast it first"
                )
            convert = _converter(how)
            if convert:
                lookups[f"_sis_lookup_{at}"] = Lookup(quote(name), convert)
            value = quote(f"_sis_lookup_{at}") if convert else _expression(quote(name), how)
            columns[name] = f"coalesce({value}, {quote(name)})"
            if self._config.otherwise == "quarantine" and how.type != "text":
                failed = f"{quote(name)} IS NOT NULL AND {value} IS NULL"
                rejects.append(Reject(f"standardise_{name}", failed, f"no valid {how.type}", name))
        return Compiled(
            columns,
            {f.name: f.type for f in schema},
            {n: (n,) for n in schema.names},
            rejects=tuple(rejects),
            lookups=lookups,
        )


def _expression(text: str, how: ColumnStandard) -> str:
    """SQL that is NULL for what cannot be standardised."""
    text = f"regexp_replace({text}, {literal(_ZERO_WIDTH)}, '', 'g')"
    text = f"regexp_replace({text}, {literal(_JOINER)}, '\\1', 'g')"
    bare = rf"regexp_replace({text}, '^[\s\p{{Z}}]+|[\s\p{{Z}}]+$', '', 'g')"
    if how.type == "email":
        return f"CASE WHEN regexp_full_match({bare}, {literal(_EMAIL)}) THEN lower({bare}) END"
    if how.type == "date":
        reading = moments.Reading("date", how.formats or (), how.day_first)
        read = moments.of_text(bare, reading)
        if not how.formats:
            plain = moments.of_text(bare, moments.Reading("date", _PLAIN_DATES))
            read = f"coalesce({read}, {plain})"
        return f"CAST({read} AS VARCHAR)"
    single = rf"nfc_normalize(regexp_replace({bare}, '[\s\p{{Z}}]+', ' ', 'g'))"
    return {"keep": single, "lower": f"lower({single})", "upper": f"upper({single})"}[how.case]


def _converter(how: ColumnStandard) -> Callable[[Sequence[str]], Sequence[str | None]] | None:
    if how.type == "phone":
        return lambda texts: [_phone(text, how.region) for text in texts]
    return (lambda texts: [country_code(text) for text in texts]) if how.type == "country" else None


def _phone(text: str, region: str | None) -> str | None:
    """E.164, or None. A number with an extension has no E.164 form that keeps it."""
    import phonenumbers

    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    if number.extension or not phonenumbers.is_valid_number(number):
        return None
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


PLUGIN = Standardise
