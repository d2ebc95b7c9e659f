"""The vault of mask tokens."""

from dataclasses import replace
from pathlib import Path

import pytest

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.security.mask_keys import Masking
from superinsight_sync.state import State, open_state

OLD = Masking("acme", ((1, "{{ env.OLD_KEY }}"),))
NEW = replace(OLD, keys=((1, "{{ env.OLD_KEY }}"), (2, "{{ env.NEW_KEY }}")))


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    monkeypatch.setenv("OLD_KEY", "o" * 32)
    monkeypatch.setenv("NEW_KEY", "n" * 32)
    return open_state(f"sqlite:///{tmp_path / 'state.db'}")


def test_a_text_has_one_token_and_a_token_one_text(state: State, tmp_path: Path) -> None:
    texts = [f"person {n} é" for n in range(1_000)]
    tokens = state.mask_tokens.tokens(OLD, texts)
    assert len(set(tokens)) == 1_000
    assert all(t.startswith("tok_") and len(t) == 30 for t in tokens)
    assert state.mask_tokens.tokens(OLD, [*texts[5:], "another"])[:-1] == tokens[5:]
    assert state.mask_tokens.reveal(OLD, tokens[7]) == texts[7]
    assert state.mask_tokens.reveal(replace(OLD, tenant="globex"), tokens[7]) is None
    assert state.mask_tokens.tokens(replace(OLD, tenant="globex"), texts[:1]) != tokens[:1]
    state.close()
    assert all(b"person 7" not in path.read_bytes() for path in tmp_path.iterdir())


def test_tokens_stay_when_the_key_changes(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    before = state.mask_tokens.tokens(OLD, ["a", "b"])
    assert state.mask_tokens.tokens(NEW, ["b", "c"])[0] == before[1]
    monkeypatch.delenv("OLD_KEY")
    assert state.mask_tokens.reveal(NEW, before[0]) == "a"


def test_another_key_under_the_same_version_is_refused(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    token = state.mask_tokens.tokens(OLD, ["a"])[0]
    monkeypatch.setenv("OLD_KEY", "x" * 32)
    with pytest.raises(ConfigError, match="mask key 1 is not the one"):
        state.mask_tokens.reveal(OLD, token)
