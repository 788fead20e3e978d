"""Alarms: loud once, counted, open until a person dismisses them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.outbox_items import unconfirmed

from iii_client.errors import RecordError
from iii_client.model import ANONYMOUS
from iii_client.records import StateRecorder, Store, Transaction
from iii_client.records.alarms import dismiss, open_alarms, raise_alarm
from iii_client.records.operators import Operators
from iii_client.records.pseudonyms import PseudonymKey

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_an_alarm_that_goes_off_twice_is_one_alarm_and_one_notice(store: Store) -> None:
    with store.transaction() as tx:
        assert raise_alarm(tx, "outbox_overdue", "1 item is overdue.", now=NOON)
        assert not raise_alarm(tx, "outbox_overdue", "2 items are overdue.", now=NOON + timedelta(hours=1))
        (alarm,) = open_alarms(tx)
        notices = tx.query("SELECT kind, body FROM notice")
    assert (alarm.times, alarm.detail) == (2, "2 items are overdue.")
    assert (alarm.first_at, alarm.last_at) == (NOON, NOON + timedelta(hours=1))
    ((kind, body),) = notices
    assert kind == "alarm"
    assert json.loads(body) == {
        "alarm": "outbox_overdue",
        "detail": "1 item is overdue.",
        "at": "2026-11-24T12:00:00.000+00:00",
    }


def test_a_dismissed_alarm_is_gone_audited_with_its_operator_and_may_go_off_again(store: Store) -> None:
    with store.transaction() as tx:
        raise_alarm(tx, "flood", "Too many hits.", now=NOON)
        assert dismiss(tx, "flood", by=Operators(first="ann", second="ben"), now=NOON)
        assert open_alarms(tx) == ()
        ((kind, body),) = tx.query("SELECT kind, body FROM audit")
        assert raise_alarm(tx, "flood", "Too many hits.", now=NOON)
    assert kind == "alarm_dismissed"
    assert json.loads(body) == {"alarm": "flood", "operator": "ann", "second_operator": "ben"}


def test_dismissing_what_is_not_open_leaves_no_trace(store: Store) -> None:
    with store.transaction() as tx:
        assert not dismiss(tx, "flood", by=Operators(first="ann"), now=NOON)
        assert tx.query("SELECT count(*) FROM audit") == [(0,)]


def test_alarms_come_oldest_first_and_a_detail_is_bounded(store: Store) -> None:
    with store.transaction() as tx:
        raise_alarm(tx, "later", "x" * 10_000, now=NOON + timedelta(minutes=1))
        raise_alarm(tx, "earlier", "\0 and \udcff", now=NOON)
        first, second = open_alarms(tx)
    assert (first.kind, first.detail) == ("earlier", "\\x00 and \\udcff")
    assert len(second.detail) == 500


def test_what_could_not_be_recorded_raises_one_alarm_as_soon_as_it_can(store: Store, tmp_path: Path) -> None:
    class Refuses:
        """A store in front of the real one, whose database is away while `is_away`."""

        is_away = False

        @contextmanager
        def transaction(self) -> Iterator[Transaction]:
            if self.is_away:
                raise RecordError("away")
            with store.transaction() as tx:
                yield tx

        reading = transaction

        def close(self) -> None:
            """Nothing is open."""

    refuses = Refuses()
    recorder = StateRecorder(refuses, key=PseudonymKey(tmp_path / "encounter.key"))
    recorder.record(unconfirmed(1), ANONYMOUS)
    refuses.is_away = True
    for number in range(3):
        with pytest.raises(RecordError):
            recorder.record(unconfirmed(number), ANONYMOUS)
    refuses.is_away = False
    for number in range(2):
        recorder.record(unconfirmed(number), ANONYMOUS)
    with store.reading() as tx:
        (alarm,) = open_alarms(tx)
    assert (alarm.kind, alarm.times) == ("not_recorded", 1)
    assert alarm.detail.startswith("3 decisions")
