"""Draining: every item is asked about, each answer has its effects once, and nobody is hammered."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.outbox_items import NOON, canary, record, rows, unconfirmed

from iii_client.config import OutboxConfig, PolicyConfig
from iii_client.decide import TablePolicy
from iii_client.drain import Drainer, DrainReport
from iii_client.errors import RecordError
from iii_client.model import (
    Algorithm,
    Answer,
    Candidate,
    Category,
    Confirmation,
    HashValue,
    Listed,
    Match,
    Mode,
    Notice,
    NoticeKind,
    NotListed,
    Outcome,
    Reason,
    Ruling,
    Unanswered,
    UploadContext,
    Verdict,
)
from iii_client.model.matches import TEST_CATEGORY_CODE, TEST_CATEGORY_SCHEME
from iii_client.records import SqliteStore, StateRecorder, Store
from iii_client.records.outbox import lease
from iii_client.records.outbox_list import count_outbox, list_outbox
from iii_client.records.pseudonyms import PseudonymKey


class Clock:
    """Moves when somebody waits."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def wait(self, _event: threading.Event, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Service:
    """Answers by a script. A stand-in for the service: what matters here is what becomes of the answers."""

    def __init__(self, answer: Callable[[HashValue], Answer], *, clock: Clock) -> None:
        self.answer = answer
        self.calls: list[tuple[datetime, int]] = []
        self._clock = clock

    def supports(self, algorithm: Algorithm) -> bool:
        return True

    def confirm(self, hashes: Sequence[HashValue], *, spent_s: float = 0.0) -> Confirmation:
        self.calls.append((self._clock(), len(hashes)))
        answers = tuple(map(self.answer, hashes))
        return Confirmation(answers=answers, hashes_sent=len(hashes), confirm_id="c-9")


def is_listed(value: HashValue) -> Answer:
    return Listed(hash=value, matches=(Match(hash=value, distance_bits=0, exact=True),))


def is_denied(value: HashValue) -> Answer:
    return NotListed(hash=value)


def fails(reason: Reason, *, retry_after_s: float = 0.0) -> Callable[[HashValue], Answer]:
    return lambda value: Unanswered(hash=value, reason=reason, retry_after_s=retry_after_s)


def drainer(store: Store, service: Service, clock: Clock, **options: Any) -> Drainer:
    return Drainer(store, service, TablePolicy(), clock=clock, wait=clock.wait, chance=lambda: 1.0, **options)


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Store]:
    """Where it does not matter which store it is; where it does, tests take `store`, which is both."""
    opened = SqliteStore(tmp_path / "state.db")
    yield opened
    opened.close()


def test_answers_become_follow_ups_and_notices(store: Store, tmp_path: Path) -> None:
    clock = Clock()
    ids = record(store, tmp_path, [1, 2])
    service = Service(lambda value: (is_listed if value == canary(1) else is_denied)(value), clock=clock)
    report = drainer(store, service, clock).drain_once()
    assert (report.asked, report.matched, report.not_listed, report.hashes_sent) == (2, 1, 1, 2)
    assert set(rows(store, "SELECT encounter_id, outcome, action FROM follow_up")) == {
        (ids[0], "matched", "block"),
        (ids[1], "no_match", "allow"),
    }
    assert service.calls == [(NOON, 2)]
    assert dict(rows(store, "SELECT name, amount FROM tally WHERE day = '2026-11-24'")) == {
        "late_hashes_sent": 2,
        "late_matched": 1,
        "late_no_match": 1,
    }


def test_an_empty_outbox_asks_nobody_and_writes_nothing(sqlite: Store) -> None:
    clock = Clock()
    service = Service(is_listed, clock=clock)
    assert drainer(sqlite, service, clock).drain_once() == DrainReport()
    assert service.calls == []
    assert rows(sqlite, "SELECT next_ms FROM pace") == [(0,)]


def test_the_rate_is_kept_by_all_drainers_of_one_outbox_together(store: Store, tmp_path: Path) -> None:
    clock = Clock()
    record(store, tmp_path, range(10))
    service = Service(is_denied, clock=clock)
    pair = [
        drainer(store, service, clock, config=OutboxConfig(calls_per_s=2.0), hashes_per_call=1) for _ in "ab"
    ]
    for turn in range(10):
        pair[turn % 2].drain_once(1)
    moments = [moment for moment, _ in service.calls]
    assert [(moment - NOON).total_seconds() for moment in moments] == [number / 2 for number in range(10)]


