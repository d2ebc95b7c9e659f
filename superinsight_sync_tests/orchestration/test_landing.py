"""Pushed deliveries become runs: one for all that waits of a source, none twice, downstream follows."""

import hashlib
import importlib
import itertools
import json
import os
import sys
import threading
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import ConfigError
from superinsight_sync.core.settings import load_settings
from superinsight_sync.model.tables import TableRef
from superinsight_sync.pipeline.engine import open_engine
from superinsight_sync.pipeline.replay import replay_delivery
from superinsight_sync.state.inbox import Inbox
from superinsight_sync.state.inbox_writer import Delivery
from superinsight_sync_tests.gateway.doors import Gateway
from superinsight_sync_tests.orchestration.test_loading import project
from superinsight_sync_tests.servers.ports import free_port
from superinsight_sync_tests.servers.postgres import PostgresServer

ROOT = Path(__file__).parents[2]

TILL: dict[str, Any] = {
    "type": "superinsight_sync.PushSource",
    "attributes": {
        "name": "till",
        "tenant": "acme",
        "streams": [
            {"name": "sales", "primary_key": ["id"], "expect": [{"type": "not_null", "column": "id"}]},
            {"name": "visits", "priority": 6},
            {"name": "clicks", "realtime": True},
        ],
    },
}


@pytest.fixture
def defs(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.Definitions]:
    folder = project(tmp_path_factory.mktemp("pushed"), {"till": TILL}, name="pushproj")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    monkeypatch.syspath_prepend(str(folder))
    yield importlib.import_module("pushproj.definitions").defs()
    for name in [m for m in sys.modules if m.split(".")[0] == "pushproj"]:
        del sys.modules[name]


def push(stream: str, *ids: int) -> None:
    settings, engine = load_settings(), open_engine()
    body = json.dumps([{"id": i} for i in ids]).encode()
    digest, name = hashlib.sha256(body).hexdigest(), uuid.uuid4().hex
    delivery = Delivery(name, "acme", "till", stream, name, digest, "json", "", body, len(body), len(ids))
    Inbox(engine.state.database, settings.landing_dir).accept(delivery)


def lands(stream: str) -> None:
    """As if a run had landed all of it."""
    inbox = open_engine().inbox
    inbox.mark_landed("acme", "till", stream, seq=inbox.newest(), load_id="load")


def look(
    defs: dg.Definitions, instance: dg.DagsterInstance, cursor: str | None = None
) -> dg.SensorResult | dg.SkipReason:
    sensor = defs.get_repository_def().get_sensor_def("till_landing")
    found = sensor(dg.build_sensor_context(instance=instance, cursor=cursor))
    assert isinstance(found, dg.SensorResult | dg.SkipReason)
    return found


def run(defs: dg.Definitions, instance: dg.DagsterInstance, request: dg.RunRequest) -> bool:
    assert request.asset_selection
    refined = [dg.AssetKey(["till", k.path[-1].removeprefix("raw_")]) for k in request.asset_selection]
    whole = [*request.asset_selection, *refined]
    job = defs.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        instance=instance, asset_selection=whole, tags=request.tags, run_config=request.run_config
    ).success


def landed(stream: str, stage: Any = "raw") -> list[int]:
    found = open_engine().lake.scan(TableRef("acme", "till", stream, stage)).read_all()
    return sorted(found.column("id").to_pylist())


def test_all_that_waits_is_one_run_and_downstream_follows(defs: dg.Definitions) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert isinstance(look(defs, instance), dg.SkipReason)
        for n in range(20):
            push("sales", n)
            push("visits", n)
        push("clicks", 1)
        first = look(defs, instance)
        assert isinstance(first, dg.SensorResult) and first.run_requests is not None
        (request,) = first.run_requests
        assert {k.path[-1] for k in request.asset_selection or ()} == {"raw_sales", "raw_visits"}
        assert (request.tags["tenant"], request.tags["dagster/priority"]) == ("acme", "6")
        again = look(defs, instance, first.cursor)
        assert isinstance(again, dg.SkipReason)
        assert run(defs, instance, request)
        assert landed("sales") == landed("sales", "refined") == landed("visits") == list(range(20))
        event = instance.get_latest_materialization_event(dg.AssetKey(["till", "raw_sales"]))
        assert event is not None and event.asset_materialization is not None
        told = event.asset_materialization.metadata
        assert told["sis/deliveries"].value == 20
        assert isinstance(told["sis/longest_wait_s"].value, float) and told["sis/longest_wait_s"].value > 0
        done = look(defs, instance, first.cursor)
        assert isinstance(done, dg.SkipReason) and done.skip_message == "nothing waits"


