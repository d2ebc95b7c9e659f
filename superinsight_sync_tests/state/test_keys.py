"""API keys and refresh tokens, on both databases."""

import threading
from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import text

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.security import api_keys
from superinsight_sync.security.access import Access
from superinsight_sync.security.api_keys import Credential
from superinsight_sync.security.grants import Grants
from superinsight_sync.security.rate_limits import RateLimit
from superinsight_sync.security.refusals import ForbiddenError, TooManyRequestsError, UnauthenticatedError
from superinsight_sync.security.roles import Principal
from superinsight_sync.state import State
from superinsight_sync.state import keys as keys_module
from superinsight_sync_tests.security.doors import HERE, bearer, door, signer

LATER = timedelta(hours=1)


def test_a_key_comes_back_as_it_was_made_and_its_secret_is_nowhere(state: State) -> None:
    end = utc_now() + LATER
    made = state.api_keys.create(
        "till 7 🛒", "pusher", tenant="acme", sources=["sales"], networks=["10.0.0.0/8", "::1"], not_after=end
    )
    key = state.api_keys.find(made.id)
    assert key is not None and api_keys.proves(made, key) and key.holds(utc_now())
    assert (key.tenant, key.role, key.name, key.not_after) == ("acme", "pusher", "till 7 🛒", end)
    assert (key.sources, key.networks) == (("sales",), ("10.0.0.0/8", "::1"))
    assert (key.revoked_at, key.last_used_at) == (None, None)
    assert not key.holds(end) and key.holds(end - timedelta(microseconds=1))
    assert key.hash not in repr(key) and made.secret not in repr(made)
    with state.database.read() as connection:
        rows = repr(connection.execute(text("SELECT * FROM sis_api_keys")).all())
    assert made.secret not in rows and key.hash in rows
    assert state.api_keys.find("ffffffff") is None


def test_keys_are_listed_by_tenant_and_revoked_once_by_their_own(state: State) -> None:
    mine, other = state.api_keys.create("a", "admin", tenant="acme"), state.api_keys.create("b", "viewer")
    assert [k.id for k in state.api_keys.list()] == [mine.id, other.id]
    assert [k.id for k in state.api_keys.list("acme")] == [mine.id]
    assert not state.api_keys.revoke(mine.id, tenant="default")
    assert state.api_keys.revoke(mine.id, tenant="acme")
    assert not state.api_keys.revoke(mine.id)
    found = state.api_keys.find(mine.id)
    assert found is not None and not found.holds(utc_now()) and not found.holds(utc_now() - 9 * LATER)


def test_what_cannot_be_a_key_is_refused(state: State) -> None:
    create = state.api_keys.create
    with pytest.raises(ConfigError, match="'root' is no role"):
        create("n", "root")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="'10.0.0.1/8' is no network"):
        create("n", "viewer", networks=["10.0.0.1/8"])
    with pytest.raises(ConfigError, match="end before it begins"):
        create("n", "viewer", not_after=utc_now() - LATER)
    with pytest.raises(ConfigError, match="needs a tenant"):
        create("n", "viewer", tenant="")
    assert state.api_keys.list() == ()


