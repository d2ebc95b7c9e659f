"""WebSockets as they come over the wire: who has proved nothing may send no more than a proof takes."""

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

UNPROVED_BYTES = 16 << 10
"""So many bytes, in whatever frames, are looked at of a connection before its key is known."""
PROVED = "sis.proved"
"""The extension by which the application says that it is: `scope["extensions"][PROVED]["tell"]()`."""


class Socket(WebSocketsSansIOProtocol):
    """One connection.

    A frame of one byte costs as much as a long one, and pings and parts of a message hold up no reading: so bytes are
    counted before they are taken apart. Time is counted by the application.
    """

    _unproved_bytes = 0
    _is_proved = False

    def data_received(self, data: bytes) -> None:
        """Takes what came, or cuts the connection."""
        if self.handshake_initiated and not self._is_proved:
            self._unproved_bytes += len(data)
            if self._unproved_bytes > UNPROVED_BYTES:
                self.transport.abort()
                return
        super().data_received(data)

    def handle_connect(self, event: Any) -> None:
        """The handshake has come."""
        super().handle_connect(event)
        if hasattr(self, "scope"):
            self.scope["extensions"][PROVED] = {"tell": self._prove}

    def _prove(self) -> None:
        self._is_proved = True
