"""`sis keys`: a key is shown once, lists show none, a revoked one holds no longer."""

from pathlib import Path

import pytest

from superinsight_sync.security import api_keys
from superinsight_sync.state import open_state
from superinsight_sync_tests.cli.commands import sis


@pytest.fixture(autouse=True)
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = f"sqlite:///{tmp_path}/state.db"
    monkeypatch.setenv("SIS_DATABASE_URL", url)
    return url


def test_a_key_is_made_listed_and_revoked(url: str) -> None:
    made = sis(
        *("keys", "create", "--name", "till-7", "--role", "pusher", "--tenant", "acme", "--source", "sales"),
        *("--allow-ip", "203.0.113.0/24", "--allow-ip", "::1", "--expires", "90d", "--json"),
    )
    assert made.code == 0 and made.err == ""
    credential = api_keys.parse(made.document["key"])
    assert credential is not None and credential.id == made.document["id"]
    kept = open_state(url).api_keys.find(credential.id)
    assert kept is not None and api_keys.proves(credential, kept)
    assert (kept.tenant, kept.role, kept.sources) == ("acme", "pusher", ("sales",))
    assert kept.networks == ("203.0.113.0/24", "::1")
    listed = sis("keys", "list", "--tenant", "acme", "--json")
    assert [k["id"] for k in listed.document["keys"]] == [credential.id]
    assert listed.document["keys"][0]["holds"] is True
    shown = sis("keys", "list").out
    assert "till-7" in shown and "holds" in shown
    for text in (listed.out, shown):
        assert credential.secret not in text and kept.hash not in text
    assert sis("keys", "list", "--tenant", "other", "--json").document == {"keys": []}
    assert sis("keys", "revoke", credential.id, "--tenant", "other").code == 2
    assert sis("keys", "revoke", credential.id).code == 0
    assert "revoked" in sis("keys", "list").out
    again = sis("keys", "revoke", credential.id, "--json")
    assert again.code == 2 and "no such key" in again.document["error"]["message"]


def test_without_json_the_key_alone_is_on_standard_output() -> None:
    made = sis("keys", "create", "--name", "n", "--role", "viewer")
    assert made.code == 0 and api_keys.parse(made.out.removesuffix("\n")) is not None
    assert "only time" in made.err and made.out.strip() not in made.err


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--expires", "soon", "neither a duration nor a date"),
        ("--expires", "2020-01-01", "end before it begins"),
        ("--expires", "99999999999d", "too far away"),
        ("--allow-ip", "10.0.0.1/8", "is no network"),
        ("--role", "root", "root"),
        ("--tenant", "", "needs a tenant"),
        ("--source", "", "sources have names"),
    ],
)
def test_wrong_options_end_with_2_and_make_no_key(option: str, value: str, words: str, url: str) -> None:
    done = sis("keys", "create", "--name", "n", "--role", "viewer", option, value, "--json")
    assert done.code == 2 and words in done.document["error"]["message"]
    assert open_state(url).api_keys.list() == ()


def test_an_end_is_a_date_in_utc_or_with_its_offset(url: str) -> None:
    for text, told in (("2099-01-31", "2099-01-31T00:00"), ("2099-01-31T02:00+02:00", "2099-01-31T00:00")):
        done = sis("keys", "create", "--name", "n", "--role", "viewer", "--expires", text, "--json")
        assert done.document["not_after"].startswith(told)
