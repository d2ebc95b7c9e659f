"""`webhook`: a JSON POST, signed after the Standard Webhooks specification (standardwebhooks.com, 1.0).

Headers: ``webhook-id`` (the same in every repeat), ``webhook-timestamp`` (seconds), and with a secret
``webhook-signature: v1,<base64 of HMAC-SHA256 of id.timestamp.body>``.
"""

import base64
import binascii
import hashlib
import hmac
import json
import uuid
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from superinsight_sync.core.clock import utc_now
from superinsight_sync.core.errors import AccessError, ConfigError, SisError, TransientError
from superinsight_sync.core.plugins import PluginConfig
from superinsight_sync.core.retry import RetryPolicy, with_retry
from superinsight_sync.core.settings import Settings
from superinsight_sync.monitoring.alerts import Alert
from superinsight_sync.security.secrets import references, resolve


class Config(PluginConfig):
    """Where to post. The URL of a webhook is often a secret itself: a reference keeps it out of the YAML."""

    url: str
    secret: str | None = None
    """A reference to the signing secret: ``{{ env.NAME }}``; the value is ``whsec_<base64>`` or any text."""
    timeout_s: float = Field(default=5.0, gt=0)
    """For each of connecting, sending and waiting for the answer."""
    retries: int = Field(default=3, ge=0, le=10)

    @field_validator("secret")
    @classmethod
    def _is_reference(cls, value: str | None) -> str | None:
        if value is not None and not references(value):
            raise ValueError(
                'write a reference, such as "{{ env.SIS_ALERT_WEBHOOK_SECRET }}", not the secret'
            )
        return value


class WebhookChannel:
    """Posts to an http(s) URL; follows no redirect."""

    def __init__(self, config: Config, settings: Settings) -> None:
        self._config = config
        self._url = resolve(config.url)
        try:
            parts = urlsplit(self._url)
            host, self._where = parts.hostname, f"webhook at {parts.hostname}"
        except ValueError:
            raise ConfigError("the webhook's URL cannot be read", hint="Write https://host/path") from None
        if parts.scheme not in ("http", "https") or not host:
            raise ConfigError(
                f"a webhook needs an http or https URL, not '{parts.scheme}'", hint="Write https://host/path"
            )
        self._key = _key(resolve(config.secret)) if config.secret else None
        self._retry = RetryPolicy(retries=config.retries, base_s=0.2, max_s=5.0)

    def send(self, alert: Alert) -> None:
        """Posts it. Raises TransientError after the retries, AccessError on 401 and 403, else ConfigError."""
        body = json.dumps(alert.payload(), ensure_ascii=False).encode()
        identity = f"msg_{uuid.uuid4().hex}"
        with_retry(lambda: self._post(identity, body), self._retry)

    def _post(self, identity: str, body: bytes) -> None:
        import httpx

        headers = {"content-type": "application/json", **self._signed(identity, body)}
        try:
            with (
                httpx.Client(timeout=self._config.timeout_s, follow_redirects=False) as client,
                client.stream("POST", self._url, content=body, headers=headers) as answer,
            ):
                status = answer.status_code
        except httpx.InvalidURL:
            raise ConfigError("its URL cannot be read", where=self._where) from None
        except httpx.HTTPError as error:
            # The library's own text may repeat the URL, which may be the secret.
            raise TransientError(f"no answer ({type(error).__name__})", where=self._where) from None
        if not 200 <= status < 300:
            raise _refused(status, self._where)

    def _signed(self, identity: str, body: bytes) -> dict[str, str]:
        timestamp = str(int(utc_now().timestamp()))
        headers = {"webhook-id": identity, "webhook-timestamp": timestamp}
        if self._key is not None:
            signed = b".".join((identity.encode(), timestamp.encode(), body))
            digest = hmac.new(self._key, signed, hashlib.sha256).digest()
            headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
        return headers


def _refused(status: int, where: str) -> SisError:
    text = f"answered {status}"
    if status in (408, 425, 429) or status >= 500:
        return TransientError(text, where=where)
    if status in (401, 403):
        return AccessError(text, where=where, hint="Check the URL and SIS_ALERT_WEBHOOK_SECRET")
    return ConfigError(text, where=where, hint="Check the URL; redirects are not followed")


def _key(secret: str) -> bytes:
    if not secret.startswith("whsec_"):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raise ConfigError("the webhook's secret starts with whsec_ but is not base64") from None


PLUGIN = WebhookChannel
