"""Kafka over TLS: the server proves itself, and the client where it is asked to."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from superinsight_sync.core.errors import ConfigError, SisError
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.sources.opening import open_source
from superinsight_sync_tests.servers.certificates import certificate
from superinsight_sync_tests.servers.kafka import KafkaServer, running_kafka
from superinsight_sync_tests.servers.ports import free_port
from superinsight_sync_tests.servers.tls_proxy import running_tls_proxy
from superinsight_sync_tests.sources.reading import column, read, stream


@pytest.fixture
def pems(tmp_path: Path) -> tuple[Path, Path]:
    """The server's and the client's key and certificate."""
    made = []
    for name in ("server", "client"):
        (tmp_path / name).mkdir()
        made.append(certificate(tmp_path / name))
    return made[0], made[1]


@pytest.fixture(params=[False, True], ids=["server's certificate", "both certificates"])
def encrypted(
    request: pytest.FixtureRequest, pems: tuple[Path, Path]
) -> Iterator[tuple[KafkaServer, dict[str, Any]]]:
    """A broker that is reached over TLS only, and a connection to it."""
    server, client = pems
    inside = free_port()
    settings = {"security.protocol": "SSL", "ssl.ca.location": str(server)}
    connection = {"kind": "kafka", "tls": True, "timeout": "5s", "tls_ca": str(server)}
    if request.param:
        settings |= {"ssl.certificate.location": str(client), "ssl.key.location": str(client)}
        connection |= {"tls_certificate": str(client), "tls_key": str(client)}
    with ExitStack() as stack:
        port = stack.enter_context(running_tls_proxy(inside, server, client if request.param else None))
        broker = stack.enter_context(running_kafka(port, inside))
        broker.settings = settings
        yield broker, {**connection, "servers": broker.servers}


def test_messages_are_read_over_tls(encrypted: tuple[KafkaServer, dict[str, Any]], project: Settings) -> None:
    broker, connection = encrypted
    topic = broker.new_topic(partitions=2)
    broker.send(topic, [{"key": str(n), "value": json.dumps({"n": n, "t": "é😀"})} for n in range(1_000)])
    source = open_source(connection, project)
    assert source.probe().server == "Kafka"
    declared = stream(
        topic=topic,
        sync={"mode": "incremental", "by": "position"},
        options={"columns": {"n": "int64", "t": "string"}},
    )
    found = read(source, ReadRequest(declared))
    assert sorted(column(found, "n")) == list(range(1_000)) and set(column(found, "t")) == {"é😀"}


@pytest.mark.parametrize("changed", [{"tls_ca": "client"}, {"tls_ca": None}, {"tls": False, "tls_ca": None}])
def test_a_server_that_does_not_prove_itself_is_not_read(
    pems: tuple[Path, Path], project: Settings, changed: dict[str, Any]
) -> None:
    server, client = pems
    inside = free_port()
    with ExitStack() as stack:
        port = stack.enter_context(running_tls_proxy(inside, server))
        broker = stack.enter_context(running_kafka(port, inside))
        connection = {"kind": "kafka", "servers": broker.servers, "timeout": "2s", "tls": True, **changed}
        connection = {k: str(client) if v == "client" else v for k, v in connection.items() if v is not None}
        with pytest.raises(SisError) as told:
            open_source(connection, project).probe()
    if connection["tls"]:
        assert isinstance(told.value, ConfigError) and "_SSL" in str(told.value)
    else:
        assert "cannot be reached" in str(told.value)