def test_an_id_that_is_taken_is_not_given_again(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    first = state.api_keys.create("a", "viewer")
    offered = iter([Credential(first.id, "x" * 43), Credential("0a0a0a0a", "x" * 43)])
    monkeypatch.setattr(keys_module.keys, "make", lambda: next(offered))
    assert state.api_keys.create("b", "viewer").id == "0a0a0a0a"
    kept = state.api_keys.find(first.id)
    assert kept is not None and api_keys.proves(first, kept)


def test_last_use_never_goes_back(state: State) -> None:
    made, now = state.api_keys.create("a", "viewer"), utc_now()
    for at in (now, now - LATER):
        state.api_keys.used({made.id: at, "ffffffff": at})
    found = state.api_keys.find(made.id)
    assert found is not None and found.last_used_at == now


def test_a_refresh_token_works_once_and_its_second_use_ends_the_family(state: State) -> None:
    made, tokens = state.api_keys.create("a", "viewer"), state.refresh_tokens
    first = tokens.begin(made.id, utc_now() + LATER)
    bystander = tokens.begin(made.id, utc_now() + LATER)
    rotated = tokens.rotate(first)
    assert rotated is not None and rotated[0] == made.id
    assert tokens.rotate("sis_refresh_" + "A" * 43) is None, "a guess ends nobody's session"
    second = tokens.rotate(rotated[1])
    assert second is not None
    assert tokens.rotate(first) is None, "the thief's, or the owner's"
    assert tokens.rotate(second[1]) is None, "the family has ended"
    assert tokens.rotate(bystander) is not None


def test_a_refresh_token_ends_with_its_time_its_logout_and_its_key(state: State) -> None:
    made, tokens = state.api_keys.create("a", "viewer"), state.refresh_tokens
    late = tokens.begin(made.id, utc_now() - timedelta(microseconds=1))
    assert tokens.rotate(late) is None
    left = tokens.begin(made.id, utc_now() + LATER)
    tokens.end(left)
    tokens.end("nonsense")
    assert tokens.rotate(left) is None
    orphan = tokens.begin(made.id, utc_now() + LATER)
    state.api_keys.revoke(made.id)
    assert tokens.rotate(orphan) is None
    assert state.purge(utc_now(), ("refresh_tokens",)) == {"refresh_tokens": 1}


def test_of_many_at_once_one_renews_and_the_family_ends(state: State) -> None:
    made, tokens = state.api_keys.create("a", "viewer"), state.refresh_tokens
    first = tokens.begin(made.id, utc_now() + LATER)
    results: list[tuple[str, str] | None] = []
    threads = [
        threading.Thread(target=lambda: results.append(state.refresh_tokens.rotate(first))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(r is None for r in results) == {True: 5, False: 1}
    winner = next(r for r in results if r)
    assert tokens.rotate(winner[1]) is None


def granting(state: State, monkeypatch: pytest.MonkeyPatch) -> tuple[Access, Grants]:
    made = signer(monkeypatch)
    access = door(state.api_keys, made, failures=RateLimit(0.001, 8), remembered_s=0.0)  # type: ignore[arg-type]
    return access, Grants(access, made, state.refresh_tokens)


def test_client_credentials_give_a_token_that_ends_with_its_key(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    access, grants = granting(state, monkeypatch)
    key = state.api_keys.create("a", "viewer", tenant="acme")
    granted = grants.session(key.id, key.secret, {}, HERE)
    assert set(granted.document) == {"access_token", "token_type", "expires_in", "refresh_token"}
    assert granted.document["expires_in"] == 900 and granted.access_token not in repr(granted)

    def ask() -> Principal:
        return access.check(bearer(granted.access_token), HERE, tenant="acme", action="read")

    assert ask().key_id == key.id
    with pytest.raises(ForbiddenError):
        access.check(bearer(granted.access_token), HERE, tenant="acme", action="push")
    state.api_keys.revoke(key.id)
    with pytest.raises(UnauthenticatedError):
        ask()
    told = set()
    for client_id, secret in ((key.id, key.secret), ("ffffffff", key.secret), (key.id, ""), ("", "x" * 43)):
        with pytest.raises(UnauthenticatedError) as refused:
            grants.session(client_id, secret, {}, HERE)
        told.add(str(refused.value))
    assert len(told) == 1


def test_a_session_is_renewed_and_ends_on_reuse_and_guesses_are_slowed(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    access, grants = granting(state, monkeypatch)
    key = state.api_keys.create("a", "operator", tenant="acme")
    begun = grants.session(key.id, key.secret, {}, HERE)
    assert begun.refresh_token not in repr(begun)
    renewed = grants.refresh(begun.refresh_token, {}, HERE)
    access.check(bearer(renewed.access_token), HERE, tenant="acme", action="control")
    for token in (begun.refresh_token, renewed.refresh_token, renewed.access_token, "", "\0"):
        with pytest.raises(UnauthenticatedError):
            grants.refresh(token, {}, HERE)
    with pytest.raises(UnauthenticatedError):
        access.check(bearer(begun.refresh_token), HERE, tenant="acme", action="read")
    left = grants.session(key.id, key.secret, {}, "192.0.2.9").refresh_token
    grants.end(left, {}, "192.0.2.9")
    grants.end("guess", {}, "192.0.2.9")
    with pytest.raises(UnauthenticatedError):
        grants.refresh(left, {}, "192.0.2.9")
    with pytest.raises((UnauthenticatedError, TooManyRequestsError)) as last:
        for _ in range(20):
            try:
                grants.refresh("guess", {}, HERE)
            except UnauthenticatedError:
                continue
    assert isinstance(last.value, TooManyRequestsError)
