"""Format-preserving masks: FF1 of NIST SP 800-38G over a text's digits, by the library `libffx`."""

from collections.abc import Sequence

from superinsight_sync.core.extras import need

MIN_DIGITS = 6
"""FF1 asks for a million different values: shorter numbers could be tried out."""
MAX_DIGITS = 1_000
_DIGITS = "0123456789"


class DigitCipher:
    """Enciphers digits and keeps every other character in its place.

    Args:
        key: 32 bytes.

    Raises ConfigError if the library is not installed.
    """

    def __init__(self, key: bytes) -> None:
        need("masking", "the mask `format`")
        self._key = key

    def encipher(self, texts: Sequence[str]) -> list[str | None]:
        """The texts with other digits; None for one that has too few digits or too many, or digits of other scripts."""
        from ffx import FF1

        cipher = FF1(self._key, radix=10)
        masked: list[str | None] = []
        for text in texts:
            digits = "".join(c for c in text if c in _DIGITS)
            strange = any(c.isnumeric() and c not in _DIGITS for c in text)
            if strange or not MIN_DIGITS <= len(digits) <= MAX_DIGITS:
                masked.append(None)
                continue
            enciphered = iter(cipher.encrypt(digits))
            masked.append("".join(next(enciphered) if c in _DIGITS else c for c in text))
        return masked
