"""What "no match" rests on: remembered only for all that it was concluded from."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from iii_client.checking import Checker
from iii_client.decide import TablePolicy
from iii_client.model import (
    ANONYMOUS,
    Algorithm,
    Confirmation,
    Decision,
    Fingerprint,
    Freshness,
    HashValue,
    LookUp,
    Mode,
    Outcome,
    Reason,
    Receipt,
    ReleaseId,
    Remembered,
    UploadContext,
)

SEEN = Fingerprint(
    recipe="fast-v2",
    size_bytes=9,
    kind="png",
    digests=(HashValue(algorithm=Algorithm.SHA256, value=bytes(32)),),
)


FIRST = ReleaseId(epoch=1, sequence=0)


@dataclass
class EmptyFilter:
    """Finds nothing, and counts how often it is asked."""

    contents: str = "1.0"
    release: ReleaseId = FIRST
    freshness: Freshness = Freshness.FRESH
    asked: int = 0

    def current(self) -> "EmptyFilter":
        return self

    def look_up(self, fingerprints: Sequence[Fingerprint]) -> tuple[LookUp, ...]:
        self.asked += len(fingerprints)
        return (LookUp(),) * len(fingerprints)


@dataclass
class Notebook:
    """A memory in a dictionary."""

    keys: dict[Fingerprint, str] = field(default_factory=dict)

    def recall(self, sha256: HashValue, *, recipe: str) -> Remembered | None:
        raise AssertionError("a checker recalls nothing; its caller does")

    def remember(self, fingerprint: Fingerprint) -> None:
        self.keys.setdefault(fingerprint, "")

    def remember_no_match(self, fingerprint: Fingerprint, *, key: str) -> None:
        self.keys[fingerprint] = key


class NobodyIsAsked:
    def supports(self, algorithm: Algorithm) -> bool:
        return True

    def confirm(self, hashes: Sequence[HashValue], *, spent_s: float = 0.0) -> Confirmation:
        raise AssertionError("nothing hit")


class NothingIsRecorded:
    def record(self, decision: Decision, context: UploadContext) -> Receipt:
        return Receipt(encounter_id="1")


@pytest.fixture
def memory() -> Notebook:
    return Notebook()


def checked(filters: EmptyFilter, memory: Notebook, *, views: Sequence[str] = ("upright",)) -> Decision:
    checker = Checker(
        filters=filters,
        confirmer=NobodyIsAsked(),
        policy=TablePolicy(),
        recorder=NothingIsRecorded(),
        mode=Mode.ENFORCE,
        memory=memory,
        views=views,
    )
    seen = Remembered(fingerprint=SEEN, no_match_key=memory.keys.get(SEEN, ""), recalled=SEEN in memory.keys)
    (decision,) = checker.check([seen], [ANONYMOUS])
    return decision


def test_what_this_very_filter_said_nothing_about_is_not_looked_up_again(memory: Notebook) -> None:
    filters = EmptyFilter()
    for _ in range(3):
        assert checked(filters, memory).verdict.outcome is Outcome.NO_MATCH
    assert filters.asked == 1


def test_another_release_other_parts_of_it_or_other_views_are_asked_again(memory: Notebook) -> None:
    """A login that opens near segments brings them into the same release; a delta comes within an epoch."""
    checked(EmptyFilter(), memory)
    for contents in ("1.0+near/pdq/1", "1.1+near/pdq/1"):
        filters = EmptyFilter(contents=contents)
        checked(filters, memory)
        assert filters.asked == 1
    filters = EmptyFilter(contents="1.1+near/pdq/1")
    checked(filters, memory, views=("upright", "mirror"))
    assert filters.asked == 1


def test_an_expired_filter_teaches_nothing_and_is_not_trusted_with_what_was_remembered(
    memory: Notebook,
) -> None:
    checked(EmptyFilter(), memory)
    filters = EmptyFilter(freshness=Freshness.EXPIRED)
    decision = checked(filters, memory)
    assert filters.asked == 1
    assert decision.verdict.outcome is Outcome.UNSCANNABLE
    assert Reason.FILTER_EXPIRED in decision.verdict.reasons


def test_a_stale_filter_is_remembered_like_a_fresh_one(memory: Notebook) -> None:
    checked(EmptyFilter(), memory)
    filters = EmptyFilter(freshness=Freshness.STALE)
    assert checked(filters, memory).verdict.outcome is Outcome.NO_MATCH
    assert filters.asked == 0
