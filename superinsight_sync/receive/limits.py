"""Bodies are unpacked within bounds: what would grow too big is refused while it grows."""

import zlib

from superinsight_sync.receive.refusals import MalformedError, TooLargeError, UnsupportedError

ENCODINGS = ("", "identity", "gzip", "deflate")
_STEP_BYTES = 1 << 20
_WINDOW_BITS = {"gzip": 31, "deflate": 15}


def unpacked(body: bytes, encoding: str, limit_bytes: int) -> bytes:
    """The body without its compression (``gzip``, ``deflate``, or none); also several gzip files in a row.

    Raises:
        TooLargeError: it would come to more than `limit_bytes`. MalformedError: it is broken or cut short.
        UnsupportedError: another compression.
    """
    if encoding in ("", "identity"):
        if len(body) > limit_bytes:
            raise TooLargeError(f"more than {limit_bytes} bytes")
        return body
    if encoding not in _WINDOW_BITS:
        raise UnsupportedError("this compression is not accepted", hint="Send gzip, deflate or none")
    parts: list[bytes] = []
    total = 0
    rest = body
    while rest or not parts:
        stream = zlib.decompressobj(_WINDOW_BITS[encoding])
        while not stream.eof:
            try:
                part = stream.decompress(rest, min(_STEP_BYTES, limit_bytes - total + 1))
            except zlib.error:
                raise MalformedError(f"the body is no valid {encoding}") from None
            rest = stream.unconsumed_tail
            total += len(part)
            if total > limit_bytes:
                raise TooLargeError(f"unpacked, it has more than {limit_bytes} bytes")
            if not part and not rest and not stream.eof:
                raise MalformedError(f"the body's {encoding} ends too early")
            parts.append(part)
        rest = stream.unused_data
        if rest and encoding != "gzip":
            raise MalformedError("there is something behind the compressed body")
    return b"".join(parts)
