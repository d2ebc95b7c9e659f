"""What the routes share, and what is watched while they work."""

import asyncio
import logging
import shutil
from typing import Protocol

from superinsight_sync.core.errors import SisError
from superinsight_sync.core.private import make_private_folder
from superinsight_sync.gateway.answers import RequestError
from superinsight_sync.gateway.bodies import Room
from superinsight_sync.gateway.middleware import Crowd
from superinsight_sync.gateway.receivers import Receiver, Receivers
from superinsight_sync.gateway.sessions import Sessions
from superinsight_sync.gateway.storing import Taking
from superinsight_sync.gateway.streams import Streams
from superinsight_sync.gateway.uploads import Uploading
from superinsight_sync.security.access import Access
from superinsight_sync.state.inbox import Inbox

_LOOK_S = 2.0
_LEAST_FREE = 0.05
_log = logging.getLogger(__name__)


class Rate(Protocol):
    """A limit of a tenant's requests by time, such as `security.rate_limits.RateLimit`."""

    def take(self, key: str) -> float:
        """Counts one; seconds to wait if it is one too many, else 0."""
        ...


class Gate:
    """One for an application. `taking` and `uploading` are there while it serves.

    Attributes:
        bodies: what is read of batches. unsigned: of webhooks, whose signature is known only when all is there.
    """

    taking: Taking
    uploading: Uploading

    def __init__(self, inbox: Inbox, receivers: Receivers, access: Access, rate: Rate | None) -> None:
        self.inbox, self.receivers, self.access, self.rate = inbox, receivers, access, rate
        self.is_ready = False
        self.trouble = "the gateway is starting"
        self.sessions, self.streams = Sessions(), Streams()
        self.crowd = Crowd()
        self.bodies, self.unsigned = Room(256 << 20), Room(128 << 20)

    def spend(self, receiver: Receiver) -> None:
        """Counts what comes without a key of its own: a webhook, or messages of a connection that is open.
        Raises RequestError (429)."""
        if self.rate is not None and (wait_s := self.rate.take(receiver.tenant)) > 0:
            raise RequestError(429, "too many pushes of this tenant", retry_after_s=wait_s)

    def check_room(self) -> None:
        """Raises RequestError (503) while the disk is full or the inbox cannot be reached."""
        if not self.is_ready:
            raise RequestError(503, "the gateway cannot take it now", hint="Send it again later")

    async def watch(self) -> None:
        """Looks every two seconds at what waits and at the disk, until it is cancelled."""
        while True:
            try:
                await asyncio.to_thread(self._look)
                self.is_ready = True
            except (SisError, OSError) as error:
                self.is_ready, self.trouble = False, str(error)
                _log.warning("the gateway is not ready: %s", error)
            await asyncio.sleep(_LOOK_S)

    def _look(self) -> None:
        if not self.taking.writer.is_usable:
            raise OSError("the inbox's writer has ended; the gateway has to be started again")
        self.access.write_used()
        waiting = self.inbox.waiting()
        for receiver in self.receivers:
            receiver.waiting = waiting.get((receiver.tenant, receiver.name), 0)
        for folder in self.inbox.folders:
            make_private_folder(folder)
            usage = shutil.disk_usage(folder)
            if usage.free < _LEAST_FREE * usage.total:
                raise OSError(f"less than {_LEAST_FREE:.0%} of the disk of {folder} is free")
