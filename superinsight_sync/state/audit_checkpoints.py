"""Checkpoints of the audit log: where its chains end, signed; and whether the log still is what was signed."""

from superinsight_sync.security.audit_signing import Checkpoints
from superinsight_sync.security.audit_verifier import Checkpoint, Verified, read_checkpoints, verify_chain
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
