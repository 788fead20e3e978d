"""Which hash leaves, and when a second one may."""

import hashlib
from collections.abc import Sequence

import pytest

from iii_client.model import (
    Algorithm,
    Answer,
    Candidate,
    Confirmation,
    HashValue,
    Listed,
    Match,
    NotListed,
    Reason,
    Unanswered,
)
from iii_client.service.selection import ITEMS_PER_BATCH, confirm_items


def digest(algorithm: Algorithm, name: str) -> HashValue:
    return HashValue(algorithm=algorithm, value=hashlib.new(algorithm, name.encode()).digest())


def pdq(name: str, algorithm: Algorithm = Algorithm.PDQ) -> HashValue:
    return HashValue(algorithm=algorithm, value=hashlib.sha256(name.encode()).digest())


def hit(value: HashValue, *, distance_bits: int = 0, frame: int = 0) -> Candidate:
    return Candidate(hash=value, section=str(value.algorithm), distance_bits=distance_bits, frame=frame)


MD5, SHA1, SHA256 = (digest(a, "a") for a in (Algorithm.MD5, Algorithm.SHA1, Algorithm.SHA256))
PDQ, PDQ_512 = pdq("a"), pdq("a", Algorithm.PDQ_512)


def listed(value: HashValue) -> Listed:
    return Listed(hash=value, matches=(Match(hash=value, distance_bits=0, exact=value.algorithm.is_digest),))


class ScriptedService:
    """A confirmer with a fixed list, which remembers every call. Takes `each_call_s` on its own clock."""

    def __init__(
        self,
        *known: HashValue,
        answers: Sequence[Answer] = (),
        algorithms: Sequence[Algorithm] = tuple(Algorithm),
        each_call_s: float = 0.0,
    ) -> None:
        self._answers = {value: listed(value) for value in known} | {a.hash: a for a in answers}
        self._algorithms = algorithms
        self._each_call_s = each_call_s
        self.now_s = 100.0
        self.calls: list[tuple[HashValue, ...]] = []
        self.spent_s: list[float] = []

    def supports(self, algorithm: Algorithm) -> bool:
        return algorithm in self._algorithms

    def confirm(self, hashes: Sequence[HashValue], *, spent_s: float = 0.0) -> Confirmation:
        self.calls.append(tuple(hashes))
        self.spent_s.append(spent_s)
        self.now_s += self._each_call_s
        return Confirmation(
            answers=tuple(self._answers.get(value, NotListed(hash=value)) for value in hashes),
            hashes_sent=len(set(hashes)),
            confirm_id=f"c{len(self.calls)}",
        )

    def clock(self) -> float:
        return self.now_s


def test_an_item_without_hits_sends_nothing() -> None:
    service = ScriptedService()
    assert confirm_items([(), ()], service) == (Confirmation(), Confirmation())
    assert service.calls == []


@pytest.mark.parametrize(
    ("hits", "first"),
    [
        ([PDQ, MD5, SHA1, SHA256], SHA256),
        ([MD5, PDQ, SHA1], SHA1),
        ([PDQ, MD5], MD5),
        ([PDQ_512, PDQ], PDQ),
    ],
)
def test_the_strongest_hit_is_asked_and_nothing_else(hits: list[HashValue], first: HashValue) -> None:
    service = ScriptedService(first)
    (confirmation,) = confirm_items([[hit(value) for value in hits]], service)
    assert service.calls == [(first,)]
    assert confirmation == Confirmation(answers=(listed(first),), hashes_sent=1, confirm_id="c1")


def test_a_digest_that_did_not_hit_is_never_asked() -> None:
    service = ScriptedService()
    confirm_items([[hit(MD5)]], service)
    assert service.calls == [(MD5,)]


def test_the_nearest_perceptual_hit_is_asked_first() -> None:
    near, far = pdq("near"), pdq("far")
    service = ScriptedService(near)
    confirm_items([[hit(far, distance_bits=20), hit(near, distance_bits=3)]], service)
    assert service.calls == [(near,)]


def test_after_not_listed_the_hit_of_another_kind_is_asked() -> None:
    service = ScriptedService(PDQ)
    (confirmation,) = confirm_items([[hit(SHA256), hit(PDQ)]], service)
    assert service.calls == [(SHA256,), (PDQ,)]
    assert confirmation.answers == (NotListed(hash=SHA256), listed(PDQ))
    assert confirmation.hashes_sent == 2
    assert confirmation.confirm_id == "c2"


def test_after_not_listed_no_weaker_digest_of_the_same_bytes_is_asked() -> None:
    service = ScriptedService()
    confirm_items([[hit(SHA256), hit(SHA1), hit(MD5)]], service)
    assert service.calls == [(SHA256,)]


@pytest.mark.parametrize(
    "first",
    [
        NotListed(hash=SHA256, withdrawn=True),
        Unanswered(hash=SHA256, reason=Reason.SERVICE_TIMEOUT),
        Unanswered(hash=SHA256, reason=Reason.SERVICE_BAD_ANSWER),
        listed(SHA256),
    ],
)
def test_after_any_other_answer_nothing_more_is_asked(first: Answer) -> None:
    service = ScriptedService(answers=[first])
    (confirmation,) = confirm_items([[hit(SHA256), hit(PDQ)]], service)
    assert service.calls == [(SHA256,)]
    assert confirmation.answers == (first,)


