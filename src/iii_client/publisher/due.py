"""What a release needs: nothing, deltas, or a base. Pure.

A base costs every client a whole download and the publisher a walk to the safe, a delta neither. But
deltas only add bits, to sections that exist and have room, so sooner or later a base is due.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from iii_client.model import Algorithm

#: A base this old is replaced when anything changed: removals wait no longer than that.
BASE_EVERY = timedelta(days=30)

#: Within this time deltas may set what clients accept in a day, which may begin and end within two of ours.
ALLOWANCE_WINDOW = timedelta(days=2)

#: Deltas of an epoch from which on a base is due: a fresh client fetches them all.
DELTAS_BEFORE_BASE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How the lists compare with the present release.

    Attributes:
        base_age: since the present base was published; None when there is none.
        deltas: of the present epoch.
        added: hashes for exact sections that the release does not find, by algorithm.
        removed: hashes that it finds and that are listed no more, about.
        room: hashes for which each exact section has room; an algorithm without a section is absent.
        allowed: hashes that deltas may add now, by algorithm.
        near_ready: new hashes of each convention of which a near segment can be built.
        near_pending: near segments were built and stand in no base yet.
        withdrawn_changed: whether other hashes of near segments are withdrawn than the base says.
        described_changed: whether coverage or mappings are others than the base says.
    """

    base_age: timedelta | None
    deltas: int
    added: Mapping[Algorithm, int]
    removed: int
    room: Mapping[Algorithm, int]
    allowed: Mapping[Algorithm, int]
    near_ready: Mapping[Algorithm, int]
    near_pending: bool
    withdrawn_changed: bool
    described_changed: bool

    @property
    def has_changed(self) -> bool:
        """Whether the release is not exactly what is listed."""
        return bool(
            any(self.added.values())
            or self.removed
            or self.near_ready
            or self.near_pending
            or self.withdrawn_changed
            or self.described_changed
        )


def base_reasons(state: State) -> tuple[str, ...]:
    """Why a base is due; empty when deltas do."""
    if state.base_age is None:
        return ("there is none yet",)
    reasons = []
    for algorithm, count in sorted(state.added.items()):
        if algorithm not in state.room:
            reasons.append(f"there is no section for {algorithm} hashes yet")
        elif count > state.room[algorithm]:
            reasons.append(
                f"{count:,} new {algorithm} hashes, the section has room for {state.room[algorithm]:,}"
            )
        elif count > state.allowed[algorithm]:
            reasons.append(
                f"{count:,} new {algorithm} hashes, deltas may add {state.allowed[algorithm]:,} now"
            )
    reasons += [
        f"{count:,} new {algorithm} hashes have gathered for a near segment"
        for algorithm, count in sorted(state.near_ready.items())
    ]
    if state.near_pending:
        reasons.append("a near segment was built and is in no base yet")
    if state.deltas >= DELTAS_BEFORE_BASE:
        reasons.append(f"there are {state.deltas:,} deltas since the last one")
    if state.base_age >= BASE_EVERY and state.has_changed:
        reasons.append(f"the last one is {state.base_age.days} days old")
    return tuple(reasons)


def allowed_bits(
    size_bits: int,
    *,
    base_at: datetime,
    set_before: Sequence[tuple[datetime, int]],
    now: datetime,
    day_ratio: float,
) -> int:
    """How many bits of a section deltas may set now.

    Args:
        size_bits: of the section.
        base_at: when the base was published.
        set_before: when each earlier delta of this epoch was published, and the bits it set.
        now: the present time.
        day_ratio: share that clients accept in a day.
    """
    recently = sum(bits for at, bits in set_before if now - at < ALLOWANCE_WINDOW)
    days = max(1.0, (now - base_at) / timedelta(days=1))
    for_fresh_clients = day_ratio * days * size_bits - sum(bits for _, bits in set_before)
    return max(0, int(min(day_ratio * size_bits - recently, for_fresh_clients)))
