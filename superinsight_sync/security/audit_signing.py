"""Signs checkpoints of the audit log and keeps them in a folder, apart from the database."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.private import make_private_folder, open_private
from superinsight_sync.security.audit_verifier import FIRST, Checkpoint, folder_of, hash_of, parse_checkpoint

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class Checkpoints:
    """The checkpoints of all chains, a folder each, and the key that signs them.

    Args:
        folder: where they are kept. It is best on another disk, or copied to where nothing can be taken back.
        key: the private Ed25519 key, PEM. One is made if the file is not there.
    """

    def __init__(self, folder: Path, key: Path) -> None:
        self.folder, self._key = folder, key

    @property
    def public_key(self) -> bytes:
        """PEM: for who verifies. Raises ConfigError if the private key cannot be read."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        return self._private().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def files(self, tenant: str) -> list[tuple[str, str]]:
        """Name and content of a chain's checkpoints, in their order."""
        found = sorted((self.folder / folder_of(tenant)).glob("checkpoint-*.json"))
        return [(p.name, p.read_text("ascii", "backslashreplace")) for p in found]

    def tenants(self) -> frozenset[str]:
        """Those that have checkpoints which can be read."""
        return frozenset(p.tenant for folder in self.folder.glob("*") if (p := self._last_in(folder)))

    def last(self, tenant: str) -> Checkpoint | None:
        """The newest of a chain; None if it has none. Raises ConfigError for one that cannot be read."""
        return self._last_in(self.folder / folder_of(tenant))

    def sign(self, tenant: str, at: str, seq: int, digest: str) -> Checkpoint:
        """Signs that a chain ended then with that record, behind the checkpoints it has. Of two processes that do so at
        once, one gets the next number, or what the other signed behind it.

        Raises:
            ConfigError: the folder cannot be written to, or the key cannot be read.
        """
        private = self._private()
        while True:
            name, text = self._newest(self.folder / folder_of(tenant))
            newest = self._last_in(self.folder / folder_of(tenant))
            if newest is not None and newest.seq >= seq:
                return newest
            number = newest.number + 1 if newest else 1
            prev = hash_of(str(json.loads(text)["body"])) if name else FIRST
            said = {
                "v": 1,
                "tenant": tenant,
                "number": number,
                "prev": prev,
                "at": at,
                "seq": seq,
                "hash": digest,
            }
            body = json.dumps(said, separators=(",", ":"))
            outer = {"body": body, "signature": private.sign(body.encode()).hex()}
            if self._write(f"{folder_of(tenant)}/checkpoint-{number:08d}.json", json.dumps(outer)):
                return parse_checkpoint(body)

    def _write(self, name: str, text: str) -> bool:
        """Makes a file, whole or not at all; False if there is one."""
        path = self.folder / name
        try:
            make_private_folder(path.parent)
            draft = path.with_name(f".{path.name}.{os.getpid()}")
            with open_private(draft, "wb") as file:
                file.write(text.encode("ascii"))
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(draft, path)
            except FileExistsError:
                return False
            finally:
                draft.unlink()
        except OSError as error:
            raise ConfigError(
                f"a checkpoint cannot be written: {error.strerror}",
                where=f"audit log, {self.folder}",
                hint="Let this user write there, or set SIS_AUDIT_DIR",
            ) from error
        return True

    def _newest(self, folder: Path) -> tuple[str, str]:
        found = sorted(folder.glob("checkpoint-*.json"))
        return (found[-1].name, found[-1].read_text("ascii", "backslashreplace")) if found else ("", "")

    def _last_in(self, folder: Path) -> Checkpoint | None:
        name, text = self._newest(folder)
        if not name:
            return None
        try:
            return parse_checkpoint(str(json.loads(text)["body"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"checkpoint file {name} cannot be read",
                where=f"audit log, {folder}",
                hint="See `sis audit verify`; restore the file from its copy",
            ) from error

    def _private(self) -> "Ed25519PrivateKey":
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            if not self._key.exists():
                self._make()
            found = load_pem_private_key(self._key.read_bytes(), None)
        except (OSError, ValueError, TypeError) as error:
            raise self._unusable() from error
        if not isinstance(found, Ed25519PrivateKey):
            raise self._unusable()
        return found

    def _make(self) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        made = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        make_private_folder(self._key.parent)
        draft = self._key.with_name(f".{self._key.name}.{os.getpid()}")
        with open_private(draft, "wb") as file:
            file.write(made)
        try:
            os.link(draft, self._key)
        except FileExistsError:  # another process made one: that is the key
            pass
        finally:
            draft.unlink()

    def _unusable(self) -> ConfigError:
        return ConfigError(
            "the key that signs checkpoints cannot be used",
            where=f"audit log, {self._key}",
            hint="SIS_AUDIT_KEY names a private Ed25519 key (PEM) that this user may read",
        )
