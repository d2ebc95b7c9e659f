"""``sis drain``: lands realtime streams within a second."""

import click

from superinsight_sync.cli.output import errors_shown, json_option, show_json, tell


@click.command("drain")
@json_option
@errors_shown
def drain_command(as_json: bool) -> None:
    """Lands what is pushed to streams with `realtime: true`, as it comes. Runs until it is stopped.

    Several may run at once. Told to stop (SIGTERM, Ctrl-C), it finishes what it has begun.

    \b
    Example:
        sis drain
    """
    import signal
    import threading

    from superinsight_sync.orchestration.drain import Drain
    from superinsight_sync.orchestration.running import instance
    from superinsight_sync.pipeline.engine import open_engine

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    engine = open_engine()
    with instance() as dagster:
        drain = Drain(engine, dagster)
        tell("draining; Ctrl-C stops it")
        drain.run(stop)
    if as_json:
        show_json({"rows": drain.landed_rows})
    else:
        tell(f"{drain.landed_rows} rows landed")
