"""Alerts through real channels: a file, and a real HTTP server."""

import base64
import hashlib
import hmac
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from superinsight_sync.core.errors import AccessError, ConfigError, SisError, TransientError
from superinsight_sync.core.settings import Settings, load_settings
from superinsight_sync.monitoring import alerts
from superinsight_sync.monitoring.alerts import Alert, ChannelSpec, configured, open_channel, send
from superinsight_sync.state import open_state

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
ALERT = Alert(
    title="Run of crm failed 🛬",
    severity="error",
    source="crm",
    run_id="r1",
    error_class="AccessError",
    text="cannot reach postgresql://li:hunter2@db/crm, password=hunter2",
    url="http://console/runs/r1",
    at=AT,
)


@dataclass
class Receiver:
    """What the server got, and what it answers next (the last answer again and again)."""

    url: str = ""
    answers: list[int] = field(default_factory=lambda: [204])
    delay_s: float = 0.0
    over: threading.Event = field(default_factory=threading.Event)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
            receiver.over.wait(receiver.delay_s)
            status = receiver.answers.pop(0) if len(receiver.answers) > 1 else receiver.answers[0]
            self.send_response(status)
            if status == 302:
                self.send_header("location", receiver.url)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}/hooks/T0-secret-path"
    yield receiver
    server.shutdown()
    server.server_close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"SIS_PROJECT_DIR": str(tmp_path)})


def webhook(url: str, **config: Any) -> ChannelSpec:
    return ChannelSpec("webhook", {"url": url, **config})


def test_the_log_channel_writes_a_line_without_secrets(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    assert send(ALERT, settings, configured({})) == ()
    assert send(ALERT, settings, configured({})) == ()
    lines = (settings.home / "alerts.jsonl").read_text().splitlines()
    assert len(lines) == 2
    kept = json.loads(lines[0])
    assert kept["title"] == "Run of crm failed 🛬" and kept["at"] == "2026-03-01T12:00:00+00:00"
    assert kept["text"] == "cannot reach postgresql://li:***@db/crm, password=***"
    assert (kept["source"], kept["stream"], kept["run_id"], kept["severity"]) == ("crm", None, "r1", "error")
    assert "hunter2" not in caplog.text and "Run of crm failed" in caplog.text
    assert caplog.records[0].levelno == logging.ERROR


def test_any_text_can_be_sent(receiver: Receiver, settings: Settings) -> None:
    alert = Alert("\ud800\0", "info", text="x" * 1_000_000)
    assert send(alert, settings, [ChannelSpec("log"), webhook(receiver.url)]) == ()
    assert len(json.loads(receiver.got[0][1])["text"]) == 4_000


def test_lines_of_four_processes_do_not_mix(settings: Settings) -> None:
    code = (
        "import sys, logging; logging.disable()\n"
        "from superinsight_sync.core.settings import load_settings\n"
        "from superinsight_sync.monitoring.alerts import Alert, ChannelSpec, send\n"
        "s = load_settings({'SIS_HOME': sys.argv[1]})\n"
        "for n in range(100): send(Alert(str(n), 'error', text='x ' * 4500), s, [ChannelSpec('log')])"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(settings.home)]) for _ in range(4)]
    assert [p.wait(60) for p in processes] == [0, 0, 0, 0]
    lines = (settings.home / "alerts.jsonl").read_text().splitlines()
    assert sorted(int(json.loads(line)["title"]) for line in lines) == sorted(list(range(100)) * 4)


def test_a_webhook_gets_the_alert_as_json(receiver: Receiver, settings: Settings) -> None:
    assert send(ALERT, settings, [webhook(receiver.url)]) == ()
    ((headers, body),) = receiver.got
    assert headers["content-type"] == "application/json"
    assert json.loads(body) == ALERT.payload()
    assert b"hunter2" not in body
    assert "webhook-signature" not in headers


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        ("whsec_" + base64.b64encode(b"\x00\xff key").decode(), b"\x00\xff key"),
        ("plain ä", "plain ä".encode()),
    ],
)
def test_a_signed_webhook_can_be_verified(
    receiver: Receiver, settings: Settings, monkeypatch: pytest.MonkeyPatch, secret: str, key: bytes
) -> None:
    monkeypatch.setenv("SIS_ALERTS", " log, webhook ,log,")
    monkeypatch.setenv("SIS_ALERT_WEBHOOK_URL", receiver.url)
    monkeypatch.setenv("SIS_ALERT_WEBHOOK_SECRET", secret)
    assert [c.name for c in configured()] == ["log", "webhook"]
    assert send(ALERT, settings) == ()
    ((headers, body),) = receiver.got
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    assert (settings.home / "alerts.jsonl").exists()