def test_what_failed_is_tried_again_later_also_under_steady_traffic(
    defs: dg.Definitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = utc_now()
    monkeypatch.setattr("superinsight_sync.orchestration.landing_sensor.utc_now", lambda: now)
    with dg.DagsterInstance.ephemeral() as instance:
        cursor, keys, count = None, set(), 0
        for tick in range(80):
            now += timedelta(seconds=30)
            push("sales", tick)
            found = look(defs, instance, cursor)
            if isinstance(found, dg.SkipReason):
                assert "tried again in" in str(found.skip_message)
                continue
            assert found.run_requests
            cursor, count = found.cursor, count + 1
            keys.add(found.run_requests[0].run_key)
        assert len(keys) == count == 7, "after 0, 60, 120, 240, 480 and then each 600 seconds"


def test_a_stream_that_cannot_be_landed_does_not_hold_the_others_up(
    defs: dg.Definitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = utc_now()
    monkeypatch.setattr("superinsight_sync.orchestration.landing_sensor.utc_now", lambda: now)
    with dg.DagsterInstance.ephemeral() as instance:
        cursor, chosen = None, []
        for tick in range(14):
            now += timedelta(seconds=5)
            push("sales", tick)
            push("visits", tick)
            found = look(defs, instance, cursor)
            assert isinstance(found, dg.SensorResult) and found.run_requests
            cursor, request = found.cursor, found.run_requests[0]
            chosen.append([k.path[-1] for k in request.asset_selection or ()])
            lands("visits")
        both, one = ["raw_sales", "raw_visits"], ["raw_visits"]
        assert chosen == [both, *[one] * 11, both, one]
        lands("sales")
        push("sales", 99)
        assert isinstance(look(defs, instance, cursor), dg.SensorResult), "what landed is no failure"


def test_a_replay_of_what_failed_is_tried_at_the_next_look(defs: dg.Definitions) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        push("sales", 1)
        inbox = open_engine().inbox
        (failed,) = inbox.list()
        with pytest.raises(ConfigError, match="for the first time"):
            replay_delivery(open_engine(), failed.id)
        first = look(defs, instance)
        assert isinstance(first, dg.SensorResult)
        inbox.mark_failed("acme", "till", "sales", ValueError("no room"))
        push("sales", 2)
        assert isinstance(look(defs, instance, first.cursor), dg.SkipReason)
        assert replay_delivery(open_engine(), failed.id) == failed.id
        again = look(defs, instance, first.cursor)
        assert isinstance(again, dg.SensorResult) and again.run_requests
        assert isinstance(look(defs, instance, again.cursor), dg.SkipReason), "once, not each time"
        assert run(defs, instance, again.run_requests[0])
        assert landed("sales") == [1, 2]


@pytest.mark.slow
def test_several_gateways_that_write_at_once_give_one_run_at_a_time_and_each_record_once(
    defs: dg.Definitions, monkeypatch: pytest.MonkeyPatch, postgres_server: PostgresServer
) -> None:
    monkeypatch.setenv("SIS_DATABASE_URL", postgres_server.create_database())
    environment = {"SIS_DATABASE_URL": os.environ["SIS_DATABASE_URL"], "PYTHONPATH": str(ROOT)}
    folder = Path(os.environ["DAGSTER_HOME"])
    doors = [Gateway(folder, free_port(), environment) for _ in range(2)]
    key = open_engine().state.api_keys.create("till", "pusher", tenant="acme").text
    stop = threading.Event()
    acknowledged: list[int] = []

    def send(number: int) -> None:
        headers = {"authorization": f"Bearer {key}"}
        with httpx.Client(base_url=doors[number % 2].url, headers=headers, timeout=30) as client:
            for count in itertools.count():
                if stop.is_set():
                    return
                told = client.post(
                    "/api/v1/sync/push/batch?source=till&stream=visits", json={"id": count * 8 + number}
                )
                assert told.status_code == 202, told.text
                acknowledged.append(count * 8 + number)

    for door in doors:
        door.start()
    senders = [threading.Thread(target=send, args=(n,)) for n in range(8)]
    runs, cursor = 0, None
    with dg.DagsterInstance.ephemeral() as instance:
        for sender in senders:
            sender.start()
        while True:
            if runs == 6:
                stop.set()
                for sender in senders:
                    sender.join()
            found = look(defs, instance, cursor)
            if isinstance(found, dg.SkipReason):
                if stop.is_set():
                    break
                continue
            assert found.run_requests is not None
            (request,) = found.run_requests
            assert isinstance(look(defs, instance, found.cursor), dg.SkipReason), "it is not started twice"
            going = instance.create_run_for_job(
                defs.resolve_implicit_global_asset_job_def(),
                tags=request.tags,
                status=dg.DagsterRunStatus.STARTED,
            )
            told = look(defs, instance)
            assert isinstance(told, dg.SkipReason) and told.skip_message == "a run is landing it"
            instance.delete_run(going.run_id)
            assert run(defs, instance, request)
            runs, cursor = runs + 1, found.cursor
    for door in doors:
        assert door.end() == 0
    assert landed("visits") == sorted(acknowledged)
    assert len(acknowledged) > 10 * runs


def test_an_old_cursor_repeats_nothing(defs: dg.Definitions) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        push("visits", 1, 2)
        first = look(defs, instance)
        second = look(defs, instance)
        for found in (first, second):
            assert isinstance(found, dg.SensorResult) and found.run_requests
            assert run(defs, instance, found.run_requests[0])
        assert landed("visits") == [1, 2]


def test_a_realtime_source_has_no_sensor(defs: dg.Definitions) -> None:
    from superinsight_sync.model.push import PushSourceSpec
    from superinsight_sync.orchestration.landing_sensor import landing_sensors

    only = {**TILL["attributes"], "streams": [{"name": "clicks", "realtime": True}]}
    assert landing_sensors(PushSourceSpec.model_validate(only)) == []
