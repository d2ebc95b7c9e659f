"""Checkpoints of the audit log: where its chains end, signed; and whether the log still is what was signed."""

from pathlib import Path

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.private import make_private_folder, open_private
from superinsight_sync.security import audit_verifier
from superinsight_sync.security.audit_signing import Checkpoints
from superinsight_sync.security.audit_verifier import (
    Checkpoint,
    Verified,
    folder_of,
    read_checkpoints,
    verify_chain,
)
from superinsight_sync.state.audit import Entry, end_of, note
from superinsight_sync.state.opening import State


def make_checkpoints(state: State, kept: Checkpoints) -> tuple[Checkpoint, ...]:
    """Signs the end of every chain that grew since its last checkpoint.

    Its record is the last one signed: all that follow it are dated later. Raises ConfigError, TransientError and
    AccessError.
    """
    return tuple(made for tenant in state.audit.tenants() if (made := _sign(state, kept, tenant)) is not None)


def _sign(state: State, kept: Checkpoints, tenant: str) -> Checkpoint | None:
    last = kept.last(tenant)
    with state.database.write() as connection:
        seq, digest, at = end_of(connection, tenant)
        if last is not None and seq <= last.seq:
            return None
        note(connection, tenant, Entry("audit.checkpoint", tenant))
        seq, digest, at = end_of(connection, tenant)
    return kept.sign(tenant, at, seq, digest)


def verify_log(
    state: State, kept: Checkpoints, public_keys: tuple[bytes, ...] = (), tenant: str | None = None
) -> Verified:
    """Every chain, or one, against itself and its checkpoints.

    Args:
        public_keys: PEM; those that signed checkpoints. Default: the one of the key in use.
    """
    result = Verified()
    keys = public_keys or (kept.public_key,)
    chains = {*state.audit.tenants(), *kept.tenants()} if tenant is None else {tenant}
    for one in sorted(chains):
        pins = read_checkpoints(one, kept.files(one), keys, result)
        verify_chain(one, state.audit.chain(one), pins, result)
    return result


def export_log(
    state: State, kept: Checkpoints, folder: Path, tenants: tuple[str, ...] = ()
) -> dict[str, int]:
    """Writes chains with their checkpoints, signed up to now, and the program that verifies them; how many records of
    each tenant.

    Raises:
        ConfigError: the folder is there and not empty, cannot be made, or a tenant has no chain.
    """
    known = state.audit.tenants()
    for tenant in tenants:
        if tenant not in known:
            raise ConfigError(f"tenant '{tenant}' has no audit log", hint="See `sis audit verify --json`")
    make_checkpoints(state, kept)
    written: dict[str, int] = {}
    try:
        if folder.exists() and any(folder.iterdir()):
            raise ConfigError(f"{folder} is not empty", hint="Name a new folder")
        make_private_folder(folder)
        for tenant in tenants or known:
            written[tenant] = _export_chain(state, kept, folder / folder_of(tenant), tenant)
        with open_private(folder / "audit_verifier.py", "wb") as file:
            file.write(Path(audit_verifier.__file__).read_bytes())
    except OSError as error:
        raise ConfigError(f"the export cannot be written: {error.strerror}", where=str(folder)) from error
    return written


def _export_chain(state: State, kept: Checkpoints, folder: Path, tenant: str) -> int:
    make_private_folder(folder)
    count = 0
    with open_private(folder / "records.jsonl", "wb") as file:
        for _, body, _ in state.audit.chain(tenant):
            file.write(body.encode() + b"\n")
            count += 1
    for name, text in kept.files(tenant):
        with open_private(folder / name, "wb") as file:
            file.write(text.encode("ascii", "backslashreplace"))
    return count
