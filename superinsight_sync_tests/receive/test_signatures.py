"""Signatures: against the reference implementation both ways, providers' own examples, and hostile input."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from standardwebhooks.webhooks import Webhook

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.model.push import SignatureSpec
from superinsight_sync.receive.refusals import SignatureError
from superinsight_sync.receive.signatures import Verifier

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
KEYS = st.binary(min_size=24, max_size=64).map(lambda b: "whsec_" + base64.b64encode(b).decode())
IDS = st.text("abcXYZ0123456789_-", min_size=1, max_size=128)


def verifier(scheme: str, *secrets: str, **extra: object) -> Verifier:
    names = {f"S{n}": s for n, s in enumerate(secrets)}
    spec = {"scheme": scheme, "secrets": [f"{{{{ env.{n} }}}}" for n in names], **extra}
    return Verifier(SignatureSpec.model_validate(spec), names)


@given(KEYS, IDS, st.text(max_size=200), st.sampled_from(["standard", "svix"]))
def test_what_the_reference_signs_we_accept(secret: str, delivery_id: str, text: str, scheme: str) -> None:
    at = datetime.now(UTC)
    signature = Webhook(secret).sign(delivery_id, at, text)
    prefix = "webhook" if scheme == "standard" else "svix"
    headers = {
        f"{prefix}-id": delivery_id,
        f"{prefix}-timestamp": str(int(at.timestamp())),
        f"{prefix}-signature": f"v1a,AAAA {signature}",
    }
    found = verifier(scheme, secret).verify(headers, text.encode(), at)
    assert (found.id, found.secret) == (delivery_id, 0)
    with pytest.raises(SignatureError):
        verifier(scheme, secret).verify(headers, text.encode() + b"x", at)


@given(KEYS, IDS, st.dictionaries(st.text(max_size=5), st.integers(), max_size=3))
def test_what_we_would_sign_the_reference_accepts(secret: str, delivery_id: str, value: object) -> None:
    import json

    body = json.dumps(value)
    stamp = str(int(datetime.now(UTC).timestamp()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{delivery_id}.{stamp}.{body}".encode(), "sha256")
    headers = {
        "webhook-id": delivery_id,
        "webhook-timestamp": stamp,
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }
    verifier("standard", secret).verify(headers, body.encode(), datetime.now(UTC))
    assert Webhook(secret).verify(body, headers) == value


def test_the_example_of_standard_webhooks_and_svix() -> None:
    """The test vector that both publish in their libraries."""
    body = b'{"test": 2432232314}'
    headers = {
        "id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "timestamp": "1614265330",
        "signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    at = datetime.fromtimestamp(1614265330, UTC)
    for scheme, prefix in (("standard", "webhook"), ("svix", "svix")):
        named = {f"{prefix}-{k}": v for k, v in headers.items()}
        found = verifier(scheme, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").verify(named, body, at)
        assert found.id == "msg_p5jXN8AQM9LWM0D4loKWxJek"


def test_the_example_of_github() -> None:
    """From GitHub's guide on validating webhook deliveries."""
    headers = {
        "x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
    }
    found = verifier("github", "It's a Secret to Everybody").verify(headers, b"Hello, World!", NOW)
    assert found.id == "72d3162e-cc78-11e3-81ab-4c9367dc0958"


def test_stripes_form_with_an_old_secrets_signature_beside() -> None:
    """``t=…,v1=…,v1=…,v0=…`` over ``t.body``, as Stripe documents it; the digest is a fixed one."""
    headers = {
        "stripe-signature": "t=1700000000,v1=" + "0" * 64 + ",v1="
        "c43bc8e1eb00f7d9d4b0c0a1ee17a3e4e69ee2f5c1c9a6bbd32d9c8fbe34b9d2,v0=6ffbb59b2300aae63f2724"
    }
    digest = hmac.new(b"whsec_test", b'1700000000.{"id":"evt"}', hashlib.sha256).hexdigest()
    at = datetime.fromtimestamp(1700000000, UTC)
    check = verifier("stripe", "whsec_test")
    with pytest.raises(SignatureError):
        check.verify(headers, b'{"id":"evt"}', at)
    headers["stripe-signature"] += f",v1={digest}"
    assert check.verify(headers, b'{"id":"evt"}', at).secret == 0
    for change in ("t=1700000001", "t=1700000000,t=1700000000", "x=1"):
        with pytest.raises(SignatureError):
            changed = headers["stripe-signature"].replace("t=1700000000", change)
            check.verify({"stripe-signature": changed}, b'{"id":"evt"}', at)


def test_a_plain_scheme_is_configured() -> None:
    check = verifier(
        "hmac",
        "key",
        signature_header="X-Sig",
        timestamp_header="X-Time",
        id_header="X-Id",
        template="{timestamp}:{id}:{body}",
        encoding="base64",
        prefix="hmac ",
    )
    digest = hmac.digest(b"key", b"1772600767:a-1:\xff\x00", "sha256")
    headers = {
        "x-sig": "hmac " + base64.b64encode(digest).decode(),
        "x-time": "1772600767",
        "x-id": "a-1",
    }
    assert check.verify(headers, b"\xff\x00", datetime.fromtimestamp(1772600767, UTC)).id == "a-1"
    with pytest.raises(SignatureError):
        check.verify({**headers, "x-id": "a-2"}, b"\xff\x00", datetime.fromtimestamp(1772600767, UTC))


