"""A filter grows by so much a day, whatever is signed."""

from datetime import UTC, datetime, timedelta

import pytest

from iii_client.errors import GateError
from iii_client.model import ReleaseId
from iii_client.updates.growth import (
    Growth,
    check_growth,
    growth_from_json,
    growth_of,
    growth_to_json,
    recent,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)
RELEASE = ReleaseId(epoch=1, sequence=2)
SIZES = {"md5": 1_000_000, "sha1": 2_000_000}


def grown(hours_ago: float = 0.0, **bits: int) -> Growth:
    return Growth(at=NOW - timedelta(hours=hours_ago), bits=bits)


def check(new: Growth, *earlier: Growth, days: float = 0.0) -> None:
    check_growth(new, earlier=recent(earlier, now=NOW), sizes=SIZES, days=days, release=RELEASE)


def test_steps_of_one_update_count_together() -> None:
    assert growth_of([{"md5": 2}, {}, {"md5": 3, "sha1": 1}], now=NOW) == grown(md5=5, sha1=1)


def test_half_a_percent_a_day_may_be_added_to_each_section() -> None:
    check(grown(md5=5_000, sha1=10_000))
    for refused in (grown(md5=5_001), grown(sha1=10_001)):
        with pytest.raises(GateError, match=r"adds 0.500% or more .* at most 0.5% a day"):
            check(refused)


def test_what_was_added_within_the_day_counts() -> None:
    check(grown(md5=1_000), grown(23, md5=4_000))
    with pytest.raises(GateError, match=r"0.510%"):
        check(grown(md5=1_000), grown(23, md5=4_000), grown(1, md5=100))
    check(grown(md5=5_000), grown(25, md5=4_000))


def test_days_away_allow_as_many_days_and_never_less_than_one() -> None:
    check(grown(md5=15_000), days=3.0)
    check(grown(md5=5_000), days=-2.0)
    with pytest.raises(GateError, match=r"within 3.0 days"):
        check(grown(md5=15_001), days=3.0)


def test_rows_of_a_clock_that_was_ahead_still_count_and_there_are_never_too_many() -> None:
    with pytest.raises(GateError):
        check(grown(md5=1_000), grown(-5, md5=4_500))
    assert len(recent([grown(md5=1)] * 1_000, now=NOW)) == 287


def test_a_row_is_read_as_written_and_nothing_else_is() -> None:
    row = grown(md5=7, sha1=0)
    assert growth_from_json(growth_to_json(row)) == row
    for wrong in ({}, {"at": "x", "bits": {}}, {"at": NOW.isoformat(), "bits": []}, {"at": 1, "bits": {}}):
        with pytest.raises((KeyError, TypeError, ValueError)):
            growth_from_json(wrong)
    with pytest.raises(ValueError, match="md5"):
        growth_from_json({"at": NOW.isoformat(), "bits": {"md5": -1}})
