"""The process of the ``sis`` command."""

from superinsight_sync.core.process import ease_collector, leave


def sis() -> None:
    """Starts and ends the command line."""
    ease_collector()
    from superinsight_sync.cli.main import main

    try:
        main()
    except SystemExit as ended:
        if isinstance(ended.code, int):
            leave(ended.code)
        raise
