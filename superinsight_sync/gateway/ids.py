"""Ids of requests and deliveries: unique, and cheap, since there is one for each."""

import itertools
import os
import uuid

_prefix = ""
_count = itertools.count()


def _begin() -> None:
    global _prefix, _count
    _prefix, _count = uuid.uuid4().hex[:20], itertools.count()


_begin()
os.register_at_fork(after_in_child=_begin)


def new_id() -> str:
    """32 hex digits: 20 that this process drew at random, and 12 that count."""
    return f"{_prefix}{next(_count):012x}"
