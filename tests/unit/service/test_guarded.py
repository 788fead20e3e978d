"""A memory and a breaker in front of a confirmer, on a clock that only moves when told."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest

from iii_client.config import Secret, ServiceConfig
from iii_client.errors import RecordError
from iii_client.model import (
    Algorithm,
    Answer,
    Confirmation,
    HashValue,
    Listed,
    Match,
    NotListed,
    Reason,
    Unanswered,
)
from iii_client.model.breakers import CLOSED, SERVICE_REFUSED_ALARM, BreakerState
from iii_client.service import GuardedConfirmer, endpoint_of
from iii_client.service.breaker import FIRST_PAUSE_S, OPEN_AFTER
from iii_client.service.guarded import WITHOUT_STATE_S

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
A, B, C = (HashValue(algorithm=Algorithm.SHA256, value=bytes([n]) * 32) for n in (1, 2, 3))

_T = TypeVar("_T")


class Service:
    """Answers as it is told, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[HashValue, ...]] = []
        self.spent_s: list[float] = []
        self.reply: Callable[[Sequence[HashValue]], Confirmation] = not_listed()

    def supports(self, algorithm: Algorithm) -> bool:
        return algorithm is Algorithm.SHA256

    def confirm(self, hashes: Sequence[HashValue], *, spent_s: float = 0.0) -> Confirmation:
        self.asked.append(tuple(hashes))
        self.spent_s.append(spent_s)
        return self.reply(hashes)


def not_listed(minimum_wait_s: float = 0) -> Callable[[Sequence[HashValue]], Confirmation]:
    return lambda hashes: Confirmation(
        answers=tuple(NotListed(hash=h) for h in hashes),
        hashes_sent=len(hashes),
        minimum_wait_s=minimum_wait_s,
    )


def unanswered(
    reason: Reason, *, failed: bool = False, retry_after_s: float = 0, sent: bool = True
) -> Callable[[Sequence[HashValue]], Confirmation]:
    return lambda hashes: Confirmation(
        answers=tuple(
            Unanswered(hash=h, reason=reason, failed=failed, retry_after_s=retry_after_s) for h in hashes
        ),
        hashes_sent=len(hashes) if sent else 0,
    )


class Shared:
    """A breaker in memory."""

    def __init__(self) -> None:
        self.state = CLOSED

    def apply(self, endpoint: str, step: Callable[[BreakerState], tuple[_T, BreakerState]]) -> _T:
        result, self.state = step(self.state)
        return result


class Memory:
    """Remembers answers in a dict."""

    def __init__(self) -> None:
        self.known: dict[HashValue, Answer] = {}

    def recall(self, hashes: Sequence[HashValue]) -> Mapping[HashValue, Answer]:
        return {h: self.known[h] for h in hashes if h in self.known}

    def remember(self, answers: Sequence[Answer]) -> None:
        self.known.update({answer.hash: answer for answer in answers})


class World:
    """One shared state and one service, for as many workers as a test wants."""

    def __init__(self) -> None:
        self.now = NOON
        self.service = Service()
        self.shared = Shared()
        self.memory: Memory | None = None

    def worker(self) -> GuardedConfirmer:
        return GuardedConfirmer(
            self.service,
            endpoint="v2-test",
            breaker=self.shared,
            answers=self.memory,
            clock=lambda: self.now,
            timer=lambda: 0.0,
            jitter=lambda: 0.0,
        )

    def ask(self, *hashes: HashValue) -> Confirmation:
        return self.worker().confirm(hashes or (A,))

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def world() -> World:
    return World()


DOWN = unanswered(Reason.SERVICE_UNREACHABLE, failed=True)


def reason(confirmation: Confirmation) -> Reason | None:
    (answer,) = confirmation.answers
    return answer.reason if isinstance(answer, Unanswered) else None


def test_a_service_that_works_is_asked_each_time(world: World) -> None:
    for _ in range(3):
        assert world.ask() == not_listed()([A])
    assert world.service.asked == [(A,)] * 3
    assert world.worker().supports(Algorithm.SHA256)
    assert not world.worker().supports(Algorithm.MD5)


def test_a_service_that_is_down_is_left_alone_by_every_worker(world: World) -> None:
    world.service.reply = DOWN
    for _ in range(OPEN_AFTER):
        assert reason(world.ask()) is Reason.SERVICE_UNREACHABLE
    paused = world.ask()
    assert reason(paused) is Reason.SERVICE_PAUSED
    assert paused.hashes_sent == 0
    assert len(world.service.asked) == OPEN_AFTER


def test_one_probe_finds_out_that_it_works_again(world: World) -> None:
    world.service.reply = DOWN
    for _ in range(OPEN_AFTER):
        world.ask()
    world.wait(FIRST_PAUSE_S)

    def while_the_probe_is_under_way(hashes: Sequence[HashValue]) -> Confirmation:
        assert reason(world.ask(B)) is Reason.SERVICE_PAUSED
        return not_listed()(hashes)

    world.service.reply = while_the_probe_is_under_way
    assert reason(world.ask()) is None
    world.service.reply = not_listed()
    assert reason(world.ask(B)) is None
    assert world.shared.state == CLOSED


def test_a_status_of_4xx_never_opens_it(world: World) -> None:
    world.service.reply = unanswered(Reason.SERVICE_ERROR)
    for _ in range(50):
        assert reason(world.ask()) is Reason.SERVICE_ERROR
    assert len(world.service.asked) == 50