def test_under_v1_each_hash_is_a_call_of_its_own_and_the_lease_is_kept_meanwhile(
    store: Store, tmp_path: Path
) -> None:
    """Fifty calls at one in ten seconds outlast any lease that is not renewed."""
    clock = Clock()
    record(store, tmp_path, range(50))
    config = OutboxConfig(calls_per_s=0.1)
    stolen: list[int] = []

    def answer(value: HashValue) -> Answer:
        with store.transaction() as tx:
            stolen.append(len(lease(tx, holder="thief", limit=9, now=clock(), lease_s=1)))
        return is_denied(value)

    service = Service(answer, clock=clock)
    report = drainer(store, service, clock, config=config, hashes_per_call=1).drain_once()
    assert report.not_listed == 50
    assert {count for _, count in service.calls} == {1}
    assert clock.now - NOON == timedelta(seconds=490)
    assert not any(stolen)


def test_a_service_that_is_down_gets_one_call_a_round_and_growing_pauses(
    sqlite: Store, tmp_path: Path
) -> None:
    clock = Clock()
    record(sqlite, tmp_path, range(110))
    service = Service(fails(Reason.SERVICE_UNREACHABLE), clock=clock)
    report = drainer(sqlite, service, clock).run_until_empty()
    assert report.problem is Reason.SERVICE_UNREACHABLE
    assert len(service.calls) == 3, "it is left alone after three rounds"
    assert rows(sqlite, "SELECT count(*) FROM outbox WHERE state = 'pending'") == [(110,)]
    gaps = [(b[0] - a[0]).total_seconds() for a, b in zip(service.calls, service.calls[1:], strict=False)]
    assert gaps == [2.0, 4.0]


def test_retry_after_is_kept_also_when_it_is_long(sqlite: Store, tmp_path: Path) -> None:
    clock = Clock()
    record(sqlite, tmp_path, [1])
    service = Service(fails(Reason.SERVICE_RATE_LIMITED, retry_after_s=3600), clock=clock)
    report = drainer(sqlite, service, clock).run_until_empty()
    assert report.wait_s == 3600
    assert len(service.calls) == 1
    with sqlite.transaction() as tx:
        (row,) = list_outbox(tx, now=clock())
    assert (row.next_attempt_at - NOON).total_seconds() == 3602
    assert row.last_reason == "service_rate_limited"


def test_a_long_pause_ends_when_a_person_is_due_and_the_item_is_asked_about_once_more(
    sqlite: Store, tmp_path: Path
) -> None:
    clock = Clock()
    record(sqlite, tmp_path, [1], now=NOON - timedelta(hours=71))
    service = Service(fails(Reason.SERVICE_RATE_LIMITED, retry_after_s=86_400), clock=clock)
    drainer(sqlite, service, clock).drain_once()
    with sqlite.transaction() as tx:
        (row,) = list_outbox(tx, now=clock())
    assert row.next_attempt_at == NOON + timedelta(hours=1)
    clock.now = row.next_attempt_at
    service.answer = is_denied
    assert drainer(sqlite, service, clock).drain_once().not_listed == 1


def test_what_was_not_asked_because_of_a_pause_is_no_attempt(sqlite: Store, tmp_path: Path) -> None:
    clock = Clock()
    record(sqlite, tmp_path, [1])
    service = Service(fails(Reason.SERVICE_PAUSED, retry_after_s=7), clock=clock)
    report = drainer(sqlite, service, clock).drain_once()
    assert (report.problem, report.wait_s) == (Reason.SERVICE_PAUSED, 7)
    assert rows(sqlite, "SELECT attempts, next_attempt_ms - created_ms FROM outbox") == [(0, 0)]


def test_a_service_that_asks_for_short_pauses_is_drained_all_the_same(sqlite: Store, tmp_path: Path) -> None:
    """`minimum_wait_s`: every second call is refused here, without leaving."""
    clock = Clock()
    record(sqlite, tmp_path, range(201))
    service = Service(is_denied, clock=clock)
    service.answer = lambda value: (
        is_denied(value) if len(service.calls) % 2 else fails(Reason.SERVICE_PAUSED, retry_after_s=1)(value)
    )
    report = drainer(sqlite, service, clock).run_until_empty()
    assert report.not_listed == 201


