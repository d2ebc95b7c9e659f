"""What the storage tests run in processes of their own, as the daemon, the web server and the runs do."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import dagster as dg
from dagster._core.instance.ref import InstanceRef
from dagster._core.run_coordinator import SubmitRunContext
from dagster._core.storage.dagster_run import RunOpConcurrency
from dagster._serdes import deserialize_value, serialize_value

from superinsight_sync_tests.waiting import until


@dg.asset
def answer(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    """A trivial asset."""
    context.log.info("hello 🛬")
    return dg.MaterializeResult(metadata={"dagster/row_count": 42})


def run() -> dict[str, object]:
    """Materializes the asset on the instance of DAGSTER_HOME."""
    with dg.DagsterInstance.get() as instance:
        done = dg.materialize([answer], instance=instance)
        return {
            "success": done.success,
            "run_id": done.run_id,
            "ref": serialize_value(instance.get_ref()),
            "telemetry": instance.telemetry_enabled,
            "nux": instance.nux_enabled,
            "coordinator": type(instance.run_coordinator).__name__,
            "max_runtime_s": instance.run_monitoring_max_runtime_seconds,
            "storage": type(instance.event_log_storage).__name__,
            "pools": str(instance.get_concurrency_config().pool_config),
            "limits": limits_once_queued(instance, "source_crm"),
        }


def run_together(folder: str, number: str, of: str) -> dict[str, object]:
    """The same, begun when that many processes are ready in the folder."""
    (Path(folder) / f"ready_{number}").touch()
    until(lambda: len(list(Path(folder).glob("ready_*"))) == int(of), "the others do not come")
    return run()


def limits_once_queued(instance: dg.DagsterInstance, pool: str) -> dict[str, int]:
    """The limits of pools that are known right after the first run that needs `pool` went to the queue."""
    need = RunOpConcurrency(root_key_counts={pool: 1}, has_unconstrained_root_nodes=False, all_pools={pool})
    queued = instance.add_run(
        dg.DagsterRun(job_name="pull", status=dg.DagsterRunStatus.STARTING, run_op_concurrency=need)
    )
    instance.run_coordinator.submit_run(SubmitRunContext(queued, workspace=None))  # type: ignore[arg-type]
    return {p.name: p.limit for p in instance.event_log_storage.get_pool_limits()}


def pools_made_known_again() -> dict[str, object]:
    """The limits after a process that saw neither pool yet made both known, one of which a person has set to 5."""
    with dg.DagsterInstance.get() as instance:
        storage = instance.event_log_storage
        storage.set_concurrency_slots("source_erp", 5)
        for pool in ("source_crm", "source_crm", "source_erp"):
            storage.initialize_concurrency_limit_to_default(pool)
        return {p.name: p.limit for p in storage.get_pool_limits()}


def read(ref: str, run_id: str) -> dict[str, object]:
    """Reads the run back on an instance made from a reference, as a step's process does."""
    with dg.DagsterInstance.from_ref(deserialize_value(ref, InstanceRef)) as instance:
        found = instance.get_run_by_id(run_id)
        event = instance.get_latest_materialization_event(dg.AssetKey("answer"))
        assert found is not None and event is not None and event.asset_materialization is not None
        return {
            "status": found.status.value,
            "rows": event.asset_materialization.metadata["dagster/row_count"].value,
            "messages": [e.user_message for e in instance.all_logs(run_id) if "hello" in e.user_message],
        }


def main(name: str, *arguments: str) -> None:
    """Does what is named, and writes what it saw as a line of JSON."""
    does: dict[str, Callable[..., dict[str, object]]] = {
        f.__name__: f for f in (run, run_together, read, pools_made_known_again)
    }
    sys.stdout.write(json.dumps(does[name](*arguments)) + "\n")
