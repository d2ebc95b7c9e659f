"""Master keys: they wrap the data keys that are kept in our database, and are never kept there themselves."""

import base64
import binascii
import hashlib
import os
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from superinsight_sync.core.errors import ConfigError

MASTER_KEY = "SIS_MASTER_KEY"
MASTER_KEY_FILE = "SIS_MASTER_KEY_FILE"
MASTER_KEY_COMMAND = "SIS_MASTER_KEY_COMMAND"
_NAMES = (MASTER_KEY, MASTER_KEY_FILE, MASTER_KEY_COMMAND)
_KEY_BYTES = 32
_NONCE_BYTES = 12
_COMMAND_S = 30


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
    env = os.environ if env is None else env
    given = [name for name in _NAMES if env.get(name)]
    if not given:
        return None
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} are set", where="encryption", hint="Set one of them")
    name = given[0]
    texts = _read(name, env[name]).split()
    secrets: dict[str, bytes] = {}
    for text in texts:
        try:
            secret = base64.b64decode(text, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            secret = b""
        if len(secret) != _KEY_BYTES:
            raise _no_key(name)
        secrets[hashlib.sha256(b"sis master key" + secret).hexdigest()[:8]] = secret
    if not secrets:
        raise _no_key(name)
    return MasterKeys(secrets)


def new_master_key() -> str:
    """A new one, as it is written."""
    return base64.urlsafe_b64encode(os.urandom(_KEY_BYTES)).decode()


def _read(name: str, value: str) -> str:
    try:
        match name:
            case "SIS_MASTER_KEY_FILE":
                return Path(value).read_text("ascii")
            case "SIS_MASTER_KEY_COMMAND":
                done = subprocess.run(
                    shlex.split(value), capture_output=True, text=True, timeout=_COMMAND_S, check=True
                )
                return done.stdout
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise ConfigError(
            f"{name} gives no master key: {type(error).__name__}",
            where="encryption",
            hint="Check that this user can read the file, or that the command ends with 0",
        ) from error
    return value


def _no_key(name: str) -> ConfigError:
    return ConfigError(
        f"what {name} gives is no master key",
        where="encryption",
        hint="`sis encryption new-key` makes one: 32 bytes in base64. Older ones follow, each on a line",
    )
