"""The distinct values of a column, in bounded memory: which there are, how often, and how many in all."""

import sys
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from superinsight_sync.security.sensitive import SensitiveKind, kind_of_value, names_a_person

SIZE = 1024
"""Kept values. Sets up to this size are counted exactly; the error of an estimate is about 3 %."""
SAMPLE = 400
"""Of so many values it is kept what they look like."""
SMALL = 50
"""Values of sets up to this size may be shown."""
HASHES = 1 << 64
_MAX_SHOWN_TEXT = 60
_PATTERN_LENGTH = 32


@dataclass(frozen=True, slots=True)
class Look:
    """What a value looks like. `text` is the value where it may be shown by itself."""

    shape: str
    kind: SensitiveKind | None
    inside: bool
    """Whether an e-mail address, a telephone or the like stands within it."""
    text: str | None


@dataclass
class Sketch:
    """The values of the smallest hashes, with the rows that have them: "bottom-k", Cohen and Kaplan 2007.

    Which values are kept depends on the values alone, not on the order or the parts they come in. A value that is
    kept in the end was kept all the time, so its count is exact.
    """

    keys: "array[int]" = field(default_factory=lambda: array("Q"))
    """The hashes, ascending."""
    rows: "array[int]" = field(default_factory=lambda: array("Q"))
    """Of each hash."""
    looks: dict[int, Look] = field(default_factory=dict)
    """Of the smallest hashes."""
    whole: bool = True
    """Whether no value was left out."""

    @property
    def bound(self) -> int:
        """Values of greater hashes are not wanted."""
        return HASHES - 1 if self.whole else self.keys[-1]

    @property
    def distinct(self) -> int:
        """How many different values there are, an estimate unless `whole`."""
        if self.whole:
            return len(self.keys)
        return max(SIZE + 1, (SIZE - 1) * HASHES // (self.bound + 1))

    @property
    def small(self) -> bool:
        """Whether its values may be shown."""
        return self.whole and len(self.keys) <= SMALL

    @property
    def repeated(self) -> bool:
        """Whether a kept value has more than one row."""
        return any(n > 1 for n in self.rows)

    def shown(self) -> Iterable[tuple[str, int]]:
        """The values of a small set that may be shown, with their rows."""
        counts = dict(zip(self.keys, self.rows, strict=True)) if self.small else {}
        return ((x.text, counts[k]) for k, x in self.looks.items() if k in counts and x.text is not None)

    def add(self, found: Iterable[tuple[int, int, str | None]], *, whole: bool = True) -> None:
        """Adds (hash, rows, beginning of the text) of different values; not `whole` if others were left out."""
        counts = dict(zip(self.keys, self.rows, strict=True))
        texts: dict[int, str] = {}
        for key, rows, text in found:
            counts[key] = counts.get(key, 0) + rows
            if text is not None:
                texts[key] = text
        kept = sorted(counts)[:SIZE]
        self.whole = self.whole and whole and len(kept) == len(counts)
        self.keys, self.rows = array("Q", kept), array("Q", (counts[key] for key in kept))
        looks = {
            k: self.looks.get(k) or look_of(texts[k]) for k in kept[:SAMPLE] if k in self.looks or k in texts
        }
        if not self.small:
            looks = {k: look if look.text is None else _hidden(look) for k, look in looks.items()}
        self.looks = looks

    def state(self) -> dict[str, Any]:
        """As JSON takes it."""
        looks = [
            [str(key), look.shape, look.kind, look.inside, look.text] for key, look in self.looks.items()
        ]
        return {"keys": list(self.keys), "rows": list(self.rows), "looks": looks, "whole": self.whole}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> "Sketch":
        """From its state."""
        looks = {int(key): Look(sys.intern(shape), *rest) for key, shape, *rest in state["looks"]}
        return cls(array("Q", state["keys"]), array("Q", state["rows"]), looks, state["whole"])


def look_of(text: str) -> Look:
    """What a text looks like."""
    kind, inside = kind_of_value(text), names_a_person(text)
    shown = text if len(text) <= _MAX_SHOWN_TEXT and kind is None and not inside else None
    return Look(sys.intern(shape_of(text[:_PATTERN_LENGTH])), kind, inside, shown)


def _hidden(look: Look) -> Look:
    return Look(look.shape, look.kind, look.inside, None)


def shape_of(text: str) -> str:
    """Letters as a and A, digits as 9; ASCII punctuation stays, anything else is ?."""
    return "".join(map(_shape_of, text))


def _shape_of(char: str) -> str:
    if char.isupper() or char.istitle():
        return "A"
    if char.isalpha():
        return "a"
    if char.isnumeric():
        return "9"
    return char if " " <= char <= "~" else "?"
