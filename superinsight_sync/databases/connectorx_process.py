"""A statement read by connectorx in a process of its own.

While connectorx waits for the server it holds Python's lock: nothing else of its process runs, neither a stop of the
pull nor the renewal of its lease nor other streams. So it waits in a child, which costs 0.2 s of CPU and a copy of the
batches. The child gets what it needs, the password among it, by its input, and answers in frames: a letter, the length
of what follows, and that.
"""

import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

_CHILD = "from superinsight_sync.databases.connectorx_process import serve; serve()"
_SCHEMA, _BATCH, _ERROR, _END = b"S", b"B", b"E", b"Z"
_HEAD = struct.Struct("<cQ")


class Reading:
    """A child at work."""

    def __init__(self, **how: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a Rust panic may print what it was given
        )
        self._how = how
        self.done = False
        """Whether all has been read."""

    def batches(self) -> "Iterator[pa.RecordBatch]":
        """What the statement gives. Raises RuntimeError with connectorx's text, or if the child ended."""
        import pyarrow as pa

        self._tell()
        schema: pa.Schema | None = None
        while True:
            kind, content = self._frame()
            if kind == _SCHEMA:
                schema = pa.ipc.read_schema(pa.py_buffer(content))
            elif kind == _BATCH:
                yield pa.ipc.read_record_batch(pa.py_buffer(content), schema)
            elif kind == _ERROR:
                raise RuntimeError(content.decode())
            else:
                self.done = True
                return

    def kill(self) -> None:
        """Ends the child at once: who waits for it gets a RuntimeError."""
        self._process.kill()

    def close(self) -> None:
        """Ends the child and forgets it."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream
            with suppress(BrokenPipeError):
                stream.close()
        self._process.wait()

    def _tell(self) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(self._how).encode())
            self._process.stdin.close()
        except BrokenPipeError:
            raise _ended() from None

    def _frame(self) -> tuple[bytes, bytes]:
        assert self._process.stdout
        kind, length = _HEAD.unpack(_exactly(self._process.stdout, _HEAD.size))
        return kind, _exactly(self._process.stdout, length)


def _exactly(stream: IO[bytes], length: int) -> bytes:
    found = stream.read(length)
    if len(found) < length:
        raise _ended()
    return found


def _ended() -> RuntimeError:
    return RuntimeError("connection lost: the process that reads has ended")


@contextmanager
def read_by_connectorx(**how: Any) -> Iterator[Reading]:
    """A child for one read.

    Args:
        how: arguments of `connectorx.read_sql`.
    """
    reading = Reading(**how)
    try:
        yield reading
    finally:
        reading.close()


def serve() -> None:
    """The child's side: reads once and ends."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to heed
    how, out = json.load(sys.stdin.buffer), sys.stdout.buffer

    def send(kind: bytes, content: Any = b"") -> None:
        out.write(_HEAD.pack(kind, len(content)))
        out.write(content)
        out.flush()

    try:
        _serve(how, send)
    except BrokenPipeError:
        sys.exit(1)


def _serve(how: dict[str, Any], send: Any) -> None:
    import connectorx

    try:
        reader: Any = connectorx.read_sql(**how, return_type="arrow_stream")
        send(_SCHEMA, reader.schema.serialize())
        for batch in reader:
            send(_BATCH, batch.serialize())
    except RuntimeError as error:
        send(_ERROR, str(error).encode())
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        send(_ERROR, str(error).encode())
    else:
        send(_END)
