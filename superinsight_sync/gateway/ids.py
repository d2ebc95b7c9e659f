"""Ids of requests and deliveries: unique, and cheap, since there is one for each."""

import itertools
import os
import uuid

_counters: dict[int, tuple[str, "itertools.count[int]"]] = {}


def new_id() -> str:
    """32 hex digits: 20 that this process drew at random, and 12 that count."""
    found = _counters.get(os.getpid())
    if found is None:
        found = _counters.setdefault(os.getpid(), (uuid.uuid4().hex[:20], itertools.count()))
    return f"{found[0]}{next(found[1]):012x}"
