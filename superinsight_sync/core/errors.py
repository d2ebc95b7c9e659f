"""Errors grouped by what happens next. A message says what, where and what to do; never a secret or a value.

SisError
├── TransientError   network, timeout, lock: retried with backoff, then a dead letter
├── ConfigError      the declaration or the environment is wrong: stop at once, say what to change
│   └── NothingYetError  a stream of which nothing has come, so that its columns are unknown: wait for it
├── AccessError      credentials or rights: stop at once
├── DataError        records break type, contract or rule: quarantine
│   └── ThresholdError   too many of them: stop, publish nothing
└── StopRequested    pause or cancel: stop at the next batch, keep the checkpoint
"""

import copy


class SisError(Exception):
    """Base of all our errors.

    Args:
        message: what is wrong, one sentence without a full stop at its end.
        where: the thing it is about, such as ``source 'crm', stream 'orders'`` or ``file.yaml:12``.
        hint: what to do about it.
    """

    exit_code = 1
    retryable = False

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(message, where, hint)
        self.message = message
        self.where = where
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.where, self.hint), self.__dict__)

    def __str__(self) -> str:
        head = f"{self.where}: {self.message}" if self.where else self.message
        return f"{head}. {self.hint}" if self.hint else head

    def at(self, where: str) -> "SisError":
        """The same error, told where it happened unless it knows already."""
        if self.where:
            return self
        located = copy.copy(self)
        located.where, located.args = where, (self.message, where, self.hint)
        return located


def _rebuild(cls: type[SisError], message: str, where: str, hint: str) -> SisError:
    return cls(message, where=where, hint=hint)


class TransientError(SisError):
    """May succeed if tried again: network, timeout, lock, 429, 5xx.

    Attributes:
        wait_s: the seconds that the other side asked to wait for before the next try; None if it did not.
        retried: whether all retries have been made: who gets it makes no more.
        patience_s: for how many seconds it is tried again at least, however often that is.
    """

    retryable = True
    wait_s: float | None = None
    retried: bool = False
    patience_s: float = 0.0


class ConfigError(SisError):
    """The declaration or the environment is wrong; trying again cannot help."""

    exit_code = 2


class NothingYetError(ConfigError):
    """Nothing has come of a stream, so that its columns are unknown. A pull of it makes no table and succeeds."""


class AccessError(SisError):
    """Credentials or rights are missing."""


class DataError(SisError):
    """Records break a type, a contract or a rule."""

    exit_code = 3


class ThresholdError(DataError):
    """More records failed than the declaration allows; nothing was published."""


class StopRequested(SisError):
    """Pause or cancel: the work stopped at a batch boundary and kept its checkpoint."""