def test_pauses_are_waited_out_however_many_come_in_a_row_while_they_are_short(
    sqlite: Store, tmp_path: Path
) -> None:
    clock = Clock()
    record(sqlite, tmp_path, [1])
    service = Service(is_denied, clock=clock)
    service.answer = lambda value: (
        is_denied(value) if len(service.calls) > 6 else fails(Reason.SERVICE_PAUSED, retry_after_s=3)(value)
    )
    assert drainer(sqlite, service, clock).run_until_empty().not_listed == 1
    assert rows(sqlite, "SELECT attempts FROM outbox") == [(1,)]


def test_one_item_that_the_service_chokes_on_delays_itself_alone(sqlite: Store, tmp_path: Path) -> None:
    clock = Clock()
    record(sqlite, tmp_path, range(100))
    poison = canary(61)

    class Chokes(Service):
        def confirm(self, hashes: Sequence[HashValue], *, spent_s: float = 0.0) -> Confirmation:
            self.answer = fails(Reason.SERVICE_ERROR) if poison in hashes else is_denied
            return super().confirm(hashes)

    service = Chokes(is_denied, clock=clock)
    report = drainer(sqlite, service, clock).drain_once()
    assert (report.not_listed, report.postponed, report.problem) == (99, 1, None)
    assert len(service.calls) <= 15


def test_a_500_storm_is_asked_three_times_a_round_and_no_more(sqlite: Store, tmp_path: Path) -> None:
    clock = Clock()
    record(sqlite, tmp_path, range(100))
    service = Service(fails(Reason.SERVICE_ERROR), clock=clock)
    report = drainer(sqlite, service, clock).drain_once()
    assert report.problem is Reason.SERVICE_ERROR
    assert len(service.calls) == 3


def test_overdue_items_are_asked_a_last_time_and_then_go_to_a_person(store: Store, tmp_path: Path) -> None:
    clock = Clock()
    record(store, tmp_path, range(150), now=NOON - timedelta(hours=73))
    record(store, tmp_path, [900])
    service = Service(fails(Reason.SERVICE_UNREACHABLE), clock=clock)
    report = drainer(store, service, clock).drain_once()
    assert report.for_review == 150, "those that were not in the batch, too: the service answers nobody"
    with store.transaction() as tx:
        counts = count_outbox(tx, now=clock())
    assert (counts.pending, counts.for_review) == (1, 150)
    assert rows(store, "SELECT kind FROM alarm") == [("outbox_overdue",)]


def test_a_backlog_of_days_is_asked_about_before_any_person_is(sqlite: Store, tmp_path: Path) -> None:
    """Nobody drained for four days; the service is fine."""
    clock = Clock()
    record(sqlite, tmp_path, range(110), now=NOON - timedelta(hours=96))
    report = drainer(sqlite, Service(is_denied, clock=clock), clock).run_until_empty()
    assert (report.not_listed, report.for_review) == (110, 0)


def test_an_item_that_alone_gets_no_answer_in_time_goes_to_a_person(store: Store, tmp_path: Path) -> None:
    clock = Clock()
    record(store, tmp_path, [1, 2], now=NOON - timedelta(hours=73))
    poison = canary(1)

    class Chokes(Service):
        def confirm(self, hashes: Sequence[HashValue], *, spent_s: float = 0.0) -> Confirmation:
            self.answer = fails(Reason.SERVICE_ERROR) if poison in hashes else is_denied
            return super().confirm(hashes)

    report = drainer(store, Chokes(is_denied, clock=clock), clock).drain_once()
    assert (report.not_listed, report.for_review, report.postponed) == (1, 1, 0)


def test_others_may_be_asking_while_the_breaker_is_open_so_overdue_items_wait_an_hour_more(
    sqlite: Store, tmp_path: Path
) -> None:
    clock = Clock()
    record(sqlite, tmp_path, [1], now=NOON - timedelta(hours=72, minutes=30))
    record(sqlite, tmp_path, [2], now=NOON - timedelta(hours=73, minutes=30))
    service = Service(fails(Reason.SERVICE_PAUSED, retry_after_s=300), clock=clock)
    assert drainer(sqlite, service, clock).drain_once().for_review == 1


