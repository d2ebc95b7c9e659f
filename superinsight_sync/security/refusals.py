"""Why a request was turned away, as far as the one who asked may know."""

from superinsight_sync.core.errors import AccessError, SisError


class UnauthenticatedError(AccessError):
    """401: no credentials, or none that hold. Wrong, expired and revoked ones are told alike."""

    status = 401

    def __init__(self, message: str = "credentials are missing or do not hold", **at: str) -> None:
        super().__init__(message, **at)


class ForbiddenError(AccessError):
    """403: who asks is not let in from there, or has no right to this. Which of them is not said."""

    status = 403

    def __init__(self, message: str = "not allowed", **at: str) -> None:
        super().__init__(message, **at)


class TooManyRequestsError(AccessError):
    """429: may be asked again after `retry_after_s` seconds."""

    status = 429
    retryable = True

    def __init__(self, retry_after_s: float, *, where: str = "", hint: str = "") -> None:
        super().__init__("too many requests", where=where, hint=hint)
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self.retry_after_s, self.where, self.hint))

    def at(self, where: str) -> SisError:
        """The same error, told where it happened unless it knows already."""
        return self if self.where else _rebuild(self.retry_after_s, where, self.hint)


def _rebuild(retry_after_s: float, where: str, hint: str) -> TooManyRequestsError:
    return TooManyRequestsError(retry_after_s, where=where, hint=hint)
