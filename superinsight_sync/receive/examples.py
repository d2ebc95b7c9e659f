"""Ready commands that push to a source: what its customer's developer pastes into a terminal."""

import json
from typing import Any

from superinsight_sync.model.push import PushFormat, PushSourceSpec, PushStreamSpec
from superinsight_sync.receive.signatures import Scheme, scheme_of
from superinsight_sync.security.secrets import references

PREFIX = "/api/v1/sync/push"
_TYPES: dict[PushFormat, tuple[str, str]] = {
    "json": ("application/json", '[{"id": 1}, {"id": 2}]'),
    "ndjson": ("application/x-ndjson", '{"id": 1}\n{"id": 2}'),
    "csv": ("text/csv", "id,name\n1,a\n2,b"),
    "xml": ("application/xml", "<records><record><id>1</id></record></records>"),
}


def addresses(source: PushSourceSpec, base_url: str) -> dict[str, str]:
    """Where it takes what, by way: `batch`, `stream`, `file`, `ws` if a stream takes JSON, `webhook` if it has a
    signature."""
    root = base_url.rstrip("/") + PREFIX
    found = {
        "batch": f"{root}/batch?source={source.name}",
        "stream": f"{root}/stream?source={source.name}",
        "file": f"{root}/file?source={source.name}",
    }
    if any({"json", "ndjson"} & set(stream.formats) for stream in source.streams):
        found["ws"] = f"{root.replace('http', 'ws', 1)}/ws?source={source.name}&session=<name>"
    return {**found, "webhook": f"{root}/webhook/{source.name}"} if source.signature else found


def examples(source: PushSourceSpec, base_url: str) -> dict[str, str]:
    """Commands by name. Secrets and keys are named as variables of the shell, never shown.

    `curl` and `python` push a batch (they need PUSH_KEY); `openssl` and `python webhook`, where the source has a
    signature, sign an event.
    """
    stream = source.streams[0]
    batch = f"{addresses(source, base_url)['batch']}&stream={stream.name}"
    found = {"curl": _curl(stream, batch), "python": _python(stream, batch)}
    if source.signature is None:
        return found
    newest = source.signature.secrets[-1].value
    secret, scheme = references(newest)[0], scheme_of(source.signature)
    url = addresses(source, base_url)["webhook"]
    return {
        **found,
        "openssl": _openssl(scheme, secret, url, _event(source, 1), _named(source)),
        "python webhook": _python_webhook(scheme, secret, url, _event(source, 2), _named(source)),
    }


def _event(source: PushSourceSpec, number: int) -> str:
    """A small event that one of the streams takes. Another number makes it another event."""
    stream = next((s for s in source.streams if "json" in s.formats), source.streams[0])
    event: dict[str, Any] = {"id": number}
    if stream.record is not None:
        event = _set({}, stream.record, {"id": number})
    if source.event_type is not None:
        named = next((e.replace("*", "test") for e in stream.events), "test")
        event = _set(event, source.event_type, named)
    return json.dumps(event)


def _named(source: PushSourceSpec) -> list[tuple[str, str]]:
    """The header that says which event it is."""
    if source.event_header is None:
        return []
    stream = next((s for s in source.streams if "json" in s.formats), source.streams[0])
    return [(source.event_header, next((e.replace("*", "test") for e in stream.events), "test"))]


def _set(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    *steps, last = path.split(".")
    inner = document
    for step in steps:
        inner = inner.setdefault(step, {})
    inner[last] = value
    return document


def _curl(stream: PushStreamSpec, url: str) -> str:
    media, body = _TYPES[stream.formats[0]]
    return (
        f"curl --fail-with-body '{url}' \\\n"
        '  -H "authorization: Bearer $PUSH_KEY" \\\n'
        f"  -H 'content-type: {media}' \\\n"
        f"  --data-binary '{body}'"
    )


def _python(stream: PushStreamSpec, url: str) -> str:
    media, body = _TYPES[stream.formats[0]]
    return f"""import os
import urllib.request

request = urllib.request.Request(
    {url!r},
    data={body.encode()!r},
    headers={{
        "authorization": "Bearer " + os.environ["PUSH_KEY"],
        "content-type": {media!r},
        "idempotency-key": "shift-1",  # the same key again is the same delivery
    }},
)
print(urllib.request.urlopen(request).read().decode())"""


def _openssl(scheme: Scheme, secret: str, url: str, body: str, more: list[tuple[str, str]]) -> str:
    key = f'$(printf %s "${secret}" | od -An -v -tx1 | tr -d " \\n")'
    if scheme.base64_secret:
        key = f'$(printf %s "${{{secret}#whsec_}}" | openssl base64 -d -A | od -An -v -tx1 | tr -d " \\n")'
    signed = scheme.template.replace("{id}", "$ID").replace("{timestamp}", "$TIME").replace("{body}", "$BODY")
    encode = "openssl base64 -A" if scheme.encoding == "base64" else 'od -An -v -tx1 | tr -d " \\n"'
    signature = f"{scheme.prefix}$SIGNATURE"
    if scheme.time_field:
        signature = f"{scheme.time_field}=$TIME{scheme.separator}{signature}"
    headers = [(scheme.signature, signature)]
    headers += [(name, f"${v}") for name, v in ((scheme.id, "ID"), (scheme.time, "TIME")) if name]
    headers += more
    lines = [
        f"BODY='{body}'",
        'ID="evt_$(openssl rand -hex 8)"',
        "TIME=$(date +%s)",
        f"KEY={key}",
        f'SIGNATURE=$(printf %s "{signed}" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$KEY" -binary | {encode})',
        f"curl --fail-with-body '{url}' -H 'content-type: application/json' \\",
        *(f'  -H "{name}: {value}" \\' for name, value in headers),
        '  --data-binary "$BODY"',
    ]
    return "\n".join(lines)


def _python_webhook(scheme: Scheme, secret: str, url: str, body: str, more: list[tuple[str, str]]) -> str:
    key = f'os.environ["{secret}"].encode()'
    if scheme.base64_secret:
        key = f'base64.b64decode(os.environ["{secret}"].removeprefix("whsec_"))'
    before, after = scheme.template.split("{body}")
    parts = [f'f"{part}".encode()' for part in (before,) if part] + ["body"]
    parts += [f'f"{part}".encode()' for part in (after,) if part]
    signed = " + ".join(parts).replace("{id}", "{delivery}").replace("{timestamp}", "{now}")
    encoded = "base64.b64encode(digest).decode()" if scheme.encoding == "base64" else "digest.hex()"
    start = f"{scheme.time_field}={{now}}{scheme.separator}" if scheme.time_field else ""
    names = [(scheme.id, "delivery"), (scheme.time, "now")]
    others = "".join(f"    {name!r}: {value},\n" for name, value in names if name)
    others += "".join(f"    {name!r}: {value!r},\n" for name, value in more)
    return f"""import base64, hashlib, hmac, os, time, urllib.request, uuid

body = {body.encode()!r}
delivery, now = "evt_" + uuid.uuid4().hex, str(int(time.time()))
digest = hmac.digest({key}, {signed}, hashlib.sha256)
headers = {{
    "content-type": "application/json",
    {scheme.signature!r}: f"{start}{scheme.prefix}" + {encoded},
{others}}}
request = urllib.request.Request({url!r}, data=body, headers=headers)
print(urllib.request.urlopen(request).read().decode())"""
