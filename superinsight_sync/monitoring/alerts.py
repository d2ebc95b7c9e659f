"""Alerts: what people are told when something fails, through the channels that are configured."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from pydantic import ValidationError

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import ConfigError, SisError
from superinsight_sync.core.plugins import Registry
from superinsight_sync.core.settings import Settings
from superinsight_sync.state import State
from superinsight_sync.state.database import clean

_log = logging.getLogger(__name__)

Severity = Literal["info", "warning", "error", "critical"]


@dataclass(frozen=True)
class Alert:
    """What happened, to whom it matters and where to look.

    `stream` names the streams where one alert is about several; `url` leads to the run; `owners` are those of the
    declaration, teams and addresses. Texts may hold secrets.
    """

    title: str
    severity: Severity
    source: str | None = None
    stream: str | None = None
    run_id: str | None = None
    error_class: str | None = None
    text: str = ""
    url: str | None = None
    at: datetime = field(default_factory=utc_now)
    owners: tuple[str, ...] = ()

    def payload(self) -> dict[str, str | list[str] | None]:
        """What leaves the process: JSON-like, without secrets. Channels send this and nothing else."""
        return {
            "title": clean(self.title),
            "severity": self.severity,
            "source": self.source,
            "stream": self.stream,
            "run_id": self.run_id,
            "error_class": self.error_class,
            "text": clean(self.text),
            "url": None if self.url is None else clean(self.url),
            "at": self.at.isoformat(),
            "owners": list(self.owners),
        }


class Channel(Protocol):
    """One way to tell people; one file in `channels/` is one channel, its `Config` what it needs."""

    def __init__(self, config: Any, settings: Settings) -> None: ...

    def send(self, alert: Alert) -> None:
        """Tells them, or raises TransientError, AccessError or ConfigError."""
        ...


CHANNELS: Registry[Channel] = Registry("superinsight_sync.monitoring.channels", "alert channel")


@dataclass(frozen=True)
class ChannelSpec:
    """A configured channel: its name and the keys of its `Config`."""

    name: str
    config: Mapping[str, Any] = field(default_factory=dict)


OnFailure = Callable[[Alert, str, SisError], None]
"""Told the alert, the channel's name and the error when a channel failed."""


def configured(env: Mapping[str, str] | None = None) -> tuple[ChannelSpec, ...]:
    """The channels that ``SIS_ALERTS`` names (``log,webhook,smtp``), ``log`` if it is not set. Never raises."""
    env = os.environ if env is None else env
    names = [name.strip() for name in (env.get("SIS_ALERTS") or "log").split(",")]
    webhook = {"url": "{{ env.SIS_ALERT_WEBHOOK_URL }}"}
    if env.get("SIS_ALERT_WEBHOOK_SECRET"):
        webhook["secret"] = "{{ env.SIS_ALERT_WEBHOOK_SECRET }}"
    smtp = {"url": "{{ env.SIS_ALERT_SMTP_URL }}", "sender": env.get("SIS_ALERT_MAIL_FROM") or ""}
    if env.get("SIS_ALERT_MAIL_TO"):
        smtp["to"] = env["SIS_ALERT_MAIL_TO"]
    needs = {"webhook": webhook, "smtp": smtp}
    return tuple(ChannelSpec(n, needs.get(n, {})) for n in dict.fromkeys(names) if n)


def open_channel(spec: ChannelSpec, settings: Settings) -> Channel:
    """The channel of a spec. Raises ConfigError naming the unknown channel or the wrong key."""
    try:
        config = CHANNELS.config(spec.name)(**spec.config)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "configuration"
        raise ConfigError(f"{key}: {first['msg']}", where=f"alert channel '{spec.name}'") from None
    return CHANNELS.load(spec.name)(config, settings)


def send(
    alert: Alert,
    settings: Settings,
    channels: Sequence[ChannelSpec] | None = None,
    *,
    on_failure: OnFailure | None = None,
) -> tuple[str, ...]:
    """Sends the alert through every channel; the names of those that failed.

    A channel that is misconfigured or fails is logged and told to `on_failure`. None of it raises: what the
    alert is about matters more than the alert.
    """
    failed = []
    for spec in configured() if channels is None else channels:
        try:
            open_channel(spec, settings).send(alert)
        except SisError as error:
            failed.append(spec.name)
            _log.error(
                "alert '%s' not sent: %s", clean(alert.title), error.at(f"alert channel '{spec.name}'")
            )
            _tell(on_failure, alert, spec.name, error)
    return tuple(failed)


def _tell(on_failure: OnFailure | None, alert: Alert, channel: str, error: SisError) -> None:
    if on_failure is None:
        return
    try:
        on_failure(alert, channel, error)
    except SisError as second:
        _log.error("alert '%s' is not kept either: %s", clean(alert.title), second)


def keep_as_dead_letter(open_state: Callable[[], State]) -> OnFailure:
    """An `on_failure` that keeps the alert in our state, which is opened only if a channel fails."""

    def keep(alert: Alert, channel: str, error: SisError) -> None:
        open_state().dead_letters.add(
            verb="alert",
            target=channel,
            payload=alert.payload(),
            error=error,
        )

    return keep
