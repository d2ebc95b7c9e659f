"""Wrong servers, accounts, addresses and declarations: the class decides what happens, the text says what to do."""

import os
from typing import Any

import pytest

from superinsight_sync.core.errors import AccessError, ConfigError, SisError, TransientError
from superinsight_sync.core.settings import Settings
from superinsight_sync_tests.servers.deaf import garbage_port, mute_port, ssh_cut_at_login
from superinsight_sync_tests.servers.ftp import PASSWORD, running_ftp
from superinsight_sync_tests.servers.ports import free_port
from superinsight_sync_tests.sources.files.places import (
    RemotePlace,
    csv_of,
    ids,
    place_in,
)
from superinsight_sync_tests.sources.reading import stream

SECRET = "not-the-pa55word"
PORTS = {"ftp": "ftp://127.0.0.1:{}/in", "ftps": "ftps://127.0.0.1:{}/in", "sftp": "sftp://127.0.0.1:{}/in",
         "s3": "s3://bucket/in", "http": "http://127.0.0.1:{}/in/"}  # fmt: skip


def wrong(protocol: str, port: int, host: str = "127.0.0.1", **keys: Any) -> dict[str, Any]:
    os.environ["TEST_WRONG"] = SECRET
    made: dict[str, Any] = {
        "kind": "files", "path": PORTS[protocol].format(port).replace("127.0.0.1", host), "allow_private": True,
        "connect_timeout": "1s", "read_timeout": "1s",
    }  # fmt: skip
    if protocol == "s3":
        made |= {
            "endpoint": f"http://{host}:{port}",
            "access_key_id": "k",
            "secret_access_key": "{{ env.TEST_WRONG }}",
        }
    else:
        made |= {"user": "u", "password": "{{ env.TEST_WRONG }}"}
    return made | keys


def said(connection: dict[str, Any], project: Settings, cls: type[SisError], calls: int = 3) -> str:
    from superinsight_sync.sources.opening import open_source

    texts = []
    ways = (lambda s: s.probe(), lambda s: s.describe(stream(path="a.csv")), lambda s: list(s.discover()))
    for call in ways[:calls]:
        with pytest.raises(cls) as caught:
            call(open_source(connection, project))
        assert type(caught.value) is cls or cls is SisError
        assert SECRET not in str(caught.value) and PASSWORD not in str(caught.value)
        texts.append(str(caught.value))
    return texts[0]


@pytest.mark.parametrize("protocol", PORTS)
def test_a_server_that_is_not_there_is_told(protocol: str, project: Settings) -> None:
    assert "Check that the server runs" in said(wrong(protocol, free_port()), project, TransientError)


@pytest.mark.parametrize("protocol", PORTS)
def test_an_unknown_host_is_told(protocol: str, project: Settings) -> None:
    assert "name of the host" in said(wrong(protocol, 80, "no-such-host.invalid"), project, TransientError)


@pytest.mark.parametrize("protocol", PORTS)
def test_a_server_of_another_kind_or_a_silent_one_is_told(protocol: str, project: Settings) -> None:
    with mute_port() as port:
        assert "Check that the server runs" in said(wrong(protocol, port), project, TransientError, 1)
    with garbage_port() as port:
        said(wrong(protocol, port), project, ConfigError if protocol in ("http", "s3") else TransientError, 1)


@pytest.mark.parametrize("protocol", PORTS)
def test_addresses_inside_are_refused_unless_allowed(protocol: str, project: Settings) -> None:
    for host in ("127.0.0.1", "localhost", "2130706433", "169.254.169.254"):
        text = said(wrong(protocol, 9, host, allow_private=False), project, ConfigError)
        assert f"host '{host}': its address is inside a private network" in text
    assert "inside a private network" in said(wrong(protocol, 9, "169.254.169.254"), project, ConfigError)
    away = wrong(protocol, free_port(), allow_private=False, allow_networks=["127.0.0.0/8"])
    said(away, project, TransientError)


def test_a_wrong_password_or_key_is_an_access_error(place: RemotePlace, project: Settings) -> None:
    os.environ["TEST_WRONG"] = SECRET
    key = {"s3": "secret_access_key", "sftp": "password"}.get(place.protocol, "password")
    keys: dict[str, Any] = {**place.connection, key: "{{ env.TEST_WRONG }}"}
    if place.protocol == "sftp":
        keys.pop("private_key")
    if place.protocol == "http":
        place.server.wants, keys["user"] = "Basic abc", "u"
    assert "Check" in said(keys, project, AccessError)


def test_a_folder_that_is_not_there_is_told(place: RemotePlace, project: Settings) -> None:
    if place.protocol != "http":
        keys = {**place.connection, "path": place.url.rstrip("/") + "-gone"}
        assert "Correct `path` of the connection" in said(keys, project, ConfigError)


def test_hosts_whose_key_is_not_the_known_one_are_refused(
    request: pytest.FixtureRequest, project: Settings
) -> None:
    with place_in(request, "sftp") as place:
        unknown = {k: v for k, v in place.connection.items() if k != "host_key"} | {
            "known_hosts": "/dev/null"
        }
        text = said(unknown, project, ConfigError)
        assert (
            "ssh-ed25519 key is not known" in text
            and "SHA256:" in text
            and place.connection["host_key"] in text
        )
        other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
        text = said({**place.connection, "host_key": other}, project, ConfigError)
        assert "is not the known one; it may be another server" in text
        assert "host_key is no key" in said(
            {**place.connection, "host_key": "ssh-ed25519 x"}, project, ConfigError
        )
        assert "private_key is no key" in said(
            {**place.connection, "private_key": "{{ env.HOME }}"}, project, ConfigError
        )


