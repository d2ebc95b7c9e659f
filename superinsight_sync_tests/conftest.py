"""Servers that tests share: one of each for the whole run, started when first asked for."""

import os
import uuid
from collections.abc import Iterator
from datetime import timedelta
from functools import cache

import pytest
from httpx._transports import default as _transports
from hypothesis import HealthCheck, settings

from superinsight_sync.sources.kinds import files
from superinsight_sync_tests import memory, ordering
from superinsight_sync_tests.servers import keeper
from superinsight_sync_tests.servers.kafka import KafkaServer
from superinsight_sync_tests.servers.mariadb import MariadbServer
from superinsight_sync_tests.servers.mongo import MongoServer
from superinsight_sync_tests.servers.postgres import PostgresServer, running_postgres
from superinsight_sync_tests.servers.s3 import S3Server
from superinsight_sync_tests.servers.sftp import SftpServer, running_sftp
from superinsight_sync_tests.servers.valkey import ValkeyServer, running_valkey

LONG = bool(os.environ.get("SIS_LONG"))
"""Whether drills run in their long version."""

for _name in [
    n for n in os.environ if n.startswith(("SIS_", "DAGSTER_", "OPENAI_")) and not n.startswith("SIS_TEST_")
]:
    # What the caller's shell or make has set must not decide what is tested.
    del os.environ[_name]

# Files that tests have just written are finished. Tests of `settle` set it themselves.
files.SETTLE = timedelta(0)

# Each of httpx's clients reads the certificates of all the world anew, 20 ms each time; no test is about them.
_transports.create_ssl_context = cache(_transports.create_ssl_context)

settings.register_profile(
    "sis",
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("sis")


def pytest_addoption(parser: pytest.Parser) -> None:
    ordering.pytest_addoption(parser)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    ordering.pytest_collection_modifyitems(config, items)


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        memory.use_memory()
    if getattr(config.option, "numprocesses", None):
        keeper.start()  # before the workers, which are told where it is


def pytest_unconfigure(config: pytest.Config) -> None:
    keeper.end()
    memory.give_back()


@pytest.fixture(scope="session")
def log_server() -> Iterator[PostgresServer]:
    """Of this worker alone: names of slots are a server's, not a database's."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> PostgresServer:
    server: PostgresServer = keeper.ask("postgres")
    return server


@pytest.fixture(scope="session")
def mariadb_server() -> MariadbServer:
    server: MariadbServer = keeper.ask("mariadb")
    return server


@pytest.fixture(scope="session")
def logged_mariadb() -> MariadbServer:
    """It writes a binlog."""
    server: MariadbServer = keeper.ask("logged_mariadb")
    return server


@pytest.fixture(scope="session")
def s3_server() -> S3Server:
    server: S3Server = keeper.ask("s3")
    return server


@pytest.fixture(scope="session")
def kafka_server() -> KafkaServer:
    server: KafkaServer = keeper.ask("kafka")
    return server


@pytest.fixture(scope="session")
def mongo_server() -> MongoServer:
    server: MongoServer = keeper.ask("mongo")
    return server


# These two start in a twentieth of a second, and tests count all that is connected to them.


@pytest.fixture(scope="session")
def sftp_server() -> Iterator[SftpServer]:
    with running_sftp() as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyServer]:
    with running_valkey() as server:
        yield server


@pytest.fixture
def s3_root(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A prefix of its own on a real S3 server, whose credentials are in the environment."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return f"{s3_server.create_bucket('lake')}/{uuid.uuid4().hex}"
