"""Masks as SQL: what a column's values become, for a locked-down DuckDB. No original leaves an expression.

A mask that may not be sure of a value (too short, not computable) gives NULL, never the value.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from superinsight_sync.core.duckdb_lookups import Lookup
from superinsight_sync.core.duckdb_secrets import keyed_digest
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.sql import close_to, literal, quote
from superinsight_sync.model import masking as masks
from superinsight_sync.security.digit_cipher import DigitCipher
from superinsight_sync.security.mask_keys import Masking
from superinsight_sync.security.text_masks import masked_text

if TYPE_CHECKING:
    import pyarrow as pa

KEEPS_KEYS_APART = ("hmac", "token", "format")
"""Masks under which different values stay different: those that a primary key may have."""
KEYED = ("hmac", "token", "shift", "format")
"""Masks that use a key."""
_HEX_DIGITS = 32
_MATCHED = {
    "exact": "{}",
    "email": "lower(trim({}))",
    "code": r"upper(regexp_replace({}, '[^\p{{L}}\p{{N}}]', '', 'g'))",
}


@dataclass(frozen=True)
class Masked:
    """Masks of some columns, compiled.

    Attributes:
        columns: masked column → SQL over the input columns.
        types: masked column → its Arrow type.
        subjects: masked column → further columns its values are computed from.
        lookups: name of a column that expressions may use → where its values come from.
        secrets: for `core.duckdb_secrets`.
        lost: masked column → SQL of whether a value is masked by NULL because the mask does not fit it.
    """

    columns: dict[str, str] = field(default_factory=dict)
    types: "dict[str, pa.DataType]" = field(default_factory=dict)
    subjects: dict[str, tuple[str, ...]] = field(default_factory=dict)
    lookups: dict[str, Lookup] = field(default_factory=dict)
    secrets: dict[str, bytes] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)


def compile_masks(declared: Mapping[str, masks.Mask], schema: "pa.Schema", masking: Masking) -> Masked:
    """SQL for masks of columns of `schema`.

    Raises ConfigError for a column that is not there, a mask that does not fit its type, or a missing key.
    """
    made = Masked()
    for name, mask in declared.items():
        if name not in schema.names:
            raise ConfigError(f"there is no column '{name}'", hint=close_to(name, schema.names))
        _compile(_Column(name, schema, masking, made), mask)
    return made


@dataclass(frozen=True)
class _Column:
    """The column at work."""

    name: str
    schema: "pa.Schema"
    masking: Masking
    made: Masked

    @property
    def sql(self) -> str:
        return quote(self.name)

    @property
    def type(self) -> "pa.DataType":
        return self.schema.field(self.name).type

    def text(self, match: masks.Match = "exact") -> str:
        """SQL of the value as text. Raises ConfigError for a type of which a text is not sure."""
        import pyarrow.types as pt

        if pt.is_nested(self.type) or pt.is_floating(self.type) or "binary" in str(self.type):
            raise self.misfit("Cast it to text first, or use redact or null")
        return _MATCHED[match].format(f"CAST({self.sql} AS VARCHAR)")

    def misfit(self, hint: str) -> ConfigError:
        return ConfigError(f"column '{self.name}' of type {self.type} cannot have this mask", hint=hint)

    def key(self, purpose: str) -> str:
        """Keeps the tenant's key for the purpose, and returns its name."""
        self.made.secrets[purpose] = self.masking.key(purpose)
        return purpose

    def becomes(self, sql: str, kind: "pa.DataType | None" = None) -> None:
        """Sets what the column becomes: text unless another type is given."""
        import pyarrow as pa

        self.made.columns[self.name] = sql
        self.made.types[self.name] = kind or pa.string()

    def looked_up(self, value: str, convert: Callable[[Sequence[str]], Sequence[str | None]]) -> str:
        name = f"_sis_masked_{len(self.made.lookups)}"
        self.made.lookups[name] = Lookup(value, convert)
        return quote(name)


def _compile(column: _Column, mask: masks.Mask) -> None:
    match mask:
        case masks.Redact():
            _redact(column, mask)
        case masks.Null():
            column.becomes("NULL", column.type)
        case masks.Partial():
            _partial(column, mask)
        case masks.Hmac():
            _hmac(column, mask)
        case masks.Token():
            _token(column, mask)
        case masks.Generalise():
            _generalise(column, mask)
        case masks.Shift():
            _shift(column, mask)
        case masks.Format():
            _format(column)
        case masks.Text():
            _text(column)


def digest_text(text: str, purpose: str, version: int) -> str:
    """SQL of a text's keyed digest with the version of its key before it."""
    return f"'k{version}_' || left({keyed_digest(text, purpose)}, {_HEX_DIGITS})"


def _redact(column: _Column, mask: masks.Redact) -> None:
    column.becomes(f"CASE WHEN {column.sql} IS NOT NULL THEN {literal(mask.text)} END")


