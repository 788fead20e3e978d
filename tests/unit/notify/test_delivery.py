"""Delivery: a notice counts when everybody has it, comes again until then, and stops nobody."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from tests.outbox_items import NOON, rows

from iii_client.errors import NotifyError, RecordError
from iii_client.model import (
    Action,
    AlarmRaised,
    LateAnswer,
    Message,
    Notice,
    NoticeKind,
    Outcome,
    ReleaseHeld,
)
from iii_client.notify import CallbackCourier, Delivery
from iii_client.records import Store
from iii_client.records.notices import add_notice

ALARM = AlarmRaised(alarm="flood", detail="Look.", at=NOON)


def answer(number: int) -> LateAnswer:
    return LateAnswer(
        encounter_id=f"e{number}",
        case_reference="",
        reference=f"obj/{number}",
        outcome=Outcome.MATCHED,
        action=Action.BLOCK,
        ruled=Action.BLOCK,
        previous_action=Action.QUARANTINE,
        rule="matched_exact",
        reasons=("service_timeout",),
        at=NOON,
    )


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


class Application:
    """Takes what `refuses` does not raise for."""

    kinds = frozenset({NoticeKind.LATE_ANSWER, NoticeKind.ALARM})

    def __init__(self, refuses: Callable[[Notice], bool] = lambda _notice: False) -> None:
        self.refuses = refuses
        self.seen: list[Notice] = []

    def deliver(self, notice: Notice) -> None:
        self.seen.append(notice)
        if self.refuses(notice):
            raise NotifyError("no", retry_after_s=100)


def add(store: Store, *messages: Message, after: timedelta = timedelta()) -> None:
    with store.transaction() as tx:
        for number, message in enumerate(messages):
            add_notice(tx, message, now=NOON + after + timedelta(milliseconds=number))


def delivery(store: Store, *couriers: Application, clock: Clock | None = None) -> Delivery:
    clock = clock or Clock()
    clock.now = max(clock.now, NOON + timedelta(seconds=1))
    return Delivery(store, couriers=couriers, clock=clock, chance=lambda: 1.0)


def test_what_was_written_arrives_as_it_was_and_once(store: Store) -> None:
    add(store, answer(1), ALARM)
    application = Application()
    deliver = delivery(store, application)
    assert deliver.deliver_due().delivered == 2
    assert deliver.deliver_due().delivered == 0
    assert [notice.message for notice in application.seen] == [answer(1), ALARM]
    assert [notice.attempts for notice in application.seen] == [1, 1]


def test_every_courier_of_the_kind_gets_it_and_it_counts_when_all_have_it(store: Store) -> None:
    add(store, answer(1))
    clock, calm, upset = Clock(), Application(), Application(lambda notice: True)
    deliver = delivery(store, calm, upset, clock=clock)
    report = deliver.deliver_due()
    assert (report.delivered, report.postponed) == (0, 1)
    clock.now += timedelta(seconds=105)
    upset.refuses = lambda notice: False
    assert deliver.deliver_due().delivered == 1
    ids = {notice.id for notice in [*calm.seen, *upset.seen]}
    assert len(calm.seen) == len(upset.seen) == 2
    assert len(ids) == 1, "the receiver knows it by its id"


def test_after_a_refusal_the_others_wait_for_the_next_round_and_are_not_counted_as_tried(
    store: Store,
) -> None:
    add(store, *map(answer, range(5)))
    clock = Clock()
    application = Application(lambda notice: notice.message == answer(0))
    deliver = delivery(store, application, clock=clock)
    assert deliver.deliver_due().postponed == 1
    assert len(application.seen) == 1
    assert rows(store, "SELECT attempts FROM notice ORDER BY created_ms") == [(1,), (0,), (0,), (0,), (0,)]
    assert deliver.deliver_due().delivered == 4, "one that is refused wedges nobody"


def test_retry_after_is_kept_and_pauses_grow(store: Store) -> None:
    add(store, answer(1))
    clock = Clock()
    application = Application(lambda notice: True)
    deliver = delivery(store, application, clock=clock)
    moments = []
    for _ in range(3):
        deliver.deliver_due()
        ((due_ms,),) = rows(store, "SELECT next_attempt_ms FROM notice")
        moments.append(due_ms / 1000 - clock.now.timestamp())
        clock.now += timedelta(seconds=moments[-1])
    assert moments == [105, 110, 120]


def test_kinds_that_nobody_takes_here_stay_for_another_process(store: Store) -> None:
    add(store, answer(1), ReleaseHeld(encounter_id="e1", at=NOON))
    assert delivery(store).deliver_due().delivered == 0
    assert delivery(store, Application()).deliver_due().delivered == 1
    assert rows(store, "SELECT kind, state, attempts FROM notice WHERE state = 'pending'") == [
        ("release", "pending", 0)
    ]


def test_a_release_that_fails_is_tried_for_ever_with_an_alarm_and_never_given_up(store: Store) -> None:
    add(store, ReleaseHeld(encounter_id="e1", at=NOON))
    clock = Clock()

    class Broken:
        def release(self, encounter_id: str, *, by: str) -> None:
            raise RecordError("no storage")

    deliver = Delivery(store, releaser=Broken(), clock=clock, chance=lambda: 1.0)
    for _ in range(5):
        clock.now += timedelta(days=1)
        assert deliver.deliver_due().postponed == 1
    assert rows(store, "SELECT state FROM notice WHERE kind = 'release'") == [("pending",)]
    assert rows(store, "SELECT kind, times FROM alarm") == [("release_failed", 1)]


def test_what_nobody_took_for_days_is_given_up_with_an_alarm(store: Store) -> None:
    add(store, answer(1))
    clock = Clock()
    deliver = delivery(store, Application(lambda notice: True), clock=clock)
    deliver.deliver_due()
    clock.now += timedelta(days=3, seconds=1)
    assert deliver.deliver_due().given_up == 1
    assert rows(store, "SELECT kind, state FROM notice ORDER BY created_ms")[0] == ("late_answer", "given_up")
    assert rows(store, "SELECT kind FROM alarm") == [("notices_undelivered",)]


def test_what_was_never_tried_is_not_given_up(store: Store) -> None:
    """The application was off for a week: it still hears of everything."""
    add(store, answer(1))
    clock = Clock()
    clock.now += timedelta(days=7)
    application = Application()
    assert delivery(store, application, clock=clock).deliver_due().delivered == 1


def test_a_row_that_cannot_be_read_stops_nobody(store: Store) -> None:
    add(store, answer(1), answer(2))
    with store.transaction() as tx:
        tx.execute("UPDATE notice SET body = '{}' WHERE id = (SELECT min(id) FROM notice)")
    application = Application()
    assert delivery(store, application).deliver_due().delivered == 1


def test_a_callback_gets_the_value_and_what_it_raises_means_again(store: Store) -> None:
    add(store, answer(1))
    taken: list[LateAnswer] = []
    CallbackCourier(taken.append).deliver(Notice(id="n", message=answer(1), attempts=1))
    assert taken == [answer(1)]

    def raises(_: LateAnswer) -> None:
        raise KeyError("a secret")

    with pytest.raises(NotifyError, match="raised KeyError") as caught:
        CallbackCourier(raises).deliver(Notice(id="n", message=answer(1), attempts=1))
    assert "secret" not in str(caught.value) + caught.value.hint


def test_the_traceback_of_a_callback_is_in_the_log_only_at_level_debug(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    add(store, answer(1))

    def raises(_: LateAnswer) -> None:
        raise KeyError("a secret")

    clock = Clock()
    clock.now += timedelta(seconds=1)
    deliver = Delivery(store, couriers=[CallbackCourier(raises)], clock=clock, chance=lambda: 0.0)
    caplog.set_level("INFO", logger="iii_client")
    assert deliver.deliver_due().postponed == 1
    assert "raised KeyError" in caplog.text
    assert "secret" not in caplog.text
    caplog.set_level("DEBUG", logger="iii_client")
    assert deliver.deliver_due().postponed == 1
    assert "secret" in caplog.text


def test_alarms_go_only_to_who_listens_to_them() -> None:
    heard: list[AlarmRaised] = []
    assert CallbackCourier(print).kinds == {NoticeKind.LATE_ANSWER}
    courier = CallbackCourier(print, on_alarm=heard.append)
    assert courier.kinds == {NoticeKind.LATE_ANSWER, NoticeKind.ALARM}
    courier.deliver(Notice(id="n", message=ALARM, attempts=1))
    assert heard == [ALARM]


def test_a_notice_holds_no_more_than_it_says() -> None:
    assert json.loads(json.dumps(answer(1).as_json())) == {
        "encounter_id": "e1",
        "case_reference": "",
        "reference": "obj/1",
        "outcome": "matched",
        "action": "block",
        "ruled": "block",
        "previous_action": "quarantine",
        "rule": "matched_exact",
        "reasons": ["service_timeout"],
        "at": "2026-11-24T12:00:00.000+00:00",
    }
