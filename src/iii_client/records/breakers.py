"""Circuit breakers in the store: one row an endpoint, shared by all workers, kept over a restart.

An alarm of a breaker becomes an alarm for people in the same transaction, and is dismissed in that of the
first answer after it.
"""

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from iii_client.model.breakers import CLOSED, BreakerState
from iii_client.records.alarms import dismiss, raise_alarm
from iii_client.records.audit import append_audit
from iii_client.records.operators import Operators
from iii_client.records.store import Store, Transaction, as_ms, utc_now

_T = TypeVar("_T")

_COLUMNS = "failures, open_until_ms, probe_until_ms, wait_until_ms, alarm"
_ALARM_DETAIL = (
    "The confirming service refuses the credentials; probable hits wait in the outbox. Check"
    " III_SERVICE_USERNAME and III_SERVICE_PASSWORD with whoever runs the service, then: iii-client doctor."
)
#: Who dismisses an alarm whose cause is gone.
_ITSELF = Operators(first="iii-client")


class Breakers:
    """Keeps breakers in a store. Fits `service.guarded.BreakerStore`.

    Args:
        store: where to.
        clock: aware.
    """

    def __init__(self, store: Store, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._clock = clock

    def apply(self, endpoint: str, step: Callable[[BreakerState], tuple[_T, BreakerState]]) -> _T:
        """Replace a breaker's state by the next one, in one atomic step. A state that stays is not written.

        Raises:
            RecordError: the store refused.
        """
        with self._store.reading() as tx:
            state = _read(tx, endpoint)
        result, after = step(state)
        if after == state:
            return result
        with self._store.transaction() as tx:
            # Somebody may have changed it since: read again under the row's lock.
            state = _lock(tx, endpoint, now=self._clock())
            result, after = step(state)
            self._write(tx, endpoint, state, after)
            return result

    def get(self, endpoint: str) -> BreakerState:
        """One breaker, as it stands.

        Raises:
            RecordError: the store refused.
        """
        return self.apply(endpoint, lambda state: (state, state))

    def reset(self, endpoint: str, *, by: Operators) -> None:
        """Let a service be asked again at once; its alarm stays until it answers. Audited.

        Raises:
            RecordError: the store refused.
        """
        now = self._clock()
        with self._store.transaction() as tx:
            # The breaker first and the log after it, in the order of whoever dismisses its alarm.
            state = _lock(tx, endpoint, now=now)
            append_audit(tx, "service_resumed", {"endpoint": endpoint, **by.named}, now=now)
            self._write(tx, endpoint, state, BreakerState(alarm=state.alarm))

    def _write(self, tx: Transaction, endpoint: str, before: BreakerState, after: BreakerState) -> None:
        now = self._clock()
        tx.execute(
            "UPDATE breaker SET failures = :failures, open_until_ms = :open_until_ms,"
            " probe_until_ms = :probe_until_ms, wait_until_ms = :wait_until_ms, alarm = :alarm,"
            " changed_ms = :changed_ms WHERE endpoint = :endpoint",
            endpoint=endpoint,
            failures=after.failures,
            open_until_ms=after.open_until_ms,
            probe_until_ms=after.probe_until_ms,
            wait_until_ms=after.wait_until_ms,
            alarm=after.alarm,
            changed_ms=as_ms(now),
        )
        if before.alarm and not after.alarm:
            dismiss(tx, before.alarm, by=_ITSELF, now=now)
        if after.alarm and not before.alarm:
            raise_alarm(tx, after.alarm, _ALARM_DETAIL, now=now)


def _read(tx: Transaction, endpoint: str) -> BreakerState:
    rows = tx.query(f"SELECT {_COLUMNS} FROM breaker WHERE endpoint = :endpoint", endpoint=endpoint)  # noqa: S608
    return _state(*rows[0]) if rows else CLOSED


def _lock(tx: Transaction, endpoint: str, *, now: datetime) -> BreakerState:
    (row,) = tx.query(
        f"INSERT INTO breaker (endpoint, {_COLUMNS}, changed_ms)"  # noqa: S608 - our own column names
        " VALUES (:endpoint, 0, 0, 0, 0, '', :now)"
        f" ON CONFLICT (endpoint) DO UPDATE SET endpoint = excluded.endpoint RETURNING {_COLUMNS}",
        endpoint=endpoint,
        now=as_ms(now),
    )
    return _state(*row)


def _state(
    failures: int, open_until_ms: int, probe_until_ms: int, wait_until_ms: int, alarm: str
) -> BreakerState:
    return BreakerState(
        failures=failures,
        open_until_ms=open_until_ms,
        probe_until_ms=probe_until_ms,
        wait_until_ms=wait_until_ms,
        alarm=alarm,
    )
