"""`Retry-After`: seconds or a date, and never longer than a day."""

from datetime import UTC, datetime

import pytest

from iii_client.service.retry_after import DEFAULT_RETRY_AFTER_S, MAX_RETRY_AFTER_S, parse_retry_after

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        ("Tue, 24 Nov 2026 12:01:30 GMT", 90.0),
        ("Tue, 24 Nov 2026 11:00:00 GMT", 0.0),
        ("Tue, 24 Nov 2026 13:01:30 +0100", 90.0),
        ("99999999999", MAX_RETRY_AFTER_S),
        ("9" * 100_000, MAX_RETRY_AFTER_S),
        ("Fri, 24 Nov 2056 12:00:00 GMT", MAX_RETRY_AFTER_S),
        ("", DEFAULT_RETRY_AFTER_S),
        ("soon", DEFAULT_RETRY_AFTER_S),
        ("-5", DEFAULT_RETRY_AFTER_S),
        ("1.5", DEFAULT_RETRY_AFTER_S),
        ("²", DEFAULT_RETRY_AFTER_S),
        ("Tue, 99 Nov 2026 12:01:30 GMT", DEFAULT_RETRY_AFTER_S),
    ],
)
def test_seconds_and_dates_are_read_and_capped(text: str, seconds: float) -> None:
    assert parse_retry_after(text, now=NOW) == seconds


def test_what_cannot_be_read_is_the_callers_default() -> None:
    assert parse_retry_after("soon", now=NOW, default_s=900.0) == 900.0
    assert parse_retry_after("7", now=NOW, default_s=900.0) == 7.0
