"""Halving: one item that the service chokes on costs some calls, and the others their answers nothing."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from tests.outbox_items import canary

from iii_client.drain.asking import ask_in_halves, fault_of_all, retry_after_s
from iii_client.model import Confirmation, HashValue, NotListed, Reason, Unanswered

VALUE: HashValue = canary(0)
DENIED = Confirmation(answers=(NotListed(hash=VALUE),))


def unanswered(reason: Reason, *, retry_after: float = 0.0) -> Confirmation:
    return Confirmation(answers=(Unanswered(hash=VALUE, reason=reason, retry_after_s=retry_after),))


class Chokes:
    """A service that makes nothing of a call with one of these items in it."""

    def __init__(self, culprits: set[int]) -> None:
        self.culprits = culprits
        self.calls = 0

    def __call__(self, items: Sequence[int]) -> list[Confirmation]:
        self.calls += 1
        answer = unanswered(Reason.SERVICE_ERROR) if self.culprits & set(items) else DENIED
        return [answer] * len(items)


@given(size=st.integers(1, 100), data=st.data())
def test_one_culprit_is_found_and_everybody_else_is_answered(size: int, data: st.DataObject) -> None:
    culprit = data.draw(st.integers(0, size - 1))
    service = Chokes({culprit})
    answers = ask_in_halves(range(size), service)
    assert [fault_of_all([answer]) is None for answer in answers] == [n != culprit for n in range(size)]
    assert service.calls <= 1 + 2 * 7


@given(size=st.integers(1, 100), culprits=st.sets(st.integers(0, 99)))
def test_whatever_is_wrong_every_item_gets_one_answer_and_no_innocent_one_is_made_up(
    size: int, culprits: set[int]
) -> None:
    answers = ask_in_halves(range(size), Chokes(culprits))
    assert len(answers) == size
    for number, answer in enumerate(answers):
        if answer is DENIED:
            assert number not in culprits


def test_a_service_that_is_broken_as_a_whole_is_asked_three_times() -> None:
    service = Chokes(set(range(100)))
    answers = ask_in_halves(range(100), service)
    assert fault_of_all(answers) is Reason.SERVICE_ERROR
    assert service.calls == 3


def test_a_fault_that_the_next_call_would_meet_too_is_not_looked_into() -> None:
    calls = []

    def ask(items: Sequence[int]) -> list[Confirmation]:
        calls.append(len(items))
        return [unanswered(Reason.SERVICE_UNREACHABLE)] * len(items)

    ask_in_halves(range(100), ask)
    assert calls == [100]


def test_nothing_to_ask_asks_nothing() -> None:
    assert ask_in_halves([], Chokes(set())) == ()
    assert fault_of_all([]) is None


def test_one_answer_proves_that_the_service_works() -> None:
    assert fault_of_all([unanswered(Reason.SERVICE_ERROR), DENIED]) is None
    assert fault_of_all([unanswered(Reason.SERVICE_CANNOT_CONFIRM)]) is None
    both = [unanswered(Reason.SERVICE_ERROR), unanswered(Reason.SERVICE_TIMEOUT)]
    assert fault_of_all(both) is Reason.SERVICE_TIMEOUT


def test_the_longest_wish_to_be_left_alone_counts() -> None:
    assert retry_after_s(unanswered(Reason.SERVICE_RATE_LIMITED, retry_after=7.0)) == 7.0
    assert retry_after_s(DENIED) == 0.0
