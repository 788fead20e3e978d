"""Alarms: what needs a person, one row a kind, open until somebody dismisses it.

An alarm that goes off a thousand times is one row with a count and one notice: whoever is woken at night is
woken once.

Locks (PostgreSQL): in a transaction that also appends to the audit log, append first and raise then, or two
of them may wait for each other.
"""

from dataclasses import dataclass
from datetime import datetime

from iii_client.model import AlarmRaised
from iii_client.records.audit import append_audit
from iii_client.records.notices import add_notice
from iii_client.records.operators import Operators
from iii_client.records.store import Transaction, as_text, storable

#: Longest detail that is kept, in characters.
_MAX_DETAIL = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Something that needs a person.

    Attributes:
        kind: what, e.g. `outbox_overdue`.
        detail: one sentence, as of the last time; no hash, no name of a file or an uploader.
        first_at, last_at: when it went off, aware.
        times: how often since `first_at`.
    """

    kind: str
    detail: str
    first_at: datetime
    last_at: datetime
    times: int


def raise_alarm(tx: Transaction, kind: str, detail: str, *, now: datetime) -> bool:
    """Let an alarm go off.

    Args:
        tx: the transaction that it becomes part of.
        kind: one word, e.g. `outbox_overdue`; alarms of one kind are one.
        detail: one sentence for a person that says what to do; no hash, no name of a file or an uploader.
        now: aware.

    Returns:
        Whether it is new; then a notice goes out, too.
    """
    detail = storable(detail)[:_MAX_DETAIL]
    ((times,),) = tx.query(
        "INSERT INTO alarm (kind, first_at, last_at, times, detail) VALUES (:kind, :at, :at, 1, :detail)"
        " ON CONFLICT (kind) DO UPDATE"
        " SET last_at = excluded.last_at, detail = excluded.detail, times = alarm.times + 1"
        " RETURNING times",
        kind=kind,
        at=as_text(now),
        detail=detail,
    )
    if times == 1:
        add_notice(tx, AlarmRaised(alarm=kind, detail=detail, at=now), now=now)
    return bool(times == 1)


def open_alarms(tx: Transaction) -> tuple[Alarm, ...]:
    """Alarms that nobody has dismissed, the oldest first."""
    rows = tx.query("SELECT kind, detail, first_at, last_at, times FROM alarm ORDER BY first_at, kind")
    return tuple(
        Alarm(
            kind=kind,
            detail=detail,
            first_at=datetime.fromisoformat(first_at),
            last_at=datetime.fromisoformat(last_at),
            times=times,
        )
        for kind, detail, first_at, last_at, times in rows
    )


def dismiss(tx: Transaction, kind: str, *, by: Operators, now: datetime) -> bool:
    """Close an alarm: a person has seen it. If its cause is still there, it goes off again.

    Args:
        by: who, for the audit log.

    Returns:
        Whether it was open; otherwise nothing is changed or logged.
    """
    if not tx.query("SELECT 1 FROM alarm WHERE kind = :kind", kind=kind):
        return False
    append_audit(tx, "alarm_dismissed", {"alarm": kind, **by.named}, now=now)
    return bool(tx.execute("DELETE FROM alarm WHERE kind = :kind", kind=kind))
