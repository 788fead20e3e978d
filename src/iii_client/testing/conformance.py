"""Does a plug of your own keep the promises of its protocol? One function a plug, for your tests.

    def test_our_adapter(service):
        check_confirmer(OurAdapter(service.url), listed=LISTED, not_listed=OTHER)

Each raises `AssertionError` with the promise that is broken.
"""

from collections.abc import Sequence

from iii_client.model import (
    ANONYMOUS,
    NO_RELEASE,
    Action,
    Confirmation,
    Fingerprint,
    HashValue,
    Listed,
    NotListed,
    Outcome,
    Reason,
    Unanswered,
    Verdict,
)
from iii_client.protocols import Confirmer, Policy


def check_confirmer(confirmer: Confirmer, *, listed: HashValue, not_listed: HashValue) -> None:
    """A confirmer whose service can be reached and knows one of two hashes.

    Args:
        confirmer: yours.
        listed: a hash that its service lists.
        not_listed: one of the same algorithm that it does not.

    Raises:
        AssertionError: a promise of `protocols.Confirmer` is broken.
    """
    _promise(confirmer.supports(listed.algorithm), "it supports the algorithm of what its service lists")
    nothing = confirmer.confirm(())
    _promise(not nothing.answers and not nothing.hashes_sent, "nothing asked: nothing answered, nothing sent")
    for hashes in ((listed, not_listed), (not_listed, listed), (listed, listed, not_listed)):
        confirmation = confirmer.confirm(hashes)
        _aligned(confirmation, hashes)
        for value, answer in zip(hashes, confirmation.answers, strict=True):
            kind = Listed if value == listed else NotListed
            _promise(isinstance(answer, kind), f"an answer about this hash is {kind.__name__}")
        _promise(confirmation.hashes_sent <= len(set(hashes)), "a hash is counted as sent once")
    late = confirmer.confirm((listed,), spent_s=1e6)
    _aligned(late, (listed,))
    _promise(isinstance(late.answers[0], Unanswered), "a budget that is used up leaves no answer")


def check_unreachable_confirmer(confirmer: Confirmer, *, value: HashValue) -> None:
    """A confirmer whose service cannot be reached: it says so, and neither raises nor calls it "not listed".

    Raises:
        AssertionError: a promise of `protocols.Confirmer` is broken.
    """
    confirmation = confirmer.confirm((value,))
    _aligned(confirmation, (value,))
    _promise(isinstance(confirmation.answers[0], Unanswered), "no service: no answer")


def check_policy(policy: Policy) -> None:
    """A policy: pure, named, and never milder for what could not be looked at than for "no match".

    Raises:
        AssertionError: a promise of `protocols.Policy` is broken.
    """
    _promise(
        bool(policy.version) and policy.version == policy.version, "it has a version that stays the same"
    )
    innocent = policy.rule(_verdict(Outcome.NO_MATCH), ANONYMOUS)
    for verdict in (
        _verdict(Outcome.NO_MATCH),
        _verdict(Outcome.UNSCANNABLE, Reason.DECODE_FAILED),
        _verdict(Outcome.UNSCANNABLE, Reason.NO_FILTER),
        _verdict(Outcome.UNCONFIRMED, Reason.SERVICE_TIMEOUT),
    ):
        ruling = policy.rule(verdict, ANONYMOUS)
        _promise(ruling == policy.rule(verdict, ANONYMOUS), "the same verdict is ruled the same")
        _promise(bool(ruling.rule), "a ruling names its row")
        _promise(isinstance(ruling.action, Action), "a ruling is an Action")
        _promise(ruling.action >= innocent.action, "what is not known to be innocent is not ruled milder")


def _aligned(confirmation: Confirmation, hashes: Sequence[HashValue]) -> None:
    _promise(
        tuple(answer.hash for answer in confirmation.answers) == tuple(hashes),
        "answers are aligned with what was asked",
    )


def _promise(kept: bool, promise: str) -> None:
    if not kept:
        raise AssertionError(f"not kept: {promise}")


def _verdict(outcome: Outcome, *reasons: Reason) -> Verdict:
    fingerprint = Fingerprint(recipe="fast-v1", size_bytes=9, kind="png")
    return Verdict(outcome=outcome, fingerprint=fingerprint, reasons=reasons, release=NO_RELEASE)