def test_times_beyond_five_minutes_are_refused_either_way() -> None:
    check = verifier("hmac", "k", signature_header="s", timestamp_header="t", template="{timestamp}{body}")
    stamp = str(int(NOW.timestamp()))
    headers = {"t": stamp, "s": hmac.new(b"k", stamp.encode() + b"b", hashlib.sha256).hexdigest()}
    for seconds, holds in ((0, True), (300, True), (-300, True), (301, False), (-301, False)):
        at = NOW + timedelta(seconds=seconds)
        if holds:
            check.verify(headers, b"b", at)
        else:
            with pytest.raises(SignatureError):
                check.verify(headers, b"b", at)


def test_secrets_are_replaced_without_a_gap() -> None:
    spec = SignatureSpec.model_validate(
        {
            "scheme": "github",
            "secrets": [{"value": "{{ env.OLD }}", "not_after": NOW}, "{{ env.NEW }}"],
        }
    )
    check = Verifier(spec, {"OLD": "old", "NEW": "new"})

    def headers(key: bytes) -> dict[str, str]:
        return {
            "x-hub-signature-256": "sha256=" + hmac.new(key, b"b", hashlib.sha256).hexdigest(),
            "x-github-delivery": "1",
        }

    assert check.verify(headers(b"old"), b"b", NOW - timedelta(seconds=1)).secret == 0
    assert check.verify(headers(b"new"), b"b", NOW).secret == 1
    with pytest.raises(SignatureError):
        check.verify(headers(b"old"), b"b", NOW)


def test_nine_signatures_are_refused_even_if_one_holds() -> None:
    at = datetime.now(UTC)
    secret = "whsec_" + base64.b64encode(b"k" * 32).decode()
    good = Webhook(secret).sign("a", at, "b")
    wrong = "v1," + base64.b64encode(b"\0" * 32).decode()
    for others, holds in ((7, True), (8, False)):
        headers = {
            "webhook-id": "a",
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": " ".join([wrong] * others + [good]),
        }
        if holds:
            verifier("standard", secret).verify(headers, b"b", at)
        else:
            with pytest.raises(SignatureError):
                verifier("standard", secret).verify(headers, b"b", at)


HEADERS = st.dictionaries(
    st.sampled_from(
        [
            *("webhook-id", "webhook-timestamp", "webhook-signature", "svix-id", "svix-signature"),
            *("x-hub-signature-256", "x-github-delivery", "stripe-signature"),
        ]
    ),
    st.one_of(
        st.text(max_size=300),
        st.text("v1,= abcdef0123456789+/", max_size=200),
        st.just("1" * 5_000),
        st.from_regex(r"t=[0-9]{0,20},v1=[0-9a-f]{60,66}", fullmatch=True),
        st.just("999999999999"),
        st.just("٣٣٣"),
    ),
)


@given(HEADERS, st.binary(max_size=50), st.sampled_from(["standard", "svix", "github", "stripe"]))
def test_hostile_headers_raise_nothing_but_the_refusal(
    headers: dict[str, str], body: bytes, scheme: str
) -> None:
    with pytest.raises(SignatureError, match="^the signature is missing or does not hold$"):
        verifier(scheme, base64.b64encode(b"k" * 24).decode()).verify(headers, body, NOW)


def test_wrong_declarations_are_refused() -> None:
    for spec, words in (
        ({"scheme": "github", "secrets": "plain text"}, "written as a reference"),
        ({"scheme": "github", "secrets": []}, "at least 1"),
        ({"scheme": "hmac", "secrets": "{{ env.A }}"}, "needs `signature_header`"),
        (
            {"scheme": "hmac", "secrets": "{{ env.A }}", "signature_header": "s", "template": "{body}{x}"},
            "template",
        ),
        (
            {"scheme": "hmac", "secrets": "{{ env.A }}", "signature_header": "s", "timestamp_header": "t"},
            "not signed proves nothing",
        ),
        ({"scheme": "stripe", "secrets": "{{ env.A }}", "prefix": "x"}, "belongs to scheme: hmac"),
    ):
        with pytest.raises(ValidationError, match=words):
            SignatureSpec.model_validate(spec)
    with pytest.raises(ConfigError, match="environment variable A is not set"):
        Verifier(SignatureSpec.model_validate({"scheme": "github", "secrets": "{{ env.A }}"}), {})
    with pytest.raises(ConfigError, match="signature secret 1: is no base64"):
        verifier("standard", "§§§")
    with pytest.raises(ConfigError, match="signature secret 1: is empty"):
        verifier("github", " ")
    assert "key" not in repr(verifier("github", "hunter2")._secrets)