def _partial(column: _Column, mask: masks.Partial) -> None:
    text = column.text()
    kept = mask.keep_first + mask.keep_last
    hidden = f"length({text}) - {kept}"
    ends = (
        f"left({text}, {mask.keep_first})",
        f"repeat('*', {hidden})",
        f"right({text}, {mask.keep_last})" if mask.keep_last else "''",
    )
    whole = f"repeat('*', length({text}))"
    column.becomes(f"CASE WHEN {hidden} < greatest({kept}, 1) THEN {whole} ELSE {' || '.join(ends)} END")


def _hmac(column: _Column, mask: masks.Hmac) -> None:
    column.becomes(digest_text(column.text(mask.match), column.key("hmac"), column.masking.version))


def _token(column: _Column, mask: masks.Token) -> None:
    column.masking.key("vault")
    column.becomes(column.looked_up(column.text(mask.match), column.masking.tokens))


def _generalise(column: _Column, mask: masks.Generalise) -> None:
    import pyarrow.types as pt

    if mask.to is not None:
        if not (pt.is_date(column.type) or pt.is_timestamp(column.type)):
            raise column.misfit("`to` is for dates and timestamps; cast it first")
        column.becomes(_as(column, f"date_trunc('{mask.to}', {column.sql})"), column.type)
    elif mask.band is not None:
        if not (pt.is_integer(column.type) or pt.is_floating(column.type) or pt.is_decimal(column.type)):
            raise column.misfit("`band` is for numbers; cast it first")
        low = f"TRY_CAST(floor({column.sql} / {mask.band}) AS HUGEINT) * {mask.band}"
        band = f"CAST({low} AS VARCHAR) || '-' || CAST({low} + {mask.band - 1} AS VARCHAR)"
        if mask.top is not None:
            band = f"CASE WHEN {column.sql} >= {mask.top} THEN '{mask.top}+' ELSE {band} END"
        column.becomes(band)
    else:
        text = column.text()
        begin = f"left({text}, {mask.prefix}) || repeat('*', length({text}) - {mask.prefix})"
        whole = f"repeat('*', length({text}))"
        column.becomes(f"CASE WHEN length({text}) > {mask.prefix} THEN {begin} ELSE {whole} END")


def _shift(column: _Column, mask: masks.Shift) -> None:
    import pyarrow.types as pt

    if not (pt.is_date(column.type) or pt.is_timestamp(column.type)):
        raise column.misfit("Only dates and timestamps can be shifted; cast it first")
    if mask.subject not in column.schema.names:
        raise ConfigError(
            f"there is no subject column '{mask.subject}'", hint=close_to(mask.subject, column.schema.names)
        )
    subject = _Column(mask.subject, column.schema, column.masking, column.made).text()
    number = (
        f"CAST('0x' || left({keyed_digest(subject, column.key('shift'))}, 12) AS BIGINT) % {2 * mask.days}"
    )
    days = (
        f"(CASE WHEN {number} < {mask.days} THEN {number} - {mask.days} ELSE {number} - {mask.days - 1} END)"
    )
    low, high = (1680, 2260) if "[ns" in str(column.type) else (1, 9990)
    moved = (
        f"CASE WHEN year({column.sql}) BETWEEN {low} AND {high} "
        f"THEN {column.sql} + to_days(CAST({days} AS INTEGER)) END"
    )
    column.made.subjects[column.name] = (mask.subject,)
    column.made.lost[column.name] = f"{column.sql} IS NOT NULL AND {subject} IS NULL"
    column.becomes(_as(column, moved), column.type)


def _format(column: _Column) -> None:
    cipher = DigitCipher(column.masking.key("format"))
    value = column.looked_up(column.text(), cipher.encipher)
    column.made.lost[column.name] = f"{column.sql} IS NOT NULL AND {value} IS NULL"
    column.becomes(value)


def _text(column: _Column) -> None:
    import pyarrow.types as pt

    if not (pt.is_string(column.type) or pt.is_large_string(column.type) or pt.is_string_view(column.type)):
        raise column.misfit("`text` is for text")
    column.becomes(masked_text(column.sql, column.masking.rules), column.type)


def _as(column: _Column, moment: str) -> str:
    """A computed moment in the column's own type."""
    import pyarrow.types as pt

    return f"CAST({moment} AS DATE)" if pt.is_date(column.type) else f"CAST({moment} AS {_sql_type(column)})"


def _sql_type(column: _Column) -> str:
    import pyarrow.types as pt

    if column.type.tz:
        return "TIMESTAMPTZ"
    units = {"s": "TIMESTAMP_S", "ms": "TIMESTAMP_MS", "us": "TIMESTAMP", "ns": "TIMESTAMP_NS"}
    return units[column.type.unit] if pt.is_timestamp(column.type) else "DATE"
