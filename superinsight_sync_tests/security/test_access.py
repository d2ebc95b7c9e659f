"""Who is let in: every role, action and tenant; every way that credentials can be wrong."""

import logging
import pickle
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from superinsight_sync.core import clock
from superinsight_sync.core.errors import SisError, TransientError
from superinsight_sync.security import api_keys
from superinsight_sync.security.api_keys import Credential
from superinsight_sync.security.networks import Networks
from superinsight_sync.security.rate_limits import RateLimit
from superinsight_sync.security.refusals import ForbiddenError, TooManyRequestsError, UnauthenticatedError
from superinsight_sync.security.roles import ACTIONS, ROLES, Principal
from superinsight_sync_tests.security.doors import HERE, Book, Watch, bearer, door, signer

PATIENT = RateLimit(1e6, 1_000_000)
MAY = {
    ("admin", "push"),
    ("admin", "read"),
    ("admin", "read_records"),
    ("admin", "control"),
    ("admin", "manage_keys"),
    ("admin", "read_audit"),
    ("operator", "read"),
    ("operator", "read_records"),
    ("operator", "control"),
    ("viewer", "read"),
    ("pusher", "push"),
}


@pytest.mark.parametrize("tenant", [None, "acme", "other", ""])
@pytest.mark.parametrize("action", [*ACTIONS, "delete_everything", "", "PUSH"])
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("way", ["key", "token"])
def test_every_role_action_and_tenant(
    way: str, role: str, action: str, tenant: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    book, tokens = Book(), signer(monkeypatch)
    key = book.add(role)
    headers = bearer(key if way == "key" else tokens.make(key.id, "acme", role))
    access = door(book, tokens)
    if (role, action) in MAY and tenant in (None, "acme"):
        found = access.check(headers, HERE, tenant=tenant, action=action)
        assert found == Principal(key.id, "acme", role)
    else:
        with pytest.raises(ForbiddenError) as refused:
            access.check(headers, HERE, tenant=tenant, action=action)
        assert str(refused.value) == "not allowed" and refused.value.status == 403


def test_a_key_bound_to_sources_reaches_no_other() -> None:
    book = Book()
    access, headers = door(book), bearer(book.add("pusher", sources=("sales",)))
    assert access.check(headers, HERE, tenant="acme", action="push", source="sales").sources == ("sales",)
    for source in ("stock", "", None):
        with pytest.raises(ForbiddenError):
            access.check(headers, HERE, tenant="acme", action="push", source=source)


def wrong_ones(book: Book, tokens: Any) -> dict[str, dict[str, str]]:
    good, now = book.add(), clock.utc_now()
    ended, revoked = book.add(not_after=now), book.add(revoked_at=now - timedelta(days=1))
    bound = book.add(networks=("10.0.0.0/8",))
    token = tokens.make(good.id, "acme", "admin")
    return {
        "none": {},
        "empty": {"authorization": ""},
        "no scheme": {"authorization": good.text},
        "basic": {"authorization": f"Basic {good.text}"},
        "wrong secret": bearer(Credential(good.id, api_keys.make().secret)),
        "another's id": bearer(Credential(ended.id, good.secret)),
        "unknown id": bearer(api_keys.make()),
        "malformed": bearer("sis_live_zzzz_short"),
        "cut": bearer(good.text[:-1]),
        "longer": bearer(good.text + "A"),
        "other case": bearer(good.text.upper()),
        "newline": bearer(good.text.replace("_live_", "_live_\n")),
        "huge": bearer("eyJ" + "A" * 1_000_000),
        "expired": bearer(ended),
        "revoked": bearer(revoked),
        "from elsewhere": bearer(bound),
        "two": {**bearer(good), "x-api-key": good.text},
        "two by case": {"Authorization": f"Bearer {good.text}", "authorization": f"Bearer {good.text}"},
        "hash": bearer(f"sis_live_{good.id}_{good.hash[:43]}"),
        "token of the revoked": bearer(tokens.make(revoked.id, "acme", "admin")),
        "token of another role": bearer(tokens.make(good.id, "acme", "viewer")),
        "token of another tenant": bearer(tokens.make(good.id, "other", "admin")),
        "token expired": bearer(
            tokens.make(good.id, "acme", "admin", now=now - timedelta(minutes=15, seconds=31))
        ),
        "token from the future": bearer(
            tokens.make(good.id, "acme", "admin", now=now + timedelta(minutes=10))
        ),
        "token cut": bearer(token[:-1]),
        "null": bearer(good.text + "\0"),
        "not ascii": bearer(good.text[:-1] + "é"),
    }


def test_wrong_credentials_are_all_told_alike_and_none_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    book, tokens = Book(), signer(monkeypatch)
    access = door(book, tokens, failures=PATIENT)
    cases = wrong_ones(book, tokens)
    told = set()
    for name, headers in cases.items():
        with pytest.raises(UnauthenticatedError) as refused:
            access.check(headers, HERE, tenant="acme", action="read")
            pytest.fail(name)
        told.add(str(refused.value))
        assert refused.value.status == 401 and refused.value.where == ""
        for value in headers.values():
            secret = value.split(" ")[-1]
            assert len(secret) < 12 or secret not in caplog.text + repr(refused.value)
    assert told == {"credentials are missing or do not hold"}
    assert caplog.text.count("refused:") == len(cases)


def test_good_credentials_come_in_both_headers_and_any_case() -> None:
    book = Book()
    key = book.add("viewer")
    for headers in (bearer(key), {"x-api-KEY": key.text}, {"AUTHORIZATION": f"bearer  {key.text} "}):
        assert door(book).check(headers, HERE, tenant=None, action="read").key_id == key.id


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_random_or_mutated_credential_is_ever_accepted(
    data: st.DataObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = Book()
    tokens = signer(monkeypatch, data.draw(st.sampled_from(["HS256", "EdDSA"])))
    key = book.add()
    good = data.draw(st.sampled_from([key.text, tokens.make(key.id, "acme", "admin")]))
    at = data.draw(st.integers(0, len(good) - 1))
    mutations = [
        st.text(max_size=200),
        st.characters().map(lambda c: good[:at] + c + good[at + 1 :]),
        st.sampled_from("abcXYZ019-_=.").map(lambda c: good[:-1] + c),
        st.just(good[:at] + good[at + 1 :]),
        st.text(min_size=1, max_size=3).map(lambda t: good[:at] + t + good[at:]),
        st.just(good + good),
    ]
    mutated = data.draw(st.one_of(mutations))
    headers = {"x-api-key": mutated}
    access = door(book, tokens, failures=PATIENT)
    if mutated.strip() == good:
        access.check(headers, HERE, tenant="acme", action="read")
        return
    with pytest.raises(UnauthenticatedError):
        access.check(headers, HERE, tenant="acme", action="read")


def test_a_revoked_key_is_noticed_in_its_time_or_at_once() -> None:
    book, watch = Book(), Watch()
    first, second = book.add(), book.add()
    access = door(book, watch=watch)
    for key in (first, second):
        access.check(bearer(key), HERE, tenant=None, action="read")
        access.check(bearer(key), HERE, tenant=None, action="read")
        book.change(key.id, revoked_at=clock.utc_now())
    assert book.looked_up == 2, "remembered"
    access.forget(first.id)
    with pytest.raises(UnauthenticatedError):
        access.check(bearer(first), HERE, tenant=None, action="read")
    access.check(bearer(second), HERE, tenant=None, action="read")
    watch.now_s += 5.0
    with pytest.raises(UnauthenticatedError):
        access.check(bearer(second), HERE, tenant=None, action="read")


def test_a_remembered_key_ends_to_the_moment_and_a_clock_put_back_only_by_the_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    book, now = Book(), clock.utc_now()
    access, headers = door(book), bearer(book.add(not_after=now + timedelta(hours=1)))

    def ask() -> Principal:
        return access.check(headers, HERE, tenant=None, action="read")

    ask()
    for jump, holds in (
        (timedelta(minutes=59), True),
        (timedelta(hours=1), False),
        (timedelta(days=-1), True),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(clock, "utc_now", lambda jump=jump: now + jump)
            if holds:
                ask()
            else:
                with pytest.raises(UnauthenticatedError):
                    ask()


def test_limits_by_key_and_tenant_say_when_to_come_again() -> None:
    book, watch = Book(), Watch()
    key, sibling, stranger = book.add(), book.add(), book.add(tenant="other")
    limits = {
        "per_key": RateLimit(2, 2, clock_s=watch),
        "per_tenant": RateLimit(3, 3, clock_s=watch),
    }
    access = door(book, watch=watch, **limits)

    def ask(who: Credential) -> Principal:
        return access.check(bearer(who), HERE, tenant=None, action="read")

    ask(key), ask(key)
    with pytest.raises(TooManyRequestsError) as refused:
        ask(key)
    assert refused.value.status == 429 and refused.value.retry_after_s == pytest.approx(0.5)
    ask(sibling)
    with pytest.raises(TooManyRequestsError):
        ask(sibling)
    ask(stranger)
    watch.now_s += 0.5
    ask(key)
    again = pickle.loads(pickle.dumps(refused.value))
    assert (type(again), again.retry_after_s) == (TooManyRequestsError, refused.value.retry_after_s)
    assert str(again.at("gateway")) == "gateway: too many requests"


def test_who_guesses_is_slowed_down_before_the_keys_are_asked_and_others_are_not() -> None:
    book, watch = Book(), Watch()
    good = book.add()
    access = door(book, watch=watch, failures=RateLimit(1, 3, clock_s=watch))
    access.check(bearer(good), HERE, tenant=None, action="read")
    for _ in range(3):
        with pytest.raises(UnauthenticatedError):
            access.check(bearer(api_keys.make()), HERE, tenant=None, action="read")
    asked = book.looked_up
    with pytest.raises(TooManyRequestsError):
        access.check(bearer(api_keys.make()), HERE, tenant=None, action="read")
    assert book.looked_up == asked
    access.check(bearer(good), HERE, tenant=None, action="read")
    access.check(bearer(book.add()), "192.0.2.1", tenant=None, action="read")


def test_the_doors_own_networks_come_before_credentials() -> None:
    book = Book()
    access = door(book, networks=Networks(["10.0.0.0/8"]), proxies=Networks(["10.0.0.1"]))
    key = bearer(book.add())
    access.check(key, "10.1.2.3", tenant=None, action="read")
    access.check({**key, "X-Forwarded-For": "10.9.9.9"}, "10.0.0.1", tenant=None, action="read")
    for ip, forwarded in (
        ("192.0.2.1", ""),
        ("192.0.2.1", "10.1.2.3"),
        ("10.0.0.1", "10.1.2.3, 192.0.2.1"),
        ("10.0.0.1", "nonsense"),
        ("", ""),
        ("unix:", ""),
    ):
        with pytest.raises(ForbiddenError):
            access.check({**key, "X-Forwarded-For": forwarded}, ip, tenant=None, action="read")
    assert book.looked_up == 1


def test_last_use_is_written_when_asked_for_and_not_lost() -> None:
    book = Book()
    key, access = book.add(), door(book)
    access.check(bearer(key), HERE, tenant=None, action="read")
    assert book.last == {}
    with pytest.MonkeyPatch.context() as patch:

        def fail(at: Any) -> None:
            raise TransientError("locked")

        patch.setattr(book, "used", fail)
        with pytest.raises(SisError):
            access.write_used()
    access.write_used()
    assert set(book.last) == {key.id}


def test_nobody_is_let_in_while_keys_cannot_be_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    book = Book()
    key = book.add()

    def fail(key_id: str) -> None:
        raise TransientError("no database")

    monkeypatch.setattr(book, "find", fail)
    with pytest.raises(TransientError):
        door(book).check(bearer(key), HERE, tenant=None, action="read")


class Knowing(Book):
    """A book that tells which keys there are."""

    def ids(self) -> frozenset[str]:
        return frozenset(self.keys)


def test_wrong_keys_of_an_address_do_not_lock_a_right_one_out() -> None:
    book, watch = Knowing(), Watch()
    good, late = book.add(), book.add()
    access = door(book, watch=watch, failures=RateLimit(1, 3, clock_s=watch))
    for _ in range(3):
        with pytest.raises(UnauthenticatedError):
            access.check(bearer(api_keys.make()), HERE, tenant=None, action="read")
    asked = book.looked_up
    guesses = [api_keys.make(), Credential(good.id, api_keys.make().secret), Credential(late.id, good.secret)]
    for guess in guesses:
        with pytest.raises(TooManyRequestsError):
            access.check(bearer(guess), HERE, tenant=None, action="read")
    assert book.looked_up <= asked + 2, "what is no key is not looked up"
    for key in (good, late):
        assert access.check(bearer(key), HERE, tenant=None, action="read").key_id == key.id
    fresh = book.add()
    watch.now_s += 5
    assert access.check(bearer(fresh), HERE, tenant=None, action="read").key_id == fresh.id
