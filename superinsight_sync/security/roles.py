"""Who may do what. What is not listed is denied, and nobody reaches another tenant."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

Role = Literal["admin", "operator", "viewer", "pusher"]
Action = Literal["push", "read", "read_records", "control", "manage_keys", "read_audit"]

ROLES: tuple[Role, ...] = get_args(Role)
ACTIONS: tuple[Action, ...] = get_args(Action)

ALLOWED: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "admin": frozenset(ACTIONS),
        "operator": frozenset({"read", "read_records", "control"}),
        "viewer": frozenset({"read"}),
        "pusher": frozenset({"push"}),
    }
)
"""Actions by role: `push` sends data in, `read` sees states, numbers and schemas, `read_records` sees customers'
records, `control` starts, stops and replays work, `manage_keys` makes and revokes keys,
`read_audit` sees who did what."""


@dataclass(frozen=True)
class Principal:
    """Who asks, after the credentials have been checked.

    Attributes:
        key_id: id of the API key, which access tokens come from too.
        sources: the only sources it reaches; empty means all of its tenant.
    """

    key_id: str
    tenant: str
    role: str
    sources: tuple[str, ...] = ()

    def may(self, action: str, tenant: str | None = None, source: str | None = None) -> bool:
        """Whether it may do that.

        Args:
            action: one of `ACTIONS`; any other is denied.
            tenant: whose things it is about; None means its own.
            source: which source it is about; None is denied to who is bound to sources.
        """
        if tenant is not None and tenant != self.tenant:
            return False
        if self.sources and source not in self.sources:
            return False
        return self.can(action)

    def can(self, action: str) -> bool:
        """Whether it may do that to any source at all."""
        return action in ALLOWED.get(self.role, frozenset())
