"""Why a delivery is not taken, as far as its sender may know. None of them repeats what was sent."""

from superinsight_sync.core.errors import AccessError, DataError


class SignatureError(AccessError):
    """The signature is missing, wrong, too old or for something else: which of them is not said."""

    def __init__(self, message: str = "the signature is missing or does not hold", **at: str) -> None:
        super().__init__(message, **at)


class MalformedError(DataError):
    """The bytes are not of the format they are said to be."""


class TooLargeError(DataError):
    """Too many bytes, before or after unpacking."""


class UnsupportedError(DataError):
    """A format, compression or text encoding that is not accepted."""


class UnprocessableError(DataError):
    """Well-formed, but not what the source takes: too many records, too deep, another shape."""
