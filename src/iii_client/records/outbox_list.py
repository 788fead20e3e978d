"""What is in the outbox: rows and counts for people, doctor and metrics. Reads only."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime

from iii_client.records.outbox import OutboxState
from iii_client.records.store import Row, Transaction, as_ms

OPEN_STATES = frozenset({OutboxState.PENDING, OutboxState.FOR_REVIEW})


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxRow:
    """One row, without hashes.

    Attributes:
        id, encounter_id, case_reference: internal, of the record, and what the uploader may quote.
        route, reference: what the application gave.
        state: `pending`, `for_review` or `settled`.
        action: what was done with the item meanwhile.
        created_at, next_attempt_at: aware.
        attempts: how often the service was asked.
        last_reason: why there was no answer; empty when there was one.
        leased: whether somebody asks about it right now.
    """

    id: str
    encounter_id: str
    case_reference: str
    route: str
    reference: str = field(repr=False)
    state: str
    action: str
    created_at: datetime
    next_attempt_at: datetime
    attempts: int
    last_reason: str
    leased: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxCounts:
    """How full the outbox is.

    Attributes:
        pending: rows that wait for the service.
        due: of those, rows that may be asked about now.
        for_review: rows that wait for a person.
        oldest_pending_at: aware; None when nothing is pending.
    """

    pending: int
    due: int
    for_review: int
    oldest_pending_at: datetime | None


def count_outbox(tx: Transaction, *, now: datetime) -> OutboxCounts:
    """Count by state."""
    ((pending, oldest_ms),) = tx.query("SELECT count(*), min(created_ms) FROM outbox WHERE state = 'pending'")
    ((due,),) = tx.query(
        "SELECT count(*) FROM outbox"
        " WHERE state = 'pending' AND next_attempt_ms <= :now AND lease_until_ms <= :now",
        now=as_ms(now),
    )
    ((for_review,),) = tx.query("SELECT count(*) FROM outbox WHERE state = 'for_review'")
    return OutboxCounts(
        pending=pending,
        due=due,
        for_review=for_review,
        oldest_pending_at=None if oldest_ms is None else _moment(oldest_ms),
    )


def next_attempt_in_s(tx: Transaction, *, now: datetime) -> float | None:
    """Seconds until the next row may be asked about, from 0; None when none waits for the service."""
    # In the order of the index, so that a backlog of a day is not read for it.
    free = tx.query(
        "SELECT next_attempt_ms FROM outbox WHERE state = 'pending' AND lease_until_ms <= :now"
        " ORDER BY next_attempt_ms LIMIT 1",
        now=as_ms(now),
    )
    if free and free[0][0] <= as_ms(now):
        return 0.0
    # Whoever holds a lease may have died: its end is waited for, too. Leased rows were due.
    ((lease_ends_ms,),) = tx.query(
        "SELECT min(lease_until_ms) FROM outbox"
        " WHERE state = 'pending' AND next_attempt_ms <= :now AND lease_until_ms > :now",
        now=as_ms(now),
    )
    moments = [*(row[0] for row in free), *([] if lease_ends_ms is None else [lease_ends_ms])]
    return (min(moments) - as_ms(now)) / 1000 if moments else None


def list_outbox(
    tx: Transaction,
    *,
    now: datetime,
    states: Collection[OutboxState] = OPEN_STATES,
    after: tuple[datetime, str] | None = None,
    limit: int = 1000,
) -> tuple[OutboxRow, ...]:
    """Rows of these states, the oldest first.

    Args:
        after: `created_at` and `id` of the last row of the page before.
        limit: most rows of one page.
    """
    since_ms, since_id = (-1, "") if after is None else (as_ms(after[0]), after[1])
    # State by state, because each is in order in the index: all at once would be sorted for each page.
    rows = [
        row
        for state in sorted(states)
        for row in tx.query(
            "SELECT o.created_ms, o.id, o.encounter_id, e.case_reference, e.route, e.reference, o.state,"
            " e.action, o.next_attempt_ms, o.attempts, o.last_reason, o.lease_until_ms"
            " FROM outbox o JOIN encounter e ON e.id = o.encounter_id"
            " WHERE o.state = :state"
            " AND o.created_ms >= :since AND (o.created_ms > :since OR o.id > :since_id)"
            " ORDER BY o.created_ms, o.id LIMIT :limit",
            state=state.value,
            since=since_ms,
            since_id=since_id,
            limit=limit,
        )
    ]
    return tuple(_row(row, now=now) for row in sorted(rows)[:limit])


def _row(row: Row, *, now: datetime) -> OutboxRow:
    (
        created_ms,
        row_id,
        encounter_id,
        case_reference,
        route,
        reference,
        state,
        action,
        next_attempt_ms,
        attempts,
        last_reason,
        lease_until_ms,
    ) = row
    return OutboxRow(
        id=row_id,
        encounter_id=encounter_id,
        case_reference=case_reference,
        route=route,
        reference=reference,
        state=state,
        action=action,
        created_at=_moment(created_ms),
        next_attempt_at=_moment(next_attempt_ms),
        attempts=attempts,
        last_reason=last_reason,
        leased=state == OutboxState.PENDING and lease_until_ms > as_ms(now),
    )


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, tz=UTC)
