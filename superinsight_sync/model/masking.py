"""The YAML vocabulary of masks: what takes the place of a column's values. NULL stays NULL under every mask."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from superinsight_sync.model.declaration import Declared

Match = Literal["exact", "email", "code"]


class Redact(Declared):
    """Every value becomes the same text."""

    how: Literal["redact"]
    """`redact`."""
    text: str = "***"
    """What stands in place of each value."""


class Null(Declared):
    """Every value becomes NULL; the column keeps its type."""

    how: Literal["null"]
    """`null`."""


class Partial(Declared):
    """Some characters at the ends stay; each of the others becomes `*`."""

    how: Literal["partial"]
    """`partial`."""
    keep_first: int = Field(default=0, ge=0)
    """Characters that stay at the beginning."""
    keep_last: int = Field(default=4, ge=0)
    """Characters that stay at the end. A value of which more would stay than go is hidden whole."""


class Hmac(Declared):
    """A keyed digest, `k<key version>_` and 32 hexadecimal digits: equal values of a tenant have equal ones."""

    how: Literal["hmac"]
    """`hmac`."""
    match: Match = "exact"
    """What counts as equal: the same characters; `email`: without blanks around and in lower case; `code`: letters and
    digits alone, in upper case, for telephones, cards and official numbers."""


class Token(Declared):
    """A random token, `tok_` and 26 characters. The vault in our state keeps the value, encrypted."""

    how: Literal["token"]
    """`token`."""
    match: Match = "exact"
    """As for `hmac`."""


class Generalise(Declared):
    """A coarser value. Give one of `to`, `band` and `prefix`."""

    how: Literal["generalise"]
    """`generalise`."""
    to: Literal["month", "quarter", "year"] | None = None
    """Dates and timestamps: the first moment of their month, quarter or year."""
    band: int | None = Field(default=None, gt=1)
    """Numbers: bands of this width, such as `30-39` for 10."""
    top: int | None = None
    """With `band`: this number and greater ones become one band, such as `90+`."""
    prefix: int | None = Field(default=None, gt=0)
    """Text: so many characters stay, such as the beginning of a postcode; each of the others becomes `*`."""

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if sum(given is not None for given in (self.to, self.band, self.prefix)) != 1:
            raise ValueError("give exactly one of to, band and prefix")
        if self.top is not None and self.band is None:
            raise ValueError("top belongs to band")
        return self


class Shift(Declared):
    """Dates move by a number of days that depends on the subject: what lies between two dates of a person stays."""

    how: Literal["shift"]
    """`shift`."""
    subject: str
    """The column that says whose date it is. A row without a subject gets NULL."""
    days: int = Field(default=180, gt=0)
    """Dates move by 1 to this many days, forwards or back."""


class Format(Declared):
    """The digits become other digits (FF1 of NIST SP 800-38G); all other characters stay as they are."""

    how: Literal["format"]
    """`format`."""


class Text(Declared):
    """In free text, what the detectors find becomes its kind in brackets, such as `[email]`."""

    how: Literal["text"]
    """`text`."""


def _how_alone(value: object) -> object:
    """The name alone as an object. YAML reads a bare `null` as nothing at all."""
    if value is None or isinstance(value, str):
        value = {"how": value}
    return {**value, "how": value["how"] or "null"} if isinstance(value, dict) and "how" in value else value


Mask = Annotated[
    Annotated[
        Redact | Null | Partial | Hmac | Token | Generalise | Shift | Format | Text,
        Field(discriminator="how"),
    ],
    BeforeValidator(_how_alone),
]
"""One column's mask: its name, or an object with `how` and its options."""
