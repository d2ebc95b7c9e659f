"""API keys and refresh tokens. Only hashes are kept: whoever reads the database can use none of them."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, or_, select, update

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import ConfigError, TransientError
from superinsight_sync.security import api_keys as keys
from superinsight_sync.security.acting import acting_as, current_actor
from superinsight_sync.security.api_keys import ApiKey, Credential, digest
from superinsight_sync.security.networks import Networks
from superinsight_sync.security.roles import ROLES, Role
from superinsight_sync.state.audit import Entry, note
from superinsight_sync.state.database import Database, insert_into
from superinsight_sync.state.tables import api_keys, refresh_tokens

_TRIES = 20  # four thousand million ids: a taken one is rare, twenty in a row are a broken generator


class ApiKeys:
    """Every method may raise TransientError, AccessError and ConfigError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        name: str,
        role: Role,
        *,
        tenant: str = "default",
        sources: Sequence[str] = (),
        networks: Sequence[str] = (),
        not_after: datetime | None = None,
    ) -> Credential:
        """Makes a key. What is returned exists nowhere else: it can be shown now, and never again.

        Args:
            name: for people: who holds it.
            sources: the only sources it reaches; empty for all of the tenant.
            networks: the only networks it is taken from; empty for all.
            not_after: from then on it does not hold.

        Raises:
            ConfigError: an unknown role, an empty tenant or source, a network that is none, an end in the past.
        """
        now = utc_now()
        Networks(networks)
        if role not in ROLES:
            raise ConfigError(f"'{role}' is no role", hint=f"Valid: {', '.join(ROLES)}")
        if not tenant or not all(sources):
            raise ConfigError("a key needs a tenant, and sources have names")
        if not_after is not None and not_after <= now:
            raise ConfigError("the key would end before it begins", hint="Give a later time")
        row: dict[str, Any] = {
            "tenant": tenant,
            "role": role,
            "name": name,
            "sources": list(sources),
            "networks": list(networks),
            "created_at": now,
            "not_after": not_after,
        }
        for _ in range(_TRIES):
            made = keys.make()
            with self._database.write() as connection:
                new = insert_into(connection, api_keys).values(id=made.id, hash=made.hash, **row)
                # The row count of an INSERT is not the same on all drivers; what it returns is.
                if connection.scalar(new.on_conflict_do_nothing().returning(api_keys.c.id)) is not None:
                    told = {name: row[name] for name in ("role", "name", "sources", "networks", "not_after")}
                    note(connection, tenant, Entry("key.make", made.id, told))
                    return made
        raise TransientError("no free id was found for the key", where="state database")

    def find(self, key_id: str) -> ApiKey | None:
        """The key with that id, also one that holds no longer."""
        with self._database.read() as connection:
            row = connection.execute(select(api_keys).where(api_keys.c.id == key_id)).mappings().first()
        return None if row is None else _key(row)

    def ids(self) -> frozenset[str]:
        """Of all keys, also of those that hold no longer."""
        with self._database.read() as connection:
            return frozenset(connection.scalars(select(api_keys.c.id)))

    def list(self, tenant: str | None = None) -> tuple[ApiKey, ...]:
        """The keys of one tenant, or of all, oldest first."""
        statement = select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)
        if tenant is not None:
            statement = statement.where(api_keys.c.tenant == tenant)
        with self._database.read() as connection:
            return tuple(_key(row) for row in connection.execute(statement).mappings())

    def revoke(self, key_id: str, *, tenant: str | None = None) -> bool:
        """Ends a key and every refresh token given out for it. False if there is no such key (of that tenant),
        or it was revoked before."""
        now = utc_now()
        mine = [api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None)]
        if tenant is not None:
            mine.append(api_keys.c.tenant == tenant)
        with self._database.write() as connection:
            ended = update(api_keys).where(*mine).values(revoked_at=now).returning(api_keys.c.tenant)
            whose = connection.scalar(ended)
            if whose is None:
                return False
            _end(connection, refresh_tokens.c.key_id == key_id, now)
            note(connection, whose, Entry("key.revoke", key_id))
            return True

    def used(self, at: Mapping[str, datetime]) -> None:
        """Notes when keys were used last, by id; never moves a time back."""
        if not at:
            return
        with self._database.write() as connection:
            for key_id, moment in sorted(at.items()):
                older = or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at < moment)
                connection.execute(
                    update(api_keys).where(api_keys.c.id == key_id, older).values(last_used_at=moment)
                )


class RefreshTokens:
    """Tokens that are used once. Each use gives the family's next; a second use ends the whole family.

    Every method may raise TransientError, AccessError and ConfigError.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, key_id: str, not_after: datetime) -> str:
        """The first token of a new family, which ends at `not_after` however often it is renewed."""
        with self._database.write() as connection:
            token = _issue(connection, secrets.token_hex(8), key_id, not_after)
            _note_session(connection, "session.begin", key_id)
            return token

    def rotate(self, token: str) -> tuple[str, str] | None:
        """Uses a token up: the id of its API key, and the family's next token.

        Returns:
            None if the token is not one of ours, has expired, or its family has ended. One that had been used
            before was stolen, from either side: its family ends now.
        """
        now, mine = utc_now(), refresh_tokens.c.hash == digest(token)
        usable = (
            mine,
            refresh_tokens.c.used_at.is_(None),
            refresh_tokens.c.revoked_at.is_(None),
            refresh_tokens.c.not_after > now,
        )
        with self._database.write() as connection:
            done = connection.execute(update(refresh_tokens).where(*usable).values(used_at=now))
            row = connection.execute(select(refresh_tokens).where(mine)).mappings().first()
            if row is None:
                return None
            if done.rowcount == 1:
                following = _issue(connection, row["family"], row["key_id"], row["not_after"])
                return str(row["key_id"]), following
            if row["used_at"] is not None:
                _end(connection, refresh_tokens.c.family == row["family"], now)
                _note_session(connection, "session.stolen", row["key_id"])
            return None

    def end(self, token: str) -> bool:
        """Ends the family of a token (a logout); False if it is not one of ours."""
        columns = (refresh_tokens.c.family, refresh_tokens.c.key_id)
        with self._database.write() as connection:
            found = connection.execute(select(*columns).where(refresh_tokens.c.hash == digest(token))).first()
            if found is None:
                return False
            _end(connection, refresh_tokens.c.family == found.family, utc_now())
            _note_session(connection, "session.end", found.key_id)
            return True


def _issue(connection: Connection, family: str, key_id: str, not_after: datetime) -> str:
    token = f"sis_refresh_{secrets.token_urlsafe(32)}"
    row = {
        "hash": digest(token),
        "family": family,
        "key_id": key_id,
        "issued_at": utc_now(),
        "not_after": not_after,
    }
    connection.execute(insert(refresh_tokens).values(row))
    return token


def _end(connection: Connection, which: Any, at: datetime) -> None:
    connection.execute(
        update(refresh_tokens).where(which, refresh_tokens.c.revoked_at.is_(None)).values(revoked_at=at)
    )


def _note_session(connection: Connection, action: str, key_id: str) -> None:
    whose = connection.execute(select(api_keys.c.tenant).where(api_keys.c.id == key_id)).scalar_one()
    actor = current_actor()
    if actor.kind == "key" and not actor.name:  # the credential itself said whose it is
        actor = replace(actor, name=key_id)
    with acting_as(actor):
        note(connection, whose, Entry(action, key_id))


def _key(row: RowMapping) -> ApiKey:
    return ApiKey(**{**row, "sources": tuple(row["sources"]), "networks": tuple(row["networks"])})
