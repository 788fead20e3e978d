"""Budgets of filter hits: which of them an item would go over. Pure.

In June 2021 a Dutch host switched its hash check off: a list held the stock pictures of a content management
system, and innocent sites were deleted in bulk. No signature stops such a list. What stops it is that hits
are rare (about 4 uploads in 10,000), that stock pictures come from many people, and that no uploader hits
twenty times an hour by chance. Beyond a budget nothing is blocked outright any more: it is held, the service
is asked later, and a person is told. Nothing is ever let through because a budget is used up, or whoever
floods a site would open its door.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from iii_client.config import GuardConfig
from iii_client.model import HashValue

#: The overall budget follows the median of so many hours before this one: a week, so that neither a quiet
#: night nor one bad day moves it. Hours without a hit count as such.
MEDIAN_HOURS = 7 * 24


class Budget(StrEnum):
    """Names of the budgets, as `Decision.guard` and the encounters hold them."""

    UPLOADER = "uploader"
    HASH = "hash"
    OVERALL = "overall"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One item that the filter knows.

    Attributes:
        uploader: pseudonym; empty for an anonymous upload.
        hashes: what hit.
    """

    uploader: bytes
    hashes: frozenset[HashValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What was used before.

    Attributes:
        this_hour: hits of this clock hour that no budget held back.
        hours: the same for each of the `MEDIAN_HOURS` before it that had any.
        of_uploader: hits of each uploader in the last 60 minutes, all of them.
        uploaders: of each hash in the last 24 hours: its different uploaders, each upload without an uploader
            as another one.
    """

    this_hour: int = 0
    hours: Sequence[int] = ()
    of_uploader: Mapping[bytes, int]
    uploaders: Mapping[HashValue, frozenset[bytes]]


def used_up(hits: Sequence[Hit], usage: Usage, limits: GuardConfig) -> tuple[str, ...]:
    """For each item the name of the budget it would go over, or an empty text; aligned.

    Items count one after the other, as if each came alone. What is held back for its uploader or its hash
    uses up nothing of the overall budget: one flood, or one bad hash, must not switch the check of all others
    to review.
    """
    hits_of = Counter(usage.of_uploader)
    uploaders_of = {value: set(known) for value, known in usage.uploaders.items()}
    this_hour, most_an_hour = usage.this_hour, overall_limit(usage.hours, limits)
    names: list[str] = []
    for number, hit in enumerate(hits):
        # Nobody knows whether two strangers are one person, so each counts as one.
        who = hit.uploader or b"stranger %d" % number
        for value in hit.hashes:
            uploaders_of.setdefault(value, set()).add(who)
        most_uploaders = max((len(uploaders_of[value]) for value in hit.hashes), default=0)
        name = ""
        # An upload without an uploader has no budget of that kind: it would be one for all strangers.
        if hit.uploader and 0 < limits.uploader_per_hour <= hits_of[hit.uploader]:
            name = Budget.UPLOADER.value
        elif 0 < limits.uploaders_per_hash < most_uploaders:
            name = Budget.HASH.value
        elif limits.per_hour and this_hour >= most_an_hour:
            name = Budget.OVERALL.value
        hits_of[hit.uploader] += 1
        this_hour += not name
        names.append(name)
    return tuple(names)


def overall_limit(hours: Sequence[int], limits: GuardConfig) -> float:
    """Most hits of one clock hour: so many times the median hour, and never fewer than `per_hour`."""
    quiet = [0] * (MEDIAN_HOURS - len(hours))
    return max(limits.per_hour, limits.times_median * median([*hours, *quiet]))
