"""How fast a filter may grow: a gate that trusts no signature, because deltas come from an online key.

A delta may set one bit in 2,000 of a section (`filters/delta.py`). Over a day it may be .5 %, whatever
is signed: a stolen key that floods the filter is stopped long before the filter is full, and a publisher who
needs more publishes a base. A host that was away for days may catch up on as many days.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from iii_client.errors import GateError
from iii_client.model import ReleaseId
from iii_client.updates.fields import moment, number

#: Share of a section's bits that deltas may set in a day. Ten daily deltas of the largest size.
DAY_RATIO = 0.005
DAY = timedelta(days=1)

#: Rows that the pointer keeps: of a host that updates every five minutes for a day. The oldest go first.
MAX_GROWTH_ROWS = 288


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What one update's deltas added.

    Attributes:
        at: when they were installed, aware.
        bits: for each section that grew, how many bits were set.
    """

    at: datetime
    bits: Mapping[str, int]


def growth_of(steps: Iterable[Mapping[str, int]], *, now: datetime) -> Growth:
    """All steps of one update together."""
    total: dict[str, int] = {}
    for step in steps:
        for name, bits in step.items():
            total[name] = total.get(name, 0) + bits
    return Growth(at=now, bits=total)


def recent(rows: Sequence[Growth], *, now: datetime) -> tuple[Growth, ...]:
    """The rows of the last day. One from the future, of a clock that was wrong, counts until it is past."""
    return tuple(row for row in rows if now - row.at < DAY)[-MAX_GROWTH_ROWS + 1 :]


class Allowance:
    """What the deltas of one update may add, told of each before the next is fetched: a flood is refused at
    the delta that is too much, and neither the disk nor the memory holds the rest.

    Args:
        earlier: what was added within the last day.
        sizes: bits of each section.
        days: as `check_growth`.
        release: that results.
        now: the present time.
    """

    def __init__(
        self,
        *,
        earlier: Sequence[Growth],
        sizes: Mapping[str, int],
        days: float,
        release: ReleaseId,
        now: datetime,
    ) -> None:
        self._earlier = tuple(earlier)
        self._sizes = sizes
        self._days = days
        self._release = release
        self._grown = Growth(at=now, bits={})

    def spend(self, bits: Mapping[str, int]) -> None:
        """One more delta, which sets so many bits in each section.

        Raises:
            GateError: all of them together add too much, or to a section that is not there.
        """
        if unknown := bits.keys() - self._sizes.keys():
            raise GateError(
                f"the deltas to release {self._release} do not fit: a delta for section {min(unknown)}, "
                "which this release has not",
                hint="The filter in use stays. Tell the publisher of the filter.",
            )
        self._grown = growth_of((self._grown.bits, bits), now=self._grown.at)
        check_growth(
            self._grown, earlier=self._earlier, sizes=self._sizes, days=self._days, release=self._release
        )

    @property
    def rows(self) -> tuple[Growth, ...]:
        """What was added within the last day, this update included."""
        return (*self._earlier, self._grown) if self._grown.bits else self._earlier


def check_growth(
    grown: Growth,
    *,
    earlier: Sequence[Growth],
    sizes: Mapping[str, int],
    days: float,
    release: ReleaseId,
) -> None:
    """Refuse deltas that add more than the days that they stand for allow.

    Args:
        grown: what they add.
        earlier: what was added within the last day.
        sizes: bits of each section.
        days: since this host last knew that it had the newest release, or the base was published; 1 at least.

    Raises:
        GateError: with the section and its share.
    """
    for name, bits in grown.bits.items():
        total = bits + sum(row.bits.get(name, 0) for row in earlier)
        allowed = DAY_RATIO * max(1.0, days) * sizes[name]
        if total > allowed:
            raise GateError(
                f"release {release} adds {total / sizes[name]:.3%} or more to section {name} within "
                f"{max(1.0, days):.1f} days, at most {DAY_RATIO:.1%} a day are plausible",
                hint="The filter in use stays. Tell the publisher of the filter; it is tried again tomorrow.",
            )


def growth_to_json(row: Growth) -> dict[str, Any]:
    """One row as the pointer keeps it."""
    return {"at": row.at.isoformat(), "bits": dict(row.bits)}


def growth_from_json(row: Any) -> Growth:
    """Read what `growth_to_json` wrote.

    Raises:
        KeyError, TypeError, ValueError: anything else.
    """
    bits = row["bits"]
    if not isinstance(bits, dict):
        raise TypeError("bits must be an object")
    return Growth(at=moment(row, "at"), bits={str(name): number(bits, name, 0) for name in bits})
