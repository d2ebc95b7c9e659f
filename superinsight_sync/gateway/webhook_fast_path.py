"""The short way of a webhook that came whole: no task, no middleware, its answer in one piece.

It passes the same checks as on the long way, in the same order, and waits for the same commit.
"""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from superinsight_sync.core.errors import SisError
from superinsight_sync.gateway.access import Pairs, headers_by_name
from superinsight_sync.gateway.answers import Answer, refusal
from superinsight_sync.gateway.bodies import check_length, check_size
from superinsight_sync.gateway.middleware import SECURITY_HEADERS, log_failure, request_id_of
from superinsight_sync.gateway.storing import told
from superinsight_sync.gateway.webhooks import checked, let_in
from superinsight_sync.security.networks import Networks, client_address
from superinsight_sync.state.inbox_writer import Delivery, Result

if TYPE_CHECKING:
    from superinsight_sync.gateway.context import Gate

Client = tuple[str, int] | None
Respond = Callable[[int, bytes], None]
"""Takes a status, and what comes behind the status line: headers, an empty line, the body."""
_SECURITY = b"".join(b"%b: %b\r\n" % pair for pair in SECURITY_HEADERS)


class Direct:
    """Takes webhooks for one application.

    Args:
        prefix: the path in front of a source's name.
        proxies: those whose ``X-Forwarded-For`` is believed.
    """

    def __init__(self, gate: "Gate", prefix: str, proxies: Networks) -> None:
        self._gate, self._proxies = gate, proxies
        self._address = re.compile(re.escape(prefix.encode()) + rb"[A-Za-z0-9_-]+")
        self._prefix = len(prefix)

    def is_for(self, url: bytes) -> bool:
        """Whether it is the address of a webhook, plainly written."""
        return self._address.fullmatch(url) is not None

    def take(self, url: bytes, headers: Pairs, body: bytes, client: Client, respond: Respond) -> None:
        """Takes one event, of at most `inbox.BIG_BODY_BYTES`. `respond` is called once: now, or when it is on the
        disk."""
        gate = self._gate
        request_id = request_id_of(headers)
        gate.crowd.count += 1

        def tell(result: Result) -> None:
            gate.crowd.count -= 1
            try:
                if isinstance(result, SisError):
                    raise result
                answer = told(result)
            except SisError as error:
                log_failure(error, request_id)
                answer = refusal(error, {"request_id": request_id.decode()})
            respond(answer.status, behind_status(answer, request_id))

        try:
            gate.crowd.check()
            gate.taking.submit(self._checked(url, headers, body, client), tell)
        except SisError as error:
            tell(error)
        except BaseException:  # of our own making: the server cuts the connection
            gate.crowd.count -= 1
            raise

    def _checked(self, url: bytes, pairs: Pairs, body: bytes, client: Client) -> Delivery:
        headers = headers_by_name(pairs)
        if self._proxies and client is not None:
            forwarded = headers.get("x-forwarded-for", "")
            client = (str(client_address(client[0], [forwarded], self._proxies) or ""), 0)
        entered = let_in(self._gate, url[self._prefix :].decode(), headers, client)
        check_length(headers, entered.limits.body)
        check_size(body, entered.limits.body)
        return checked(self._gate, entered, headers, body)


def behind_status(answer: Answer, request_id: bytes) -> bytes:
    """A whole answer as it goes over the wire, behind the status line and the server's own headers."""
    more = b"".join(b"%b: %b\r\n" % pair for pair in answer.headers) if answer.headers else b""
    return b"content-type: %b\r\ncontent-length: %d\r\n%b%bx-request-id: %b\r\n\r\n%b" % (
        answer.media_type,
        len(answer.body),
        more,
        _SECURITY,
        request_id,
        answer.body,
    )
