"""HTTP as it comes over the wire, with a bound on what is in front of a body and behind it."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 64 << 10


class BoundedHttp(HttpToolsProtocol):
    """Cuts off who sends headers, or trailers, without end: the parser alone would keep them all in memory."""

    _stuck_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Takes what came; what brings neither a head to its end nor a part of a body is counted."""
        self._stuck_bytes += len(data)
        super().data_received(data)
        if self._stuck_bytes > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"More than {HEAD_BYTES} bytes of headers.")

    def on_headers_complete(self) -> None:
        """The head has come."""
        self._stuck_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body has come."""
        self._stuck_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is at its end."""
        self._stuck_bytes = 0
        super().on_message_complete()
