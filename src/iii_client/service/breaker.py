"""The circuit breaker's rules: when a service is asked, and when it is left alone. Pure, reads no clock.

                 OPEN_AFTER failures in a row            its pause is over
        closed ────────────────────────────────► open ───────────────────────► half-open
          ▲                                       ▲                               │  one caller probes,
          │                                       └──── the probe failed: ────────┤  the others stay away
          │                                             twice the pause           │
          └──────────────────────────── anything was answered ◄───────────────────┘

Besides, and whatever the state: a service that asks for a pause (`minimum_wait_s`, `Retry-After`) gets it. A
status of 4xx is an answer, so it never opens the breaker; 401 and 403 set an alarm that stays until an answer
comes. Each function takes a state and gives the next one; whoever stores it makes that step atomic.
"""

from dataclasses import replace
from enum import Enum

from iii_client.model.breakers import SERVICE_REFUSED_ALARM, BreakerState

#: Failures in a row that open it. Each is a call with its retry, and costs an upload up to the whole budget;
#: opened too early, some items wait in the outbox for the first pause.
OPEN_AFTER = 3
#: First pause, in seconds; it doubles with each failed probe, and up to as much again is added at random, so
#: that hosts which lost a service together do not come back together.
FIRST_PAUSE_S = 1.0
#: Longest pause: so long a service may be back before it is noticed.
LONGEST_PAUSE_S = 300.0
#: How long a probe keeps the others away. Longer than any call; a prober that was killed costs so much.
PROBE_S = 60.0
#: Longest wait that is believed, in seconds: a day. A stored time farther ahead comes from a clock that was
#: set back since.
LONGEST_WAIT_S = 24 * 3600.0


class Admission(Enum):
    """Whether a call may be made."""

    GO = "go"
    #: Yes, and what becomes of it decides for everybody.
    PROBE = "probe"
    #: No: the service is left alone.
    PAUSED = "paused"


class Phase(Enum):
    """What a breaker is doing, for people and metrics."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    #: The service asked to be left alone.
    WAITING = "waiting"


def admit(state: BreakerState, *, now_ms: int) -> tuple[Admission, BreakerState]:
    """Whether a call may be made now. A `PROBE` is granted to one caller at a time."""
    match phase(state, now_ms=now_ms):
        case Phase.CLOSED:
            return Admission.GO, state
        case Phase.HALF_OPEN if not _ahead(state.probe_until_ms, now_ms):
            return Admission.PROBE, replace(state, probe_until_ms=now_ms + _ms(PROBE_S))
        case _:
            return Admission.PAUSED, state


def phase(state: BreakerState, *, now_ms: int) -> Phase:
    """What the breaker is doing."""
    if _ahead(state.wait_until_ms, now_ms):
        return Phase.WAITING
    if state.failures < OPEN_AFTER:
        return Phase.CLOSED
    return Phase.OPEN if _ahead(state.open_until_ms, now_ms) else Phase.HALF_OPEN


def paused_s(state: BreakerState, *, now_ms: int) -> float:
    """Seconds until somebody may ask again; 0 when now."""
    ends = [state.wait_until_ms]
    if state.failures >= OPEN_AFTER:
        ends += [state.open_until_ms, state.probe_until_ms]
    return max([(end - now_ms) / 1000 for end in ends if _ahead(end, now_ms)], default=0.0)


def worked(state: BreakerState, *, wait_s: float, now_ms: int) -> BreakerState:
    """After a call that was answered as it should be.

    Args:
        wait_s: how long the service asks to be left alone, 0 for not at all.
    """
    return replace(answered(state, wait_s=wait_s, now_ms=now_ms), alarm="")


def answered(state: BreakerState, *, wait_s: float, now_ms: int) -> BreakerState:
    """After any sign of life: a refusal, too, or the wish to be left alone."""
    wait_until_ms = state.wait_until_ms if _ahead(state.wait_until_ms, now_ms) else 0
    if wait_s > 0:
        wait_until_ms = max(wait_until_ms, now_ms + _ms(min(wait_s, LONGEST_WAIT_S)))
    return BreakerState(wait_until_ms=wait_until_ms, alarm=state.alarm)


def refused(state: BreakerState, *, now_ms: int) -> BreakerState:
    """After 401 or 403: it lives, and somebody must look at the credentials."""
    return replace(answered(state, wait_s=0, now_ms=now_ms), alarm=SERVICE_REFUSED_ALARM)


def failed(state: BreakerState, *, probed: bool, jitter: float, now_ms: int) -> BreakerState:
    """After a call that failed.

    Args:
        probed: the call was a `PROBE`.
        jitter: at random from 0 to 1.
    """
    if state.failures >= OPEN_AFTER and not probed:
        # A call from before it opened: many at once must not count as many failed probes.
        return state
    failures = state.failures + 1
    if failures < OPEN_AFTER:
        return replace(state, failures=failures)
    pause_s = min(FIRST_PAUSE_S * 2 ** min(failures - OPEN_AFTER, 16) * (1 + jitter), LONGEST_PAUSE_S)
    return replace(state, failures=failures, open_until_ms=now_ms + _ms(pause_s), probe_until_ms=0)


def not_asked(state: BreakerState, *, probed: bool) -> BreakerState:
    """After a call that was not made in the end: a probe is given back."""
    return replace(state, probe_until_ms=0) if probed else state


def _ahead(until_ms: int, now_ms: int) -> bool:
    return 0 < until_ms - now_ms <= _ms(LONGEST_WAIT_S)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