def test_the_signature_is_that_of_the_specifications_example(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    monkeypatch.setattr(
        "superinsight_sync.monitoring.channels.webhook.utc_now",
        lambda: datetime.fromtimestamp(1614265330, UTC),
    )
    channel: Any = open_channel(webhook("https://h/x", secret="{{ env.S }}"), settings)
    signed = channel._signed("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}')
    assert signed["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_webhook_is_tried_again_under_the_same_id(receiver: Receiver, settings: Settings) -> None:
    receiver.answers = [500, 429, 503, 200]
    assert send(ALERT, settings, [webhook(receiver.url)]) == ()
    assert len(receiver.got) == 4
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1


@pytest.mark.parametrize(
    ("status", "error", "posts"),
    [(500, TransientError, 4), (401, AccessError, 1), (404, ConfigError, 1), (302, ConfigError, 1)],
)
def test_a_refusal_is_told_by_its_class_and_never_raises(
    receiver: Receiver,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    status: int,
    error: type,
    posts: int,
) -> None:
    receiver.answers = [status]
    told: list[tuple[Alert, str, SisError]] = []
    failed = send(ALERT, settings, [webhook(receiver.url)], on_failure=lambda *a: told.append(a))
    assert failed == ("webhook",)
    assert [(a, name, type(e)) for a, name, e in told] == [(ALERT, "webhook", error)]
    assert str(told[0][2]).startswith(f"webhook at 127.0.0.1: answered {status}")
    assert len(receiver.got) == posts
    assert "T0-secret-path" not in caplog.text and "not sent" in caplog.text


def test_a_slow_or_absent_receiver_is_given_up(receiver: Receiver, settings: Settings) -> None:
    receiver.delay_s = 600.0
    slow = webhook(receiver.url, timeout_s=0.2, retries=1)
    absent = webhook("http://127.0.0.1:1/x", retries=0)
    told: list[str] = []
    send(ALERT, settings, [slow, absent, ChannelSpec("log")], on_failure=lambda *a: told.append(str(a[2])))
    receiver.over.set()
    assert told == [
        "webhook at 127.0.0.1: no answer (ReadTimeout)",
        "webhook at 127.0.0.1: no answer (ConnectError)",
    ]
    assert (settings.home / "alerts.jsonl").exists(), "the channel after it is still used"


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://h/x", "gopher://h", "h/x", "http://", "http://[::1"]
)
def test_only_http_urls_are_posted_to(settings: Settings, url: str) -> None:
    with pytest.raises(ConfigError, match=r"http or https URL|cannot be read"):
        open_channel(webhook(url), settings)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (ChannelSpec("pager"), "unknown alert channel 'pager'.*Valid: log, smtp, webhook"),
        (webhook("https://h", secret="hunter2"), "secret: .*write a reference"),
        (webhook("https://h", colour="red"), "colour: Extra inputs are not permitted"),
        (webhook("{{ env.SIS_NOT_SET }}"), "environment variable SIS_NOT_SET is not set"),
        (ChannelSpec("webhook"), "url: Field required"),
    ],
)
def test_a_wrong_channel_says_what_to_change_and_stops_nothing(
    settings: Settings, spec: ChannelSpec, words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        open_channel(spec, settings)
    assert "hunter2" not in str(caught.value)
    assert send(ALERT, settings, [spec, ChannelSpec("log")]) == (spec.name,)
    assert (settings.home / "alerts.jsonl").exists()


def test_an_alert_that_was_not_sent_is_kept_as_a_dead_letter(settings: Settings) -> None:
    keep = alerts.keep_as_dead_letter(lambda: open_state(settings.database_url))
    send(ALERT, settings, [webhook("http://127.0.0.1:1/x", retries=0)], on_failure=keep)
    (letter,) = open_state(settings.database_url).dead_letters.list(state="open")
    assert (letter.verb, letter.target, letter.error_class) == ("alert", "webhook", "TransientError")
    assert letter.payload == ALERT.payload() and "hunter2" not in str(letter)


def test_a_state_that_cannot_be_reached_stops_nothing_either(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    keep = alerts.keep_as_dead_letter(lambda: open_state("sqlite:////proc/nowhere/state.db"))
    assert send(ALERT, settings, [ChannelSpec("webhook")], on_failure=keep) == ("webhook",)
    assert "not kept either" in caplog.text


def test_a_home_that_cannot_be_written_is_told(settings: Settings) -> None:
    settings.home.write_text("a file where the folder should be")
    assert send(ALERT, settings, [ChannelSpec("log")]) == ("log",)


def test_importing_alerts_loads_no_http_client() -> None:
    code = (
        "import sys, superinsight_sync.monitoring.alerts as a\n"
        "[a.CHANNELS.config(n) for n in a.CHANNELS.names()]\n"
        "sys.exit('httpx' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
