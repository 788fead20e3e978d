"""When a base is due, and how much deltas may add until then."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from iii_client.model import Algorithm
from iii_client.publisher.due import BASE_EVERY, DELTAS_BEFORE_BASE, State, allowed_bits, base_reasons

NOON = datetime(2030, 6, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
QUIET = State(
    base_age=DAY,
    deltas=3,
    added={},
    removed=0,
    room={Algorithm.MD5: 100},
    allowed={Algorithm.MD5: 10},
    near_ready={},
    near_pending=False,
    withdrawn_changed=False,
    described_changed=False,
)


def test_nothing_new_and_a_few_new_hashes_need_no_base() -> None:
    assert base_reasons(QUIET) == ()
    assert base_reasons(replace(QUIET, added={Algorithm.MD5: 10})) == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"base_age": None}, "there is none yet"),
        ({"added": {Algorithm.SHA1: 1}}, "there is no section for sha1 hashes yet"),
        ({"added": {Algorithm.MD5: 101}}, "101 new md5 hashes, the section has room for 100"),
        ({"added": {Algorithm.MD5: 11}}, "11 new md5 hashes, deltas may add 10 now"),
        (
            {"near_ready": {Algorithm.PDQ: 12_000}},
            "12,000 new pdq hashes have gathered for a near segment",
        ),
        ({"near_pending": True}, "a near segment was built and is in no base yet"),
        ({"deltas": DELTAS_BEFORE_BASE}, "there are 1,000 deltas since the last one"),
    ],
)
def test_a_base_is_due_and_it_is_said_why(change: dict[str, Any], reason: str) -> None:
    assert base_reasons(replace(QUIET, **change)) == (reason,)


@pytest.mark.parametrize(
    "change",
    [
        {"added": {Algorithm.MD5: 1}},
        {"removed": 1},
        {"withdrawn_changed": True},
        {"described_changed": True},
    ],
)
def test_what_can_wait_waits_for_a_month(change: dict[str, Any]) -> None:
    changed = replace(QUIET, **change)
    assert base_reasons(changed) == ()
    assert base_reasons(replace(changed, base_age=BASE_EVERY)) == ("the last one is 30 days old",)
    assert base_reasons(replace(QUIET, base_age=3 * BASE_EVERY)) == (), "a base of the same is none"


def allowed(*set_before: tuple[timedelta, int], base_age: timedelta = 10 * DAY) -> int:
    return allowed_bits(
        1_000_000,
        base_at=NOON - base_age,
        set_before=[(NOON - age, bits) for age, bits in set_before],
        now=NOON,
        day_ratio=0.005,
    )


def test_a_day_s_share_may_be_set_at_once_and_then_nothing_for_two_days() -> None:
    """A client's day of 24 hours may begin and end anywhere within two of the publisher's."""
    assert allowed() == 5000
    assert allowed((timedelta(0), 2000)) == 3000
    assert allowed((timedelta(hours=47), 5000)) == 0
    assert allowed((timedelta(hours=48), 5000)) == 5000
    assert allowed((DAY, 3000), (3 * DAY, 5000)) == 2000


def test_a_fresh_client_takes_all_deltas_at_once_and_must_accept_them() -> None:
    assert allowed(base_age=timedelta(0)) == 5000
    assert allowed((timedelta(hours=1), 4000), base_age=timedelta(hours=2)) == 1000
    assert allowed((3 * DAY, 18_000), base_age=4 * DAY) == 2000
    assert allowed((3 * DAY, 30_000), base_age=4 * DAY) == 0