def test_in_shadow_a_late_answer_asks_for_nothing(sqlite: Store, tmp_path: Path) -> None:
    clock = Clock()
    record(sqlite, tmp_path, [1], mode=Mode.SHADOW)
    drainer(sqlite, Service(is_listed, clock=clock), clock).drain_once()
    assert rows(sqlite, "SELECT outcome, action FROM follow_up") == [("matched", "allow")]


def test_what_was_held_is_not_given_back_because_its_route_only_watches_now(
    sqlite: Store, tmp_path: Path
) -> None:
    clock = Clock()
    record(sqlite, tmp_path, [1])
    policy = TablePolicy()

    class Watches:
        version = "w"

        def rule(self, verdict: Verdict, context: UploadContext) -> Ruling:
            assert context.route == "avatar"
            return replace(policy.rule(verdict, context), shadow=True)

    Drainer(sqlite, Service(is_listed, clock=clock), Watches(), clock=clock).drain_once()
    assert rows(sqlite, "SELECT outcome, action FROM follow_up") == [("matched", "block")]
    assert rows(sqlite, "SELECT kind FROM notice") == [("late_answer",)]


def test_a_late_answer_that_rests_on_a_stale_filter_says_so(sqlite: Store, tmp_path: Path) -> None:
    """A policy that holds what a stale filter does not know must hold it late, too."""
    clock = Clock()
    decision = unconfirmed(1)
    verdict = replace(decision.verdict, reasons=(Reason.SERVICE_TIMEOUT, Reason.FILTER_STALE))
    recorder = StateRecorder(sqlite, key=PseudonymKey(tmp_path / "encounter.key"), clock=clock)
    recorder.record(replace(decision, verdict=verdict), UploadContext())
    policy = TablePolicy(PolicyConfig(rules={"filter_stale": "quarantine"}))
    Drainer(sqlite, Service(is_denied, clock=clock), policy, clock=clock).drain_once()
    assert rows(sqlite, "SELECT outcome, action, rule FROM follow_up") == [
        ("no_match", "quarantine", "filter_stale")
    ]


def test_behind_a_match_with_the_test_picture_the_rest_is_still_asked_about(
    sqlite: Store, tmp_path: Path
) -> None:
    clock = Clock()
    test_pdq, other = (HashValue(algorithm=Algorithm.PDQ, value=bytes([n]) * 32) for n in (1, 2))
    test_category = Category(scheme=TEST_CATEGORY_SCHEME, code=TEST_CATEGORY_CODE, source="practice")
    as_test = Match(hash=test_pdq, distance_bits=0, exact=False, categories=(test_category,))
    verdict = replace(
        unconfirmed(1).verdict,
        outcome=Outcome.MATCHED,
        candidates=(
            Candidate(hash=test_pdq, section="near/pdq/1"),
            Candidate(hash=other, section="near/pdq/1", frame=1),
        ),
        matches=(as_test,),
        reasons=(Reason.SERVICE_TIMEOUT,),
    )
    recorder = StateRecorder(sqlite, key=PseudonymKey(tmp_path / "encounter.key"), clock=clock)
    recorder.record(replace(unconfirmed(1), verdict=verdict), UploadContext())
    answers: dict[HashValue, Answer] = {
        test_pdq: Listed(hash=test_pdq, matches=(as_test,)),
        other: Unanswered(hash=other, reason=Reason.SERVICE_TIMEOUT),
    }
    service = Service(answers.__getitem__, clock=clock)
    assert drainer(sqlite, service, clock).drain_once().postponed == 1
    answers[other] = Listed(hash=other, matches=(Match(hash=other, distance_bits=0, exact=False),))
    clock.now += timedelta(hours=1)
    assert drainer(sqlite, service, clock).drain_once().matched == 1
    assert rows(sqlite, "SELECT action, rule FROM follow_up") == [("quarantine", "matched_near")]


