"""What is in the outbox: rows and counts for people, doctor and metrics. Reads only."""

from collections.abc import Collection
from dataclasses import dataclass
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
    reference: str
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
    # A lease that ends later than the next attempt is what is waited for: its holder may have died.
    ((soonest_ms,),) = tx.query(
        "SELECT min(CASE WHEN lease_until_ms > next_attempt_ms THEN lease_until_ms ELSE next_attempt_ms END)"
        " FROM outbox WHERE state = 'pending'"
    )
    return None if soonest_ms is None else max(0.0, (soonest_ms - as_ms(now)) / 1000)


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
    wanted = {f"s{place}": state.value for place, state in enumerate(sorted(states))}
    rows = tx.query(
        "SELECT o.id, o.encounter_id, e.case_reference, e.route, e.reference, o.state, e.action,"  # noqa: S608
        " o.created_ms, o.next_attempt_ms, o.attempts, o.last_reason, o.lease_until_ms"
        " FROM outbox o JOIN encounter e ON e.id = o.encounter_id"
        f" WHERE o.state IN ({', '.join(f':{name}' for name in wanted)})"
        " AND (o.created_ms > :since OR (o.created_ms = :since AND o.id > :since_id))"
        " ORDER BY o.created_ms, o.id LIMIT :limit",
        since=since_ms,
        since_id=since_id,
        limit=limit,
        **wanted,
    )
    return tuple(_row(row, now=now) for row in rows)


def _row(row: Row, *, now: datetime) -> OutboxRow:
    (
        row_id,
        encounter_id,
        case_reference,
        route,
        reference,
        state,
        action,
        created_ms,
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