def test_refused_credentials_alarm_until_an_answer_comes(world: World) -> None:
    world.service.reply = unanswered(Reason.SERVICE_REFUSED)
    for _ in range(5):
        assert reason(world.ask()) is Reason.SERVICE_REFUSED
    assert world.shared.state.alarm == SERVICE_REFUSED_ALARM
    world.service.reply = not_listed()
    world.ask()
    assert world.shared.state.alarm == ""


@pytest.mark.parametrize(
    "asks_to_wait",
    [
        not_listed(minimum_wait_s=300),
        unanswered(Reason.SERVICE_RATE_LIMITED, retry_after_s=300),
        lambda hashes: Confirmation(
            answers=(
                *not_listed()(hashes[:1]).answers,
                *unanswered(Reason.SERVICE_RATE_LIMITED, retry_after_s=300)(hashes[1:]).answers,
            ),
            hashes_sent=len(hashes),
        ),
    ],
    ids=["minimum_wait_s", "Retry-After", "an answer, then Retry-After"],
)
def test_a_wait_that_is_asked_for_is_kept_by_every_worker_even_while_a_hit_waits(
    world: World, asks_to_wait: Callable[[Sequence[HashValue]], Confirmation]
) -> None:
    world.service.reply = asks_to_wait
    world.ask(A, B)
    world.wait(299)
    confirmation = world.ask(C)
    assert reason(confirmation) is Reason.SERVICE_PAUSED
    assert isinstance(confirmation.answers[0], Unanswered)
    assert confirmation.answers[0].retry_after_s == 1
    world.wait(1)
    assert reason(world.ask(C)) is not Reason.SERVICE_PAUSED
    assert world.service.asked == [(A, B), (C,)]


def test_a_batch_of_which_a_part_ran_out_of_time_is_no_failure(world: World) -> None:
    def half(hashes: Sequence[HashValue]) -> Confirmation:
        late = unanswered(Reason.SERVICE_TIMEOUT, failed=True)
        return Confirmation(
            answers=(*not_listed()(hashes[:1]).answers, *late(hashes[1:]).answers), hashes_sent=len(hashes)
        )

    world.service.reply = half
    for _ in range(20):
        world.ask(A, B)
    assert world.shared.state == CLOSED


def test_a_call_that_was_not_made_says_nothing_about_the_service(world: World) -> None:
    world.service.reply = unanswered(Reason.SERVICE_TIMEOUT, failed=True, sent=False)
    for _ in range(20):
        world.ask()
    assert world.shared.state == CLOSED


def test_what_is_remembered_is_not_asked_again_and_does_not_leave_again(world: World) -> None:
    world.memory = Memory()
    world.service.reply = not_listed()
    assert world.ask(A).hashes_sent == 1
    again = world.ask(A, B, A)
    assert world.service.asked == [(A,), (B,)]
    assert again.hashes_sent == 1
    assert again.recalled == {A}
    assert [answer.hash for answer in again.answers] == [A, B, A]


def test_what_is_remembered_is_answered_while_the_service_is_left_alone(world: World) -> None:
    world.memory = Memory()
    listed = Listed(hash=A, matches=(Match(hash=A, distance_bits=0, exact=True),))
    world.memory.known[A] = listed
    world.shared.state = BreakerState(failures=9, open_until_ms=round(NOON.timestamp() * 1000) + 5000)
    answers = world.ask(A, B).answers
    assert answers[0] == listed
    assert isinstance(answers[1], Unanswered)


class BrokenStore:
    """Keeps nothing, and counts how often it was tried."""

    def __init__(self) -> None:
        self.tried = 0

    def apply(self, endpoint: str, step: Callable[[BreakerState], tuple[_T, BreakerState]]) -> _T:
        self.tried += 1
        raise RecordError("the state database refused: disk is full")


def test_a_broken_record_blocks_no_confirmation(world: World, caplog: pytest.LogCaptureFixture) -> None:
    guarded = GuardedConfirmer(world.service, endpoint="v2-test", breaker=BrokenStore())
    assert guarded.confirm([A]) == not_listed()([A])
    assert "disk is full" in caplog.text


def test_without_shared_state_each_process_still_leaves_a_service_alone_that_is_down(world: World) -> None:
    store, seconds = BrokenStore(), 0.0
    guarded = GuardedConfirmer(
        world.service, endpoint="v2-test", breaker=store, clock=lambda: world.now, timer=lambda: seconds
    )
    world.service.reply = DOWN
    for _ in range(20):
        guarded.confirm([A])
    assert len(world.service.asked) == OPEN_AFTER
    assert store.tried == 1, "a database that takes seconds to fail is not tried for each upload"
    seconds = WITHOUT_STATE_S
    guarded.confirm([A])
    assert store.tried == 2


def test_time_spent_before_asking_is_taken_from_the_budget(world: World) -> None:
    ticks = iter([10.0, 10.1, 10.25, 11.0])
    guarded = GuardedConfirmer(
        world.service, endpoint="v2-test", breaker=world.shared, timer=lambda: next(ticks)
    )
    guarded.confirm([A], spent_s=0.1)
    assert world.service.spent_s == [pytest.approx(0.35)]


def test_the_name_of_an_endpoint_tells_neither_address_nor_account() -> None:
    config = ServiceConfig(url="https://hashes.example/base", username="hoster", password=Secret("x"))
    name = endpoint_of(config)
    assert name.startswith("v2-")
    assert not any(part in name for part in ("hashes", "example", "hoster"))
    assert name != endpoint_of(ServiceConfig(url="https://hashes.example/base", username="other"))
    assert name == endpoint_of(ServiceConfig(url="https://hashes.example/base/", username="hoster"))
