"""What was found: one verdict from a fingerprint, its filter hits and the service's answers.

Promises: reads no clock and does no I/O; "could not look" and "could not ask" never become "no match".
"""

from collections.abc import Iterable
from dataclasses import replace

from iii_client.model import (
    UNSCANNABLE_REASONS,
    Candidate,
    Confirmation,
    Fingerprint,
    Listed,
    Match,
    NotListed,
    Outcome,
    Reason,
    ReleaseId,
    Unanswered,
    Verdict,
)


def judge(
    fingerprint: Fingerprint,
    *,
    candidates: tuple[Candidate, ...],
    confirmation: Confirmation,
    release: ReleaseId,
    filter_reasons: tuple[Reason, ...] = (),
) -> Verdict:
    """Find the gravest thing that can be said about one item.

    Gravity: a listed answer outweighs everything; a hit that nobody could answer outweighs a picture that
    could not be looked at; only when everything was looked at and everything asked was denied is it
    `NO_MATCH`.

    Args:
        fingerprint: what was hashed, and in `skipped` what was not.
        candidates: filter hits of this fingerprint.
        confirmation: answers about hashes of these candidates.
        release: the release that was asked.
        filter_reasons: state of the filter (`NO_FILTER`, `FILTER_EXPIRED`, `FILTER_BYPASSED`) and of the
            look-up (`PROBE_OVERFLOW`).
    """
    matches = tuple(
        _seen_from_here(match, candidates)
        for answer in confirmation.answers
        if isinstance(answer, Listed)
        for match in answer.matches or (_bare_match(answer),)
    )
    unanswered = [_why_unanswered(a) for a in confirmation.answers if isinstance(a, Unanswered)]
    # The search was cut off before its end: what it would have found was not asked about.
    unanswered += [reason for reason in filter_reasons if reason is Reason.PROBE_OVERFLOW]
    if candidates and not confirmation.answers:
        # A hit that nobody asked about: a bug elsewhere must not read as an innocent file.
        unanswered.append(Reason.NO_SERVICE)
    not_looked_at = [
        reason
        for reason in (*(skip.reason for skip in fingerprint.skipped), *filter_reasons)
        if reason in UNSCANNABLE_REASONS
    ]
    denied = [
        Reason.WITHDRAWN if answer.withdrawn else Reason.NOT_LISTED
        for answer in confirmation.answers
        if isinstance(answer, NotListed)
    ]
    notes = [
        reason
        for reason in filter_reasons
        if reason not in UNSCANNABLE_REASONS and reason is not Reason.PROBE_OVERFLOW
    ]

    if matches:
        outcome, reasons = Outcome.MATCHED, [*unanswered, *not_looked_at]
    elif unanswered:
        outcome, reasons = Outcome.UNCONFIRMED, [*unanswered, *not_looked_at]
    elif not_looked_at:
        outcome, reasons = Outcome.UNSCANNABLE, [*not_looked_at, *denied]
    else:
        outcome, reasons = Outcome.NO_MATCH, denied
    return Verdict(
        outcome=outcome,
        fingerprint=fingerprint,
        candidates=candidates,
        matches=matches,
        reasons=_distinct([*reasons, *notes]),
        release=release,
        hashes_sent=confirmation.hashes_sent,
        confirm_id=confirmation.confirm_id,
    )


def _bare_match(answer: Listed) -> Match:
    """Listed, and nothing more said: still listed."""
    return Match(hash=answer.hash, distance_bits=0, exact=answer.hash.algorithm.is_digest)


def _seen_from_here(match: Match, candidates: tuple[Candidate, ...]) -> Match:
    """The distance to the picture: the service knows only that to the hash it was sent, which for a
    closed ring is the listed hash itself. How far the picture is from that stayed here."""
    here = next((c.distance_bits for c in candidates if c.hash == match.hash), 0)
    return replace(match, distance_bits=here + match.distance_bits) if here else match


def _why_unanswered(answer: Unanswered) -> Reason:
    """A listed digest that the service has no question for is another matter than a probable look-alike:
    the bytes are in the filter, and only a chance hit of one in a million speaks for them."""
    if answer.reason is Reason.SERVICE_CANNOT_CONFIRM and answer.hash.algorithm.is_digest:
        return Reason.SERVICE_CANNOT_CONFIRM_DIGEST
    return answer.reason


def _distinct(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    return tuple(dict.fromkeys(reasons))
