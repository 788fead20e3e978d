"""Encounters in pages: the newest first, by outcome, in every kind of store."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from iii_client.model import Outcome, Receipt
from iii_client.records import Store
from iii_client.records.case_list import count_cases, newest_cases

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_pages_are_the_newest_first_and_miss_nobody(store: Store, record: Callable[..., Receipt]) -> None:
    outcomes = [Outcome.MATCHED, Outcome.UNSCANNABLE] * 3
    made = [
        record(outcome=outcome, at=NOON + timedelta(minutes=minute), value=bytes([minute]) * 32).encounter_id
        for minute, outcome in enumerate(outcomes)
    ]
    with store.reading() as tx:
        pages = [newest_cases(tx, limit=4, offset=offset) for offset in (0, 4, 8)]
        matched = newest_cases(tx, limit=10, outcome="matched")
        counts = [count_cases(tx), count_cases(tx, outcome="matched"), count_cases(tx, outcome="no_match")]
    assert [case.encounter_id for page in pages for case in page] == made[::-1]
    assert [len(page) for page in pages] == [4, 2, 0]
    assert [case.encounter_id for case in matched] == made[::2][::-1]
    assert counts == [6, 3, 0]
