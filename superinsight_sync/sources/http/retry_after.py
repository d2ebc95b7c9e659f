"""How long a server asks to be left alone."""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from superinsight_sync.core.clock import utc_now

MOST_S = 300.0
"""The longest wait that a server can ask for, where no option says another."""


def retry_after_s(headers: Mapping[str, str], most_s: float = MOST_S) -> float | None:
    """The seconds that Retry-After says, as number or date (RFC 9110, 10.2.3), at most `most_s`; None if it does not.

    Args:
        headers: those of the answer, whose names may be asked for in lower case.
    """
    text = headers.get("retry-after", "").strip()
    if text.isdecimal():
        return min(float(text), most_s)
    try:
        return min(max(0.0, (parsedate_to_datetime(text) - utc_now()).total_seconds()), most_s)
    except (ValueError, TypeError):
        return None