def test_tls_that_is_missing_demanded_or_not_trusted_is_told(
    request: pytest.FixtureRequest, project: Settings
) -> None:
    with place_in(request, "ftps") as place:
        untrusted = {k: v for k, v in place.connection.items() if k != "ca_file"}
        assert "certificate is not trusted" in said(untrusted, project, ConfigError)
        untrusted["path"] = place.url.replace("ftps://", "ftp://")
        assert "Write ftps://" in said(untrusted, project, ConfigError)
        assert "ca_file cannot be read" in said(
            {**place.connection, "ca_file": "/gone"}, project, ConfigError
        )
    with place_in(request, "ftp") as place:
        assert "offers no TLS" in said(
            {**place.connection, "path": place.url.replace("ftp://", "ftps://")}, project, ConfigError
        )


def test_an_account_that_can_write_is_warned_of(project: Settings) -> None:
    from superinsight_sync.sources.opening import open_source

    os.environ["TEST_FTP_PASSWORD"] = PASSWORD
    with running_ftp(rights="elradfmw") as ftp:
        at = {"kind": "files", "path": f"ftp://127.0.0.1:{ftp.port}/", "user": "reader",
              "password": "{{ env.TEST_FTP_PASSWORD }}", "allow_private": True}  # fmt: skip
        assert (
            "the account can write to the folder; one that only reads is enough"
            in open_source(at, project).probe().warnings
        )
        assert set(ftp.commands) <= {
            "USER", "PASS", "FEAT", "OPTS", "TYPE", "MLST", "MLSD", "PASV", "EPSV", "QUIT", "NOOP",
        }  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"path": "gopher://h/x"}, "protocol 'gopher' is not known"),
        ({"path": "ftp://h/x", "host_key": "k"}, "'host_key' means nothing for ftp://"),
        ({"path": "x", "user": "u"}, "'user' means nothing for a local folder"),
        ({"path": "ftp:///x"}, "`path` names no host"),
        ({"path": "sftp://u@h/x"}, "`path` holds a user or password"),
        ({"path": "ftp://h:99999/x"}, "`path` is no URL"),
        ({"path": "ftp://h/x?a"}, "`path` has a query"),
        ({"path": "https://h/x/?a=1"}, "the URL of a folder has no query"),
        ({"path": "ftp://h/x", "allow_networks": ["ten"]}, "'ten' is no network"),
        ({"path": "s3://b/x", "endpoint": "minio:9000"}, "endpoint is no address of a server"),
    ],
)
def test_a_wrong_declaration_is_told(keys: dict[str, Any], says: str, project: Settings) -> None:
    assert says in said({"kind": "files", **keys}, project, ConfigError)


@pytest.mark.parametrize(
    "keys", [{"path": f"ftp://u:{SECRET}@h/x"}, {"path": "sftp://h/x", "private_key": SECRET},
             {"path": "https://h/", "headers": {"X-Api-Key": SECRET}}, {"path": "ftp://h/", "password": SECRET},
             {"path": "s3://b/", "secret_access_key": SECRET}],
)  # fmt: skip
def test_secrets_that_are_written_out_are_refused(keys: dict[str, Any], project: Settings) -> None:
    from superinsight_sync.sources.opening import open_source

    with pytest.raises(ConfigError) as caught:
        open_source({"kind": "files", **keys}, project)
    assert SECRET not in str(caught.value)


def test_links_that_leave_the_folder_are_refused_and_others_followed_once(
    request: pytest.FixtureRequest, project: Settings
) -> None:
    with place_in(request, "sftp") as place:
        folder = place.folder
        assert folder
        (folder.parent / "secret.csv").write_bytes(csv_of(666))
        place.put("a.csv", csv_of(1))
        place.put("x/b.csv", csv_of(2))
        (folder / "again.csv").symlink_to("a.csv")
        (folder / "x" / "loop").symlink_to(folder, target_is_directory=True)
        (folder / "dead.csv").symlink_to("nowhere.csv")
        source = place.source(project)
        assert ids(source, "**/*.csv") == [1, 2]
        (folder / "b.csv").symlink_to(folder.parent / "secret.csv")
        for pattern in ("*.csv", "b.csv"):
            with pytest.raises(ConfigError, match=r"'b\.csv' is a symbolic link that leads out"):
                source.describe(stream(path=pattern))
        (folder / "b.csv").unlink()
        (folder / "dir").symlink_to(folder.parent, target_is_directory=True)
        for pattern in ("dir/*.csv", "dir/secret.csv"):
            with pytest.raises(ConfigError, match="leads out"):
                source.describe(stream(path=pattern))


def test_a_connection_cut_during_the_login_is_no_refusal(project: Settings) -> None:
    with ssh_cut_at_login() as (port, key):
        said(wrong("sftp", port, host_key=key), project, TransientError)
