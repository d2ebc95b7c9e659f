"""Deliveries' bodies where they rest: small ones in their row, big ones as files; sealed if there is a master key."""

import hashlib
from collections.abc import Collection, Iterator
from io import BytesIO
from typing import BinaryIO

from superinsight_sync.core.errors import ConfigError, DataError
from superinsight_sync.security.sealing import HEADER_BYTES, key_id_of
from superinsight_sync.state.data_keys import DataKeys
from superinsight_sync.state.inbox_writer import Delivery
from superinsight_sync.state.landing_files import LandingFiles


class Bodies:
    """Methods raise DataError for a body that is gone or damaged, ConfigError where the key that opens it is lost."""

    def __init__(self, files: LandingFiles, keys: DataKeys) -> None:
        self.files, self.keys = files, keys

    def sealed(self, delivery: Delivery) -> Delivery:
        """The delivery as its row is written."""
        if delivery.body is None or not self.keys.is_on:
            return delivery
        return delivery._replace(body=self._seal(delivery.tenant, delivery.body, delivery.fingerprint))

    def keep(self, tenant: str, body: bytes, fingerprint: str) -> None:
        """Keeps a big body as a file: it is on the disk when this returns."""
        if not self.keys.is_on:
            self.files.keep(body, fingerprint)
            return
        self.files.keep(self._seal(tenant, body, fingerprint), sealed_name(tenant, fingerprint))

    def keep_anew(self, tenant: str, body: bytes, fingerprint: str) -> None:
        """Keeps a big body sealed with the current key, in the place of what is there."""
        self.files.replace(self._seal(tenant, body, fingerprint), sealed_name(tenant, fingerprint))

    def _seal(self, tenant: str, body: bytes, fingerprint: str) -> bytes:
        return self.keys.current(tenant).seal(body, context_of(tenant, fingerprint))

    def opened(self, tenant: str, fingerprint: str, kept: bytes | None) -> bytes:
        """A body as it came; `kept` is what its row has, None if it is a file."""
        if kept is not None and not _is_sealed(kept, fingerprint):
            return kept
        return b"".join(self.parts(tenant, fingerprint, kept))

    def parts(self, tenant: str, fingerprint: str, kept: bytes | None) -> Iterator[bytes]:
        """As `opened`, part by part. What is wrong is raised before the first one."""
        if kept is not None:
            if not _is_sealed(kept, fingerprint):
                return iter([kept])
            return self._unsealed(BytesIO(kept), tenant, fingerprint)
        name = sealed_name(tenant, fingerprint)
        if not self.files.has(name):
            return self.files.parts(fingerprint)
        return self._unsealed(self.files.open(name), tenant, fingerprint)

    def forget(self, those: Collection[tuple[str, str]], used: Collection[tuple[str, str]]) -> None:
        """Deletes files by tenant and fingerprint, kept sealed or not, but for what is used."""
        self.files.forget(_names(those) - _names(used))

    def _unsealed(self, file: BinaryIO, tenant: str, fingerprint: str) -> Iterator[bytes]:
        key_id = key_id_of(file.read(HEADER_BYTES + 16))
        file.seek(0)
        try:
            if key_id is None:
                raise DataError("a delivery's body is damaged", where=f"body {fingerprint[:12]}…")
            key, context = self.keys.find(key_id), context_of(tenant, fingerprint)
            for _ in key.open_parts(file, context):
                pass
        except (DataError, ConfigError):
            file.close()
            raise
        file.seek(0)
        return key.open_parts(file, context)


def _names(those: Collection[tuple[str, str]]) -> set[str]:
    return {fingerprint for _, fingerprint in those} | {sealed_name(*one) for one in those}


def sealed_name(tenant: str, fingerprint: str) -> str:
    """Equal bodies of two tenants are two files: each is sealed with its own key."""
    return hashlib.sha256(f"sealed\0{tenant}\0{fingerprint}".encode()).hexdigest()


def _is_sealed(kept: bytes, fingerprint: str) -> bool:
    """A sender may send what looks sealed: then the fingerprint, which is of what came, says that it is not."""
    return key_id_of(kept) is not None and hashlib.sha256(kept).hexdigest() != fingerprint


def context_of(tenant: str, fingerprint: str) -> str:
    """What a body is sealed for: it opens as no other tenant's, and as no other body."""
    return f"inbox body {fingerprint} of {tenant}"
