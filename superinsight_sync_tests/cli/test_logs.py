"""`sis logs` shows and follows what a run did."""

import threading
from pathlib import Path

import dagster as dg

from superinsight_sync.pipeline.engine import open_engine
from superinsight_sync_tests.cli.commands import sis
from superinsight_sync_tests.waiting import until


def test_a_run_is_told_line_by_line_with_levels(new_project: Path) -> None:
    assert sis("run", "web.pages").code == 0
    (first,) = open_engine().state.executions.runs()
    shown = sis("logs", first[:8])
    assert shown.code == 0 and f"run {first}" in shown.err
    for words in ("pull web/pages: pull web/pages began", "refine web/pages: succeeded: 5 rows", "info"):
        assert words in shown.out
    assert sis("run", "web.pages").code == 0
    newest = sis("logs", "--json").document
    assert newest["run_id"] != first
    assert {line["message"] for line in newest["lines"] if "began" not in line["message"]} == {"unchanged"}
    database = new_project / "data" / "web.db"
    database.rename(new_project / "away.db")
    try:
        assert sis("run", "web/raw_pages").code != 0
    finally:
        (new_project / "away.db").rename(database)
    (line,) = sis("logs", "--level", "warning", "--json").document["lines"]
    assert (line["level"], line["verb"], line["source"], line["stream"]) == ("error", "pull", "web", "pages")
    assert line["message"].startswith("failed: ConfigError: pull web/pages")


def test_a_run_that_is_not_there_or_not_told_apart_is_refused(project: Path) -> None:
    state = open_engine().state
    for run in ("same1", "same2", "100%"):
        state.executions.start(run_id=run, verb="pull", source="web", stream="pages")
    for asked, words in (
        ("nowhere", "no run begins"),
        ("same", "begins several runs"),
        ("%", "no run begins"),
    ):
        refused = sis("logs", asked)
        assert refused.code == 2 and words in refused.err
    assert sis("logs", "same1").code == sis("logs", "100").code == 0
    assert sis("logs", "same1", "-f", "--json").code == 2


def test_following_ends_with_the_run(project: Path) -> None:
    state = open_engine().state
    work = {"verb": "pull", "source": "web", "stream": "pages"}
    with dg.DagsterInstance.get() as instance:
        run = instance.add_run(dg.DagsterRun(job_name="j", status=dg.DagsterRunStatus.STARTED)).run_id
        key = state.executions.start(run_id=run, **work)  # type: ignore[arg-type]
        done: list[str] = []
        follower = threading.Thread(target=lambda: done.append(sis("logs", run, "--follow").out))
        follower.start()
        state.logs.add(key, "warning", "slow")
        state.executions.finish(key, "succeeded", rows=7)
        assert not done, "the run has not ended"
        instance.report_run_canceled(instance.get_run_by_id(run))  # type: ignore[arg-type]
        until(lambda: done, "the follower ends with the run")
        follower.join()
    told = [line.split(": ", 1)[1] for line in done[0].splitlines()]
    assert told == ["pull web/pages began", "slow", "succeeded: 7 rows, 0 bytes"]
