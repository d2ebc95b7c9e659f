"""Keys of masks: by reference, a version each, and for each tenant another one made of them."""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.security.detection import Rule
from superinsight_sync.security.secrets import is_reference, references, resolve

DEFAULT_REFERENCE = "{{ env.SIS_MASK_KEY }}"
MIN_KEY_LENGTH = 32

Vault: TypeAlias = Callable[[Sequence[str]], Sequence[str]]
"""Gives the tokens of texts, the same one for the same text, and makes those that are not there yet."""


@dataclass(frozen=True)
class Masking:
    """Whose keys and vault masks use.

    Attributes:
        tenant: whose data it is: another tenant's masks of the same values are others.
        keys: version → the reference to its secret. The greatest version masks.
        rules: what is looked for within free text; None for the built-in detectors.
        vault: of the tenant; None where nothing is masked, only planned.
    """

    tenant: str = "default"
    keys: tuple[tuple[int, str], ...] = ((1, DEFAULT_REFERENCE),)
    vault: Vault | None = field(default=None, compare=False)
    rules: tuple[Rule, ...] | None = None

    @property
    def version(self) -> int:
        return max(self.keys)[0]

    def key(self, purpose: str, *, version: int | None = None) -> bytes:
        """32 bytes for one purpose of this tenant, of the newest key or of a version.

        Raises ConfigError naming the variable that is missing or short.
        """
        version = version or self.version
        reference = dict(self.keys).get(version)
        if reference is None:
            raise ConfigError(
                f"there is no mask key {version}", hint="Keep it under `keys` in sensitive.yaml"
            )
        if not is_reference(reference):
            raise ConfigError(
                f"mask key {version} is no reference", hint="Write it like {{ env.SIS_MASK_KEY }}"
            )
        secret = resolve(reference)
        if len(secret) < MIN_KEY_LENGTH:
            raise ConfigError(
                f"the mask key in environment variable {references(reference)[0]} is too short",
                hint=f"Give it {MIN_KEY_LENGTH} random characters or more, such as those of: openssl rand -hex 32",
            )
        info = f"sis-mask/{version}/{self.tenant}/{purpose}"
        return hmac.digest(secret.encode(), info.encode(), hashlib.sha256)

    def check_value(self) -> str:
        """Tells keys apart without giving one away: other masks come of another value. Raises as `key` does."""
        return f"{self.version}:{self.key('check').hex()[:16]}"

    def tokens(self, texts: Sequence[str]) -> Sequence[str]:
        """The vault's tokens of texts."""
        if self.vault is None:
            raise ConfigError("there is no token vault here", hint="Tokens are made by `sis run`")
        return self.vault(texts)
