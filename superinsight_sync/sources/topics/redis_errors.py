"""The Redis client's errors → ours, with texts that hold neither secrets nor values."""

from collections.abc import Iterator
from contextlib import contextmanager

import redis.exceptions as errors

from superinsight_sync.core.errors import AccessError, ConfigError, SisError, TransientError

_ACCESS = ("NOAUTH", "WRONGPASS", "NOPERM", "invalid username-password", "invalid password")
_TRANSIENT = ("LOADING", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "max number of clients")


def mapped(error: errors.RedisError) -> SisError:
    """Our error of the class that the server's words stand for."""
    text = str(error)
    access = (errors.AuthenticationError, errors.NoPermissionError)
    if isinstance(error, access) or any(w in text for w in _ACCESS):
        return AccessError(
            "Redis refuses the account", hint="Check user and password of the DSN and its rights"
        )
    if "MOVED" in text or "ASK " in text:
        return ConfigError(
            "the server is a node of a Redis cluster that does not hold this key",
            hint="Name the node that holds it",
        )
    if isinstance(error, errors.ConnectionError | errors.TimeoutError) or any(w in text for w in _TRANSIENT):
        return TransientError(
            f"Redis cannot be reached ({type(error).__name__})",
            hint="Check that the server runs and can be reached",
        )
    if "WRONGTYPE" in text:
        return ConfigError("the key is no stream", hint="`sis discover` lists the streams")
    if "no such key" in text:
        return ConfigError("there is no such Redis stream", hint="`sis discover` lists the streams")
    return ConfigError(f"Redis refuses a command ({text.split(' ', 1)[0][:20]})")


@contextmanager
def mapping() -> Iterator[None]:
    """Maps what the client raises inside."""
    try:
        yield
    except errors.RedisError as error:
        raise mapped(error) from None
    except OSError as error:
        raise TransientError(
            f"Redis cannot be reached ({type(error).__name__})",
            hint="Check that the server runs and can be reached",
        ) from None