@pytest.mark.parametrize("cover", [listed(pdq("cover")), NotListed(hash=pdq("cover"), withdrawn=True)])
def test_a_frame_that_is_known_does_not_hide_the_other_frames(cover: Answer) -> None:
    """Else any animation would pass behind a frame of the test picture, or of a withdrawn one."""
    behind = pdq("behind")
    service = ScriptedService(behind, answers=[cover])
    hits = [hit(cover.hash), hit(behind, distance_bits=9, frame=1)]
    (confirmation,) = confirm_items([hits], service)
    assert confirmation.answers == (cover, listed(behind))
    assert confirmation.hashes_sent == 2


def test_after_listed_nothing_more_of_the_same_frame_is_asked() -> None:
    near, far = pdq("near"), pdq("far")
    service = ScriptedService(near, far)
    (confirmation,) = confirm_items([[hit(near), hit(far, distance_bits=9)]], service)
    assert confirmation.answers == (listed(near),)
    assert service.calls == [(near,)]


def test_a_digest_that_the_service_does_not_know_is_replaced_by_the_next_strongest() -> None:
    cannot = Unanswered(hash=SHA256, reason=Reason.SERVICE_CANNOT_CONFIRM)
    service = ScriptedService(MD5, answers=[cannot], algorithms=(Algorithm.SHA256, Algorithm.MD5))
    (confirmation,) = confirm_items([[hit(SHA256), hit(SHA1), hit(MD5)]], service)
    assert service.calls == [(SHA256,), (MD5,)]
    assert confirmation.answers == (cannot, listed(MD5))


def test_hits_that_the_service_cannot_answer_for_are_unanswered_and_not_sent() -> None:
    service = ScriptedService(algorithms=(Algorithm.SHA1, Algorithm.MD5))
    (confirmation,) = confirm_items([[hit(PDQ)]], service)
    assert service.calls == []
    assert confirmation.answers == (Unanswered(hash=PDQ, reason=Reason.SERVICE_CANNOT_CONFIRM),)
    assert confirmation.hashes_sent == 0


def test_a_denied_digest_does_not_hide_a_near_hit_that_the_service_cannot_answer_for() -> None:
    service = ScriptedService(algorithms=(Algorithm.SHA1, Algorithm.MD5))
    (confirmation,) = confirm_items([[hit(SHA1), hit(PDQ)]], service)
    assert confirmation.answers == (
        NotListed(hash=SHA1),
        Unanswered(hash=PDQ, reason=Reason.SERVICE_CANNOT_CONFIRM),
    )
    assert confirmation.hashes_sent == 1


def test_items_are_batched_and_answers_stay_with_their_items() -> None:
    a, b = digest(Algorithm.SHA256, "x"), digest(Algorithm.SHA256, "y")
    service = ScriptedService(b)
    first, nothing, second = confirm_items([[hit(a)], (), [hit(b)]], service)
    assert service.calls == [(a, b)]
    assert first.answers == (NotListed(hash=a),)
    assert nothing == Confirmation()
    assert second.answers == (listed(b),)


def test_a_hash_that_several_items_share_is_sent_once() -> None:
    service = ScriptedService(SHA256)
    confirmations = confirm_items([[hit(SHA256)]] * 3, service)
    assert service.calls == [(SHA256,)]
    assert [c.answers for c in confirmations] == [(listed(SHA256),)] * 3


def test_only_items_that_were_denied_are_in_the_second_round() -> None:
    denied, confirmed = digest(Algorithm.SHA256, "x"), digest(Algorithm.SHA256, "y")
    service = ScriptedService(confirmed)
    confirm_items([[hit(denied), hit(PDQ)], [hit(confirmed), hit(PDQ_512)]], service)
    assert service.calls == [(denied, confirmed), (PDQ,)]


def test_a_second_round_is_told_what_the_first_one_took() -> None:
    service = ScriptedService(each_call_s=0.5)
    confirm_items([[hit(SHA256), hit(PDQ), hit(PDQ_512)]], service, clock=service.clock)
    assert service.spent_s == [0.0, 0.5, 1.0]


def test_many_items_make_batches_with_a_budget_each() -> None:
    hits = [[hit(digest(Algorithm.SHA256, str(i)))] for i in range(ITEMS_PER_BATCH + 1)]
    service = ScriptedService(each_call_s=0.5)
    confirmations = confirm_items(hits, service, clock=service.clock)
    assert [len(call) for call in service.calls] == [ITEMS_PER_BATCH, 1]
    assert service.spent_s == [0.0, 0.0]
    assert all(c.hashes_sent == 1 for c in confirmations)


def test_a_remembered_answer_did_not_leave_and_is_not_of_the_call_that_was_made() -> None:
    asked, remembered = digest(Algorithm.SHA256, "asked"), digest(Algorithm.SHA256, "remembered")

    class Remembers(ScriptedService):
        def confirm(self, hashes: Sequence[HashValue], *, spent_s: float = 0.0) -> Confirmation:
            return Confirmation(
                answers=tuple(listed(value) for value in hashes),
                hashes_sent=1,
                confirm_id="this call",
                recalled=frozenset({remembered}),
            )

    one, two = confirm_items([[hit(asked)], [hit(remembered)]], Remembers())
    assert (one.hashes_sent, one.confirm_id) == (1, "this call")
    assert (two.hashes_sent, two.confirm_id) == (0, "")
    assert isinstance(two.answers[0], Listed)
