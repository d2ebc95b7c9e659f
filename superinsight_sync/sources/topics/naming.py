"""Stream names for topics."""

import re


def stream_name(topic: str, taken: set[str]) -> str:
    """A stream name that is not in `taken`, and is from now on."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", topic).lower()
    text = re.sub(r"[^a-z0-9]+", "_", words).strip("_")
    text = (text if text[:1].isalpha() else f"topic_{text}".rstrip("_"))[:56]
    number, name = 1, text
    while name in taken:
        number += 1
        name = f"{text}_{number}"
    taken.add(name)
    return name
