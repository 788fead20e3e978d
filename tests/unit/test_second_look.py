"""A hit that rests on decoded pixels is acted on only when a second look finds the same."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from iii_client.checking import Checker
from iii_client.decide import TablePolicy
from iii_client.model import (
    ANONYMOUS,
    Algorithm,
    Candidate,
    Confirmation,
    Decision,
    Fingerprint,
    Freshness,
    HashValue,
    LookUp,
    Mode,
    Outcome,
    PerceptualHash,
    Reason,
    Receipt,
    ReleaseId,
    Remembered,
    Skipped,
    Unanswered,
    UploadContext,
)

PDQ = HashValue(algorithm=Algorithm.PDQ, value=bytes(32))
SHA256 = HashValue(algorithm=Algorithm.SHA256, value=bytes(32))
SEEN = Fingerprint(
    recipe="fast-v2",
    size_bytes=1,
    kind="jpeg",
    digests=(SHA256,),
    perceptual=(PerceptualHash(algorithm=Algorithm.PDQ, value=PDQ.value, quality=100),),
)
DISAGREED = replace(SEEN, perceptual=(), skipped=(Skipped(what="pixels", reason=Reason.DECODER_DISAGREED),))


class Filter:
    """Hits whatever it is asked about."""

    release = ReleaseId(epoch=1, sequence=0)
    contents = "1.0"
    freshness = Freshness.FRESH

    def __init__(self, *hits: HashValue) -> None:
        self._hits = hits

    def current(self) -> "Filter":
        return self

    def look_up(self, fingerprints: Sequence[Fingerprint]) -> tuple[LookUp, ...]:
        hits = tuple(Candidate(hash=hit, section=hit.algorithm.value) for hit in self._hits)
        return (LookUp(candidates=hits),) * len(fingerprints)


class Service:
    """Notes what it is asked, and never answers."""

    def __init__(self) -> None:
        self.asked: list[HashValue] = []

    def supports(self, algorithm: Algorithm) -> bool:
        return True

    def confirm(self, hashes: Sequence[HashValue], *, spent_s: float = 0.0) -> Confirmation:
        self.asked += hashes
        answers = tuple(Unanswered(hash=value, reason=Reason.SERVICE_TIMEOUT) for value in hashes)
        return Confirmation(answers=answers)


class Records:
    def record(self, decision: Decision, context: UploadContext) -> Receipt:
        return Receipt(encounter_id="1")


def check(filters: Filter, service: Service, *looks: Fingerprint) -> tuple[Decision, list[Fingerprint]]:
    looked: list[Fingerprint] = []

    def look_again(found: Fingerprint) -> Fingerprint:
        looked.append(found)
        return looks[0]

    checker = Checker(
        filters=filters, confirmer=service, policy=TablePolicy(), recorder=Records(), mode=Mode.ENFORCE
    )
    second = [look_again] if looks else []
    (decision,) = checker.check([Remembered(fingerprint=SEEN)], [ANONYMOUS], look_again=second)
    return decision, looked


def test_a_hit_that_a_second_look_confirms_is_asked_about() -> None:
    service = Service()
    decision, looked = check(Filter(PDQ), service, SEEN)
    assert looked == [SEEN]
    assert service.asked == [PDQ]
    assert decision.verdict.outcome is Outcome.UNCONFIRMED


def test_a_hit_that_a_second_look_does_not_find_is_unscannable_and_nobody_is_asked() -> None:
    service = Service()
    decision, _ = check(Filter(PDQ), service, DISAGREED)
    assert service.asked == []
    assert decision.verdict.outcome is Outcome.UNSCANNABLE
    assert Reason.DECODER_DISAGREED in decision.verdict.reasons
    assert not decision.allowed


def test_a_digest_that_hit_is_asked_about_whatever_the_pixels_say() -> None:
    service = Service()
    decision, _ = check(Filter(PDQ, SHA256), service, DISAGREED)
    assert service.asked == [SHA256]
    assert decision.verdict.outcome is Outcome.UNCONFIRMED


@pytest.mark.parametrize("hits", [(), (SHA256,)])
def test_what_rests_on_digests_alone_needs_no_second_look(hits: tuple[HashValue, ...]) -> None:
    _, looked = check(Filter(*hits), Service(), DISAGREED)
    assert looked == []
