"""Owners are told by e-mail, through a real mail server."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from superinsight_sync.core.errors import AccessError, ConfigError, SisError, TransientError
from superinsight_sync.core.settings import Settings, load_settings
from superinsight_sync.monitoring.alerts import ChannelSpec, configured, open_channel, send
from superinsight_sync_tests.monitoring.test_alerts import ALERT
from superinsight_sync_tests.servers.smtp import MailServer, running_smtp

OWNED = replace(ALERT, owners=("team:data", "li@example.com"), stream="orders")
USER = "alerts:s%C3%ABcret%3A%40%2F@"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"SIS_PROJECT_DIR": str(tmp_path)})


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    with running_smtp(tmp_path) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
        yield server


def smtp(server: MailServer, scheme: str = "smtp", user: str = "", **config: Any) -> ChannelSpec:
    url = f"{scheme}://{user}localhost:{server.port}"
    return ChannelSpec("smtp", {"url": url, "sender": "sync@example.com", **config})


def test_owners_get_a_mail_that_says_what_where_and_why(
    server: MailServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIS_ALERTS", "smtp")
    monkeypatch.setenv("SIS_ALERT_SMTP_URL", f"smtp://{USER}localhost:{server.port}")
    monkeypatch.setenv("SIS_ALERT_MAIL_FROM", "sync@example.com")
    monkeypatch.setenv("SIS_ALERT_MAIL_TO", "all@example.com, team:data=data@example.com")
    assert send(OWNED, settings, configured()) == ()
    (mail,) = server.got
    assert (mail.encrypted, mail.user, mail.sender) == (True, "alerts", "sync@example.com")
    assert mail.recipients == ["data@example.com", "li@example.com"]
    assert mail.message["Subject"] == "[error] Run of crm failed 🛬"
    text = mail.message.get_content()
    for words in (
        "Source: crm",
        "Stream: orders",
        "Error: AccessError",
        "Run: r1",
        "See: http://console/runs/r1",
        "password=***",
    ):
        assert words in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("owners", "to", "recipients"),
    [
        (("li@example.com", "li@example.com"), "", ["li@example.com"]),
        (("li@example.com",), "all@example.com", ["li@example.com"]),
        (("team:data",), "all@example.com,ops@example.com", ["all@example.com", "ops@example.com"]),
        ((), "all@example.com", ["all@example.com"]),
        (("team:ml", "team:data"), "team:ml=ml@example.com", ["ml@example.com"]),
    ],
)
def test_who_is_told(
    server: MailServer, settings: Settings, owners: tuple[str, ...], to: str, recipients: list[str]
) -> None:
    assert send(replace(ALERT, owners=owners), settings, [smtp(server, to=to)]) == ()
    assert [m.recipients for m in server.got] == [recipients]


def test_any_title_is_one_header(server: MailServer, settings: Settings) -> None:
    alert = replace(OWNED, title="a\r\nBcc: eve@example.com\n\ud800" + "x" * 500, text=".\r\n..dots\n.")
    assert send(alert, settings, [smtp(server)]) == ()
    (mail,) = server.got
    assert mail.recipients == ["li@example.com"] and "Bcc" not in mail.message
    assert ".\n..dots\n." in mail.message.get_content().replace("\r\n", "\n")


def test_tls_from_the_start_and_none_at_all(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for scheme, implicit in (("smtps", True), ("smtp+plain", False)):
        with running_smtp(tmp_path, implicit_tls=implicit) as server:
            monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
            assert send(OWNED, settings, [smtp(server, scheme)]) == ()
            assert [m.encrypted for m in server.got] == [implicit]


def told(settings: Settings, spec: ChannelSpec) -> SisError:
    errors: list[SisError] = []
    assert send(OWNED, settings, [spec], on_failure=lambda *a: errors.append(a[2])) == ("smtp",)
    assert "hunter2" not in str(errors[0])
    return errors[0]


@pytest.mark.parametrize(
    ("answers", "user", "error", "taken"),
    [
        ({"MAIL": [451, 451]}, "", None, 1),
        ({"DATA": [421] * 3}, "", TransientError, 0),
        ({"DATA": [554]}, "", ConfigError, 0),
        ({"li@example.com": [550]}, "", ConfigError, 0),
        ({"li@example.com": [450] * 3}, "", TransientError, 0),
        ({}, "alerts:hunter2@", AccessError, 0),
    ],
)
def test_a_refusal_is_told_by_its_class(
    server: MailServer,
    settings: Settings,
    answers: dict[str, list[int]],
    user: str,
    error: type[SisError] | None,
    taken: int,
) -> None:
    server.answers = answers
    if error is None:
        assert send(OWNED, settings, [smtp(server, user=user)]) == ()
    else:
        assert type(told(settings, smtp(server, user=user))) is error
    assert len(server.got) == taken
    assert not any(answers.values())


def test_nothing_is_sent_without_the_encryption_that_was_asked_for(
    server: MailServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.offers_tls = False
    assert "no STARTTLS" in str(told(settings, smtp(server)))
    server.offers_tls = True
    monkeypatch.delenv("SSL_CERT_FILE")
    assert "not trusted" in str(told(settings, smtp(server)))
    assert server.got == []


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"url": "http://localhost"}, "no URL of a mail server"),
        ({"url": "smtp://"}, "no URL of a mail server"),
        ({"url": "smtp+plain://a:hunter2@localhost"}, "not sent without TLS"),
        ({"url": "smtp://localhost", "sender": ""}, "sender"),
        ({"url": "smtp://localhost", "to": "a@b\nBcc: c@d"}, "line breaks"),
    ],
)
def test_a_wrong_configuration_says_what_to_change(
    settings: Settings, config: dict[str, str], words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        open_channel(ChannelSpec("smtp", {"sender": "sync@example.com", **config}), settings)
    assert "hunter2" not in str(caught.value)


def test_nobody_to_tell_is_told(server: MailServer, settings: Settings) -> None:
    spec, errors = smtp(server), []
    send(replace(ALERT, owners=("team:x",)), settings, [spec], on_failure=lambda *a: errors.append(str(a[2])))
    assert "SIS_ALERT_MAIL_TO" in errors[0]
