"""`sis dead-letters`: work that failed after its retries is listed, done again, or given up."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from superinsight_sync.core.errors import TransientError
from superinsight_sync.core.settings import load_settings
from superinsight_sync.pipeline.counted_read import Reading
from superinsight_sync.pipeline.engine import open_engine
from superinsight_sync_tests.cli.commands import sis


class Network:
    """Up or down."""

    down = False


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    """While it is down no read succeeds."""
    real, found = Reading.__call__, Network()

    def read(self: Reading) -> Any:
        if found.down:
            raise TransientError("the server went away")
        return real(self)

    monkeypatch.setattr(Reading, "__call__", read)
    monkeypatch.setattr("superinsight_sync.core.retry.RetryPolicy.delay_s", lambda self, attempt: 0.0)
    yield found
    for letter in letters():
        open_engine().state.dead_letters.mark(letter["id"], "discarded")


def letters(state: str = "open") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sis("dead-letters", "list", "--state", state, "--json").document[
        "dead_letters"
    ]
    return found


FEBRUARY = ("web/raw_visits", "--from", "2026-02-01", "--to", "2026-03-01")


def test_failed_work_is_replayed_with_its_partitions_and_force(project: Path, network: Network) -> None:
    assert sis("run", "web/raw_visits", "--json").code == 0
    network.down = True
    assert sis("run", *FEBRUARY, "--force", "--json").code == 1
    (letter,) = letters()
    assert letter["payload"] == {
        "source": "web",
        "stream": "visits",
        "partitions": ["2026-02-01", "2026-03-01"],
        "force": True,
    }
    said = sis("status")
    assert "pull web/visits" in said.out
    assert "sis dead-letters replay" in said.err

    again = sis("dead-letters", "replay", str(letter["id"]), "--json")
    assert (again.code, again.document["dead_letters"][0]["replayed"]) == (1, False)
    assert "the server went away" in again.document["dead_letters"][0]["errors"][0]
    (same,) = letters()
    assert (same["id"], same["attempts"]) == (letter["id"], 8)

    network.down = False
    done = sis("dead-letters", "replay", str(letter["id"]), "--json")
    assert (done.code, done.document["dead_letters"]) == (
        0,
        [{"id": letter["id"], "replayed": True, "errors": []}],
    )
    assert letters() == []
    last = open_engine().state.executions.recent(1)[0]
    assert (last.verb, last.partition, last.status, last.rows) == (
        "pull",
        "2026-02-01…2026-03-01",
        "succeeded",
        60,
    )
    assert sis("dead-letters", "show", str(letter["id"]), "--json").document["state"] == "replayed"
    refused = sis("dead-letters", "replay", str(letter["id"]), "--json")
    assert (refused.code, "replayed already" in refused.document["error"]["message"]) == (2, True)


def test_an_ordinary_run_of_the_same_work_closes_its_letter(project: Path, network: Network) -> None:
    network.down = True
    assert sis("run", "web/raw_visits", "web/raw_pages", "--force", "--json").code == 1
    assert {d["target"] for d in letters()} == {"web/visits", "web/pages"}
    network.down = False
    assert sis("run", *FEBRUARY, "--force", "--json").code == 0
    assert {d["target"] for d in letters()} == {"web/visits", "web/pages"}, "one of three months is not done"
    assert sis("run", "web/raw_visits", "--force", "--json").code == 0
    assert {d["target"] for d in letters()} == {"web/pages"}
    assert sis("dead-letters", "replay", "--all", "--json").code == 0
    assert letters() == []
    assert sis("dead-letters", "replay", "--all", "--json").document == {"dead_letters": []}


def test_forced_work_is_not_done_by_a_run_that_finds_nothing_new(project: Path, network: Network) -> None:
    assert sis("run", "web/raw_pages", "--json").code == 0
    network.down = True
    assert sis("run", "web/raw_pages", "--force", "--json").code == 1
    network.down = False
    assert sis("run", "web/raw_pages", "--json").document["assets"][0]["unchanged"]
    assert len(letters()) == 1
    assert sis("run", "web/raw_pages", "--force", "--json").code == 0
    assert letters() == []


def test_letters_are_given_up_and_shown(project: Path, network: Network) -> None:
    network.down = True
    assert sis("run", *FEBRUARY, "--force", "--json").code == 1
    (letter,) = letters()
    key = str(letter["id"])
    assert "2026-02-01…2026-03-01" in sis("dead-letters", "list").out
    assert "TransientError" in sis("dead-letters", "show", key).out
    assert sis("dead-letters", "discard", key, "--json").document == {"discarded": [letter["id"]]}
    assert letters() == []
    assert [d["state"] for d in letters("all") if d["id"] == letter["id"]] == ["discarded"]
    assert sis("dead-letters", "discard", key, "--json").code == 2
    assert sis("dead-letters", "show", "999999", "--json").code == 2
    assert sis("dead-letters", "replay", "--json").code == 2
    assert sis("dead-letters", "replay", key, "--all", "--json").code == 2


def test_work_of_a_stream_that_is_gone_or_parted_otherwise_says_so(project: Path, network: Network) -> None:
    dead = open_engine().state.dead_letters
    gone, parted = (
        dead.add(
            verb="pull",
            target=f"web/{stream}",
            payload={"source": "web", "stream": stream, "partitions": partitions},
            error=TransientError("x"),
        )
        for stream, partitions in (("nothing", []), ("visits", ["2026-02-03"]))
    )
    done = sis("dead-letters", "replay", str(gone), str(parted), "--json")
    assert done.code == 2
    first, second = (d["errors"][0] for d in done.document["dead_letters"])
    assert "no asset 'web/raw_nothing'" in first
    assert f"sis dead-letters discard {gone}" in first
    assert "other partitions" in second


def test_an_alert_that_was_not_sent_is_sent_again(
    project: Path, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    from superinsight_sync.pipeline.alert import alert_run_failed

    file = load_settings().home / "alerts.jsonl"
    monkeypatch.setenv("SIS_ALERTS", "log")
    file.unlink(missing_ok=True)
    file.mkdir(parents=True)
    alert_run_failed(run_id="r", job="j", source="web", text="it broke")
    (letter,) = letters()
    key = str(letter["id"])
    assert (letter["verb"], letter["target"]) == ("alert", "log")
    assert sis("dead-letters", "replay", key, "--json").code == 2
    file.rmdir()
    assert sis("dead-letters", "replay", key, "--json").code == 0
    assert "it broke" in file.read_text()
    assert letters() == []


def test_the_shell_completes_dead_letters() -> None:
    from click.testing import CliRunner

    from superinsight_sync.cli.main import main

    for words, position, found in (("sis dea", "1", "dead-letters"), ("sis dead-letters di", "2", "discard")):
        asked = {"_SIS_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": position}
        done = CliRunner().invoke(main, [], env=asked, prog_name="sis")
        assert done.stdout.split() == [f"plain,{found}"]
