"""Who acts now: the audit log names them. A door that knows its caller says so; else it is the process's user."""

import getpass
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import Literal

_acting: ContextVar["Actor | None"] = ContextVar("sis_actor", default=None)


@dataclass(frozen=True)
class Actor:
    """A person or program that does something.

    Attributes:
        kind: `user`: the operating system's user of this process; `key`: an API key; `person`: one who logged in.
        name: the user's name, the key's id, the person's name.
        origin: from where: a host, or the address of a request.
    """

    kind: Literal["user", "key", "person"]
    name: str
    origin: str


def current_actor() -> Actor:
    """Who acts in this thread or task."""
    return _acting.get() or _process_user()


@contextmanager
def acting_as(actor: Actor) -> Iterator[None]:
    """For the block, and for the threads and tasks that it starts with its context, `actor` acts."""
    token = _acting.set(actor)
    try:
        yield
    finally:
        _acting.reset(token)


@cache
def _process_user() -> Actor:
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        name = f"uid {os.getuid()}"
    return Actor("user", name, socket.gethostname())
