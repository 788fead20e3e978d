"""Outcomes, actions and the reasons for them: what was found, and what the policy orders.

All reasons stand in this one place. "Could not look" and "could not ask" are outcomes of their own, so
that no `None`, no empty string and no `False` ever stands for a failure.
"""

from enum import Enum, StrEnum
from functools import total_ordering


class _NoTruth(Enum):
    """An enum whose truth value may not be asked: `if outcome:` is a bug in upload code."""

    def __bool__(self) -> bool:
        raise TypeError(
            f"the truth of a {type(self).__name__} is ambiguous; compare it, or ask decision.allowed"
        )


@total_ordering
class Outcome(_NoTruth):
    """What was found. Ordered by gravity within this type only."""

    NO_MATCH = "no_match"
    UNSCANNABLE = "unscannable"
    UNCONFIRMED = "unconfirmed"
    MATCHED = "matched"

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Outcome):
            return NotImplemented
        order = list(Outcome)
        return order.index(self) < order.index(other)


@total_ordering
class Action(_NoTruth):
    """What the policy orders."""

    ALLOW = "allow"
    QUARANTINE = "quarantine"
    BLOCK = "block"

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Action):
            return NotImplemented
        order = list(Action)
        return order.index(self) < order.index(other)


class Mode(StrEnum):
    """Whether actions are carried out. There is no default: the hoster decides."""

    SHADOW = "shadow"
    ENFORCE = "enforce"


class Reason(StrEnum):
    """Why something was not looked at, not asked, or ruled as it was."""

    # The content: could not look.
    UNREADABLE = "unreadable"
    NOT_A_FILE = "not_a_file"
    EMPTY = "empty"
    TOO_LARGE = "too_large"
    TOO_MANY_PIXELS = "too_many_pixels"
    TRUNCATED = "truncated"
    DECODE_FAILED = "decode_failed"
    DECODE_TIMEOUT = "decode_timeout"
    DECODER_CRASHED = "decoder_crashed"
    DECODER_DISAGREED = "decoder_disagreed"
    DECODER_UNAVAILABLE = "decoder_unavailable"
    FORMAT_NOT_ENABLED = "format_not_enabled"
    FORMAT_NOT_SUPPORTED = "format_not_supported"
    # The content: noted, but nothing was missed that this version promises.
    NOT_A_PICTURE = "not_a_picture"
    FRAMES_SAMPLED = "frames_sampled"
    # Gates: exact membership only, no near-match probing.
    LOW_QUALITY = "low_quality"
    LOW_MARGIN = "low_margin"
    # The filter.
    NO_FILTER = "no_filter"
    FILTER_EXPIRED = "filter_expired"
    #: Signed more than a day ago: noted, and ruled by a row of its own.
    FILTER_STALE = "filter_stale"
    FILTER_BYPASSED = "filter_bypassed"
    PROBE_OVERFLOW = "probe_overflow"
    # The service: could not ask, or no usable answer.
    NO_SERVICE = "no_service"
    SERVICE_UNREACHABLE = "service_unreachable"
    SERVICE_TIMEOUT = "service_timeout"
    SERVICE_REFUSED = "service_refused"
    SERVICE_RATE_LIMITED = "service_rate_limited"
    SERVICE_ERROR = "service_error"
    SERVICE_BAD_ANSWER = "service_bad_answer"
    SERVICE_CANNOT_CONFIRM = "service_cannot_confirm"
    SERVICE_CANNOT_CONFIRM_DIGEST = "service_cannot_confirm_digest"
    OWN_HASH_WITHHELD = "own_hash_withheld"
    #: The service failed repeatedly or asked to be left alone: it was not asked just now.
    SERVICE_PAUSED = "service_paused"
    #: A budget of filter hits is used up: the outbox asks later.
    DEFERRED = "deferred"
    #: The hoster's own list of known-good digests holds this item: nobody was asked.
    ALLOW_LISTED = "allow_listed"
    # Answers.
    NOT_LISTED = "not_listed"
    WITHDRAWN = "withdrawn"


#: Reasons in `Fingerprint.skipped` after which "no match" would be a lie.
UNSCANNABLE_REASONS = frozenset(
    {
        Reason.UNREADABLE,
        Reason.NOT_A_FILE,
        Reason.EMPTY,
        Reason.TOO_LARGE,
        Reason.TOO_MANY_PIXELS,
        Reason.TRUNCATED,
        Reason.DECODE_FAILED,
        Reason.DECODE_TIMEOUT,
        Reason.DECODER_CRASHED,
        Reason.DECODER_DISAGREED,
        Reason.DECODER_UNAVAILABLE,
        Reason.FORMAT_NOT_ENABLED,
        Reason.FORMAT_NOT_SUPPORTED,
        Reason.NO_FILTER,
        Reason.FILTER_EXPIRED,
    }
)

#: Reasons for which a later answer may come: such an item is kept in the outbox until it does.
ANSWERABLE_REASONS = frozenset(
    {
        Reason.NO_SERVICE,
        Reason.SERVICE_UNREACHABLE,
        Reason.SERVICE_TIMEOUT,
        Reason.SERVICE_REFUSED,
        Reason.SERVICE_RATE_LIMITED,
        Reason.SERVICE_ERROR,
        Reason.SERVICE_BAD_ANSWER,
        Reason.SERVICE_PAUSED,
        Reason.DEFERRED,
    }
)
