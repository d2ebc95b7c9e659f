"""``sis gateway``: the HTTP door for pushed data."""

from pathlib import Path

import click

from superinsight_sync.cli.output import errors_shown, json_option, show_json, tell
from superinsight_sync.core.extras import need
from superinsight_sync.core.settings import load_settings


@click.command("gateway")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(1, 65535), help="Port.")
@click.option("--tls-cert", type=click.Path(path_type=Path), help="Certificate chain (PEM): TLS 1.3 only.")
@click.option("--tls-key", type=click.Path(path_type=Path), help="The certificate's key (PEM).")
@json_option
@errors_shown
def gateway_command(host: str, port: int, tls_cert: Path | None, tls_key: Path | None, as_json: bool) -> None:
    """Takes what customers push, stores it, and answers once it is on the disk. Runs until it is stopped.

    \b
    Example:
        sis gateway --host 0.0.0.0 --port 8443 --tls-cert chain.pem --tls-key key.pem
    """
    need("gateway", "the gateway")
    from superinsight_sync.gateway.serving import open_gateway, serve, server_config

    config = server_config(open_gateway(load_settings()), host=host, port=port, cert=tls_cert, key=tls_key)
    url = f"{'https' if tls_cert else 'http'}://{host}:{port}"
    if as_json:
        show_json({"url": url})
    tell(f"the gateway will listen on {url}")
    serve(config)
