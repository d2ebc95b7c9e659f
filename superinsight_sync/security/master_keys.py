"""Master keys: they wrap the data keys that are kept in our database, and are never kept there themselves."""

import base64
import binascii
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.security.secrets import secret_of

MASTER_KEY = "SIS_MASTER_KEY"
MASTER_KEY_FILE = "SIS_MASTER_KEY_FILE"
_KEY_BYTES = 32
_NONCE_BYTES = 12


@dataclass(frozen=True)
class MasterKeys:
    """The first wraps, all unwrap: an old one stays behind the new one until nothing is wrapped by it."""

    secrets: Mapping[str, bytes] = field(repr=False)

    @property
    def current(self) -> str:
        """The id of the one that wraps."""
        return next(iter(self.secrets))

    def wrap(self, secret: bytes, context: str) -> bytes:
        """A data key as it may be kept."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(_NONCE_BYTES)
        return nonce + AESGCM(self.secrets[self.current]).encrypt(nonce, secret, context.encode())

    def unwrap(self, wrapped: bytes, context: str, master: str) -> bytes:
        """The data key. Raises ConfigError if the master key `master` is not among these, or it does not fit."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if master not in self.secrets:
            raise ConfigError(
                f"master key {master} is needed and not there",
                where="encryption",
                hint=f"Give it behind the newest one, in {MASTER_KEY_FILE} on a line of its own",
            )
        nonce, rest = wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:]
        try:
            return AESGCM(self.secrets[master]).decrypt(nonce, rest, context.encode())
        except (InvalidTag, ValueError) as error:
            raise ConfigError(
                f"a data key is damaged: master key {master} does not open it",
                where="encryption",
                hint="Restore the table sis_data_keys from a backup",
            ) from error


def load_master_keys(env: Mapping[str, str] | None = None) -> MasterKeys | None:
    """From the environment, a file or an external command, whichever is set; None if none is: then nothing is sealed.

    Raises:
        ConfigError: several are set, the file or command fails, or what they give is no key.
    """
    env = {name: value for name, value in (os.environ if env is None else env).items() if value}
    try:
        text = secret_of(MASTER_KEY, env)
    except ConfigError as error:
        raise error.at("encryption") from error
    if text is None:
        return None
    secrets: dict[str, bytes] = {}
    for word in text.split():
        try:
            secret = base64.b64decode(word, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            secret = b""
        if len(secret) != _KEY_BYTES:
            raise _no_key()
        secrets[hashlib.sha256(b"sis master key" + secret).hexdigest()[:8]] = secret
    if not secrets:
        raise _no_key()
    return MasterKeys(secrets)


def new_master_key() -> str:
    """A new one, as it is written."""
    return base64.urlsafe_b64encode(os.urandom(_KEY_BYTES)).decode()


def _no_key() -> ConfigError:
    return ConfigError(
        f"what {MASTER_KEY} or its file or command gives is no master key",
        where="encryption",
        hint="`sis encryption new-key` makes one: 32 bytes in base64. Older ones follow, each on a line",
    )
