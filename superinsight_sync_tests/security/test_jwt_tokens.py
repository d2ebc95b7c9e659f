"""Access tokens: what an attacker forges, what an operator sets wrong, keys that are replaced."""

import base64
import json
from datetime import timedelta
from typing import Any

import jwt
import pytest

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.security.jwt_tokens import SigningKey, TokenSigner
from superinsight_sync.security.secrets import redact
from superinsight_sync_tests.security.doors import signer

SECRET = "s" * 40
CLAIMS = {
    "sub": "1a2b3c4d",
    "tenant": "acme",
    "role": "admin",
    "iss": "superinsight-sync",
    "aud": "superinsight-sync",
}


def forged(**over: Any) -> str:
    claims = {**CLAIMS, "iat": utc_now(), "exp": utc_now() + timedelta(minutes=5), **over}
    return jwt.encode({k: v for k, v in claims.items() if v is not None}, SECRET, headers={"kid": "k"})


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> TokenSigner:
    monkeypatch.setenv("SIS_TEST_K", SECRET)
    return TokenSigner([SigningKey("k", "{{ env.SIS_TEST_K }}")])


@pytest.mark.parametrize("algorithm", ["HS256", "EdDSA"])
def test_a_token_says_who_holds_it(algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = signer(monkeypatch, algorithm)
    claims = made.read(made.make("1a2b3c4d", "acme", "viewer"))
    assert claims is not None
    assert (claims.key_id, claims.tenant, claims.role) == ("1a2b3c4d", "acme", "viewer")
    assert timedelta(minutes=14) < claims.expires_at - utc_now() <= timedelta(minutes=15)


@pytest.mark.parametrize(
    "over",
    [
        *({name: None} for name in ("exp", "iat", "aud", "iss", "sub", "tenant", "role")),
        {"aud": "someone-else"},
        {"iss": "someone-else"},
        {"exp": "soon"},
        {"exp": 10**400},
        {"exp": 10**15},
        {"nbf": utc_now() + timedelta(hours=1)},
        {"iat": utc_now() + timedelta(hours=1)},
        {"tenant": ["acme"]},
        {"role": {"admin": True}},
        {"sub": 7},
    ],
    ids=lambda over: "-".join(over),
)
def test_a_token_that_lacks_or_bends_a_claim_is_not_read(reader: TokenSigner, over: dict[str, Any]) -> None:
    assert reader.read(forged()) is not None
    assert reader.read(forged(**over)) is None


def spelled(header: dict[str, Any], signature: str = "") -> str:
    parts = [json.dumps(header), json.dumps({**CLAIMS, "exp": 9_999_999_999, "iat": 1})]
    return ".".join([*(base64.urlsafe_b64encode(p.encode()).decode().rstrip("=") for p in parts), signature])


def test_a_token_cannot_choose_its_algorithm_or_key(
    reader: TokenSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    assert all(
        reader.read(spelled({"alg": a, "kid": "k"}, s)) is None
        for a in ("none", "None", "")
        for s in ("", "AA")
    )
    for header in ("[" * 2_000, '{"kid":' * 400, "null", "[]", '"k"', "{", "\x00"):
        part = base64.urlsafe_b64encode(header.encode()).decode().rstrip("=")
        assert reader.read(f"{part}.{part[:1000]}.AAAA") is None
    for kid in ("other", "", None, 7, ["k"], {"k": 1}, "../../dev/null"):
        assert reader.read(spelled({"alg": "HS256", "kid": kid}, "A" * 43)) is None
    assert reader.read(jwt.encode({**CLAIMS, "iat": 1, "exp": 9_999_999_999}, SECRET)) is None, "no kid"
    longer = jwt.encode({**CLAIMS, "iat": 1, "exp": 9_999_999_999}, SECRET, "HS512", {"kid": "k"})
    assert reader.read(longer) is None
    ed = signer(monkeypatch, "EdDSA")
    raw = ed._keys["k1"][2].public_bytes(Encoding.Raw, PublicFormat.Raw)
    confused = jwt.encode({**CLAIMS, "iat": 1, "exp": 9_999_999_999}, raw, "HS256", {"kid": "k1"})
    assert ed.read(confused) is None, "the public key is no shared secret"


def test_a_key_is_replaced_without_a_break(monkeypatch: pytest.MonkeyPatch) -> None:
    old = signer(monkeypatch, names=("a",))
    keys = [SigningKey("b", "{{ env.SIS_TEST_b }}"), SigningKey("a", "{{ env.SIS_TEST_a }}")]
    monkeypatch.setenv("SIS_TEST_b", "b" * 40)
    both = TokenSigner(keys)
    assert both.read(old.make("1a2b3c4d", "acme", "viewer")) is not None
    fresh = both.make("1a2b3c4d", "acme", "viewer")
    assert jwt.get_unverified_header(fresh) == {"alg": "HS256", "kid": "b", "typ": "JWT"}
    assert old.read(fresh) is None and TokenSigner(keys[:1]).read(fresh) is not None


def test_what_an_operator_sets_wrong_is_said_without_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    curve = generate_private_key(SECP256R1())
    pem = curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    monkeypatch.setenv("SIS_TEST_SHORT", "hunter2")
    monkeypatch.setenv("SIS_TEST_PEM", pem)
    cases: list[tuple[list[SigningKey], str]] = [
        ([], "at least one key"),
        ([SigningKey("k", "{{ env.SIS_TEST_SHORT }}")], "too short"),
        ([SigningKey("k", "{{ env.SIS_TEST_NOWHERE }}")], "SIS_TEST_NOWHERE is not set"),
        ([SigningKey("k", "hunter2" * 9)], "written out"),
        ([SigningKey("k", "{{ env.SIS_TEST_SHORT }}", "EdDSA")], "no private key in PEM"),
        ([SigningKey("k", "{{ env.SIS_TEST_PEM }}", "EdDSA")], "no Ed25519 key"),
        ([SigningKey("k", "{{ env.SIS_TEST_PEM }}")] * 2, "its own name"),
    ]
    for keys, words in cases:
        with pytest.raises(ConfigError, match=words) as refused:
            TokenSigner(keys)
        assert "hunter2" not in str(refused.value) + repr(keys)


def test_keys_and_tokens_are_taken_out_of_texts(reader: TokenSigner) -> None:
    key, token = f"sis_live_1a2b3c4d_{'k' * 43}", forged()
    text = redact(f"got {key}, sis_refresh_{'r' * 43} and {token} from li")
    assert text == "got sis_live_1a2b3c4d_***, sis_refresh_*** and *** from li"
