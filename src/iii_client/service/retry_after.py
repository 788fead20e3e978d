"""`Retry-After`: how long a server asks to be left alone (RFC 9110 §10.2.3). Pure, no I/O."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

#: Longest wait that is believed: a day, the ceiling of the back-off. Nobody waits it out inline.
MAX_RETRY_AFTER_S = 24 * 3600.0
#: What a 429 without a readable `Retry-After` stands for.
DEFAULT_RETRY_AFTER_S = 1.0


def parse_retry_after(text: str, *, now: datetime, default_s: float = DEFAULT_RETRY_AFTER_S) -> float:
    """Seconds to wait, from whole seconds or an HTTP date.

    Args:
        text: the header, empty when there is none.
        now: this machine's clock, aware; a date is compared with it.
        default_s: for a text that is neither.

    Returns:
        0 to `MAX_RETRY_AFTER_S`, or `default_s`.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        # Ten digits are three centuries; int() of a megabyte of them would be slow.
        return min(float(text[:10]), MAX_RETRY_AFTER_S)
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return default_s
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return min(max(0.0, (until - now).total_seconds()), MAX_RETRY_AFTER_S)