def test_where_a_budget_was_used_up_a_late_match_is_held_and_not_blocked(
    sqlite: Store, tmp_path: Path
) -> None:
    clock = Clock()
    record(sqlite, tmp_path, [1], guard="uploader_per_hour")
    drainer(sqlite, Service(is_listed, clock=clock), clock).drain_once()
    assert rows(sqlite, "SELECT outcome, action FROM follow_up") == [("matched", "quarantine")]


def test_what_was_put_on_the_allow_list_meanwhile_is_not_asked_about(sqlite: Store, tmp_path: Path) -> None:
    clock = Clock()
    record(sqlite, tmp_path, [1, 2])

    class Known:
        def allowed(self, digests: Sequence[HashValue]) -> frozenset[HashValue]:
            return frozenset({canary(1)} & set(digests))

    service = Service(is_listed, clock=clock)
    report = drainer(sqlite, service, clock, allow_list=Known()).drain_once()
    assert (report.settled_otherwise, report.matched, report.hashes_sent) == (1, 1, 1)
    assert set(rows(sqlite, "SELECT action, rule FROM follow_up")) == {
        ("allow", "allow_listed"),
        ("block", "matched_exact"),
    }


def test_a_crash_between_asking_and_settling_asks_again_and_has_effects_once(
    store: Store, tmp_path: Path
) -> None:
    """The crash is a store that refuses from the moment of the answer on, so nothing can be tidied up."""
    clock = Clock()
    record(store, tmp_path, [1])
    broken = False

    class Breaking:
        def transaction(self) -> Any:
            if broken:
                raise RecordError("gone")
            return store.transaction()

        def reading(self) -> Any:
            return store.reading()

        def close(self) -> None:
            store.close()

    def answer(value: HashValue) -> Answer:
        nonlocal broken
        broken = True
        return is_listed(value)

    service = Service(answer, clock=clock)
    with pytest.raises(RecordError):
        drainer(Breaking(), service, clock).drain_once()
    service.answer = is_listed
    assert drainer(store, service, clock).drain_once().asked == 0, "the lease is still on"
    clock.now += timedelta(minutes=3)
    assert drainer(store, service, clock).drain_once().matched == 1
    assert len(service.calls) == 2
    assert rows(store, "SELECT count(*) FROM follow_up") == [(1,)]
    assert rows(store, "SELECT count(*) FROM notice") == [(1,)]


def test_an_interrupt_hands_the_batch_back_at_once(sqlite: Store, tmp_path: Path) -> None:
    clock = Clock()
    record(sqlite, tmp_path, [1, 2])

    def answer(value: HashValue) -> Answer:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drainer(sqlite, Service(answer, clock=clock), clock).drain_once()
    with sqlite.transaction() as tx:
        assert count_outbox(tx, now=clock()).due == 2


def test_a_stop_keeps_the_answers_and_hands_the_rest_back(sqlite: Store, tmp_path: Path) -> None:
    clock, stop = Clock(), threading.Event()
    record(sqlite, tmp_path, range(6))

    def answer(value: HashValue) -> Answer:
        if len(service.calls) == 2:
            stop.set()
        return is_denied(value)

    service = Service(answer, clock=clock)
    report = drainer(sqlite, service, clock, hashes_per_call=1).drain_once(stop=stop)
    assert (report.not_listed, report.postponed) == (2, 4)
    with sqlite.transaction() as tx:
        assert count_outbox(tx, now=clock()).due == 4


def test_couriers_and_the_releaser_hear_of_it_in_the_same_round(sqlite: Store, tmp_path: Path) -> None:
    clock = Clock()
    (encounter_id,) = record(sqlite, tmp_path, [1])
    told: list[Notice] = []
    released: list[tuple[str, str]] = []

    class Hears:
        kinds = frozenset({NoticeKind.LATE_ANSWER})

        def deliver(self, notice: Notice) -> None:
            told.append(notice)

    class Releases:
        def release(self, encounter_id: str, *, by: str) -> None:
            released.append((encounter_id, by))

    report = drainer(
        sqlite, Service(is_denied, clock=clock), clock, couriers=[Hears()], releaser=Releases()
    ).drain_once()
    assert report.notices.delivered == 2
    assert [notice.message.kind for notice in told] == [NoticeKind.LATE_ANSWER]
    assert released == [(encounter_id, "late answer")]
