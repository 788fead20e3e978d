"""What is remembered of a service between calls, so that no worker asks one that should be left alone."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerState:
    """One service's circuit breaker, as all workers share it. The rules are in `service/breaker.py`.

    Attributes:
        failures: calls that failed since the last one that was answered.
        open_until_ms: nobody asks before this time (milliseconds since 1970), because calls failed.
        probe_until_ms: somebody is trying it, and until this time nobody else does.
        wait_until_ms: nobody asks before this time, because the service asked for it.
        alarm: what only a person can put right, e.g. `service_refused`; empty when nothing.
    """

    failures: int = 0
    open_until_ms: int = 0
    probe_until_ms: int = 0
    wait_until_ms: int = 0
    alarm: str = ""


#: A breaker that nothing has happened to.
CLOSED = BreakerState()

#: `BreakerState.alarm`: the credentials were refused (401 or 403).
SERVICE_REFUSED_ALARM = "service_refused"
