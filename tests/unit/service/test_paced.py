"""Pacing: small calls, each in its turn, and none after one that tells that the next would fail, too."""

from collections.abc import Callable, Sequence

import pytest
from tests.outbox_items import canary

from iii_client.model import Algorithm, Answer, Confirmation, HashValue, NotListed, Reason, Unanswered
from iii_client.service.paced import PacedConfirmer


class Service:
    """A stand-in that answers by a script and keeps what it was asked."""

    def __init__(self, answer: Callable[[HashValue], Answer] = lambda value: NotListed(hash=value)) -> None:
        self.answer = answer
        self.calls: list[tuple[int, float]] = []

    def supports(self, algorithm: Algorithm) -> bool:
        return algorithm is Algorithm.MD5

    def confirm(self, hashes: Sequence[HashValue], *, spent_s: float = 0.0) -> Confirmation:
        self.calls.append((len(hashes), spent_s))
        return Confirmation(
            answers=tuple(map(self.answer, hashes)),
            hashes_sent=len(hashes),
            confirm_id=f"c{len(self.calls)}",
            minimum_wait_s=1.0,
        )


def test_calls_are_small_and_what_they_say_is_put_together() -> None:
    service, turns = Service(), []
    paced = PacedConfirmer(service, hashes_per_call=4, turn=lambda: not turns.append(1))  # type: ignore[func-returns-value]
    hashes = [canary(number) for number in range(10)]
    reply = paced.confirm(hashes, spent_s=99.0)
    assert [answer.hash for answer in reply.answers] == hashes
    assert (reply.hashes_sent, reply.confirm_id, reply.minimum_wait_s) == (10, "c3", 1.0)
    assert service.calls == [(4, 0.0), (4, 0.0), (2, 0.0)], "each call has the whole budget"
    assert len(turns) == 3
    assert paced.supports(Algorithm.MD5)
    assert not paced.supports(Algorithm.PDQ)


@pytest.mark.parametrize(
    ("reason", "calls"),
    [(Reason.SERVICE_UNREACHABLE, 2), (Reason.SERVICE_REFUSED, 2), (Reason.SERVICE_ERROR, 5)],
)
def test_after_a_fault_of_the_whole_service_nothing_more_is_sent(reason: Reason, calls: int) -> None:
    service = Service()
    service.answer = lambda value: (
        Unanswered(hash=value, reason=reason, retry_after_s=9.0)
        if len(service.calls) == 2
        else NotListed(hash=value)
    )
    reply = PacedConfirmer(service, hashes_per_call=1, turn=lambda: True).confirm(
        [canary(number) for number in range(5)]
    )
    assert len(service.calls) == reply.hashes_sent == calls
    assert isinstance(reply.answers[1], Unanswered)
    if calls == 2:
        assert all(isinstance(a, Unanswered) and a.retry_after_s == 9.0 for a in reply.answers[1:])
        assert [answer.hash for answer in reply.answers] == [canary(number) for number in range(5)]


def test_whose_turn_never_comes_is_deferred_and_nothing_left() -> None:
    service = Service()
    reply = PacedConfirmer(service, hashes_per_call=1, turn=lambda: False).confirm([canary(1), canary(2)])
    assert service.calls == []
    assert reply.hashes_sent == 0
    assert {answer.reason for answer in reply.answers if isinstance(answer, Unanswered)} == {Reason.DEFERRED}
