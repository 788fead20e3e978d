"""The outbox: every probable hit without an answer, on disk before its caller gets the verdict.

    add_if_unanswered ──► pending ──► lease ──► settle (late_answers.py)     settled
                             ▲           ├────► postpone ─┐
                             │           └────► hand_over │                  for_review: a person decides
                             └────────────────────────────┘

Promises: whoever leases a row and dies only delays it until the lease ends; a row leaves `pending` once, in
one transaction with everything that follows from it.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from iii_client.errors import RecordError
from iii_client.model import ANSWERABLE_REASONS, Action, Decision, Outcome
from iii_client.records.alarms import raise_alarm
from iii_client.records.audit import append_audit
from iii_client.records.follow_ups import FollowUpKind, add_follow_up
from iii_client.records.items import Item, decode_item, encode_item
from iii_client.records.operators import Operators
from iii_client.records.pace import one_at_a_time
from iii_client.records.store import Row, Transaction, as_ms

#: Kinds of alarms.
OVERDUE_ALARM, UNREADABLE_ALARM = "outbox_overdue", "outbox_unreadable"

#: Rows of one transaction that hands over to people: a day's backlog must not lock uploads out.
_HAND_OVER_AT_ONCE = 500
#: No batch is kept for longer: a drainer renews its lease before each call.
_LONGEST_LEASE = timedelta(hours=1)


class OutboxState(StrEnum):
    """States of a row."""

    PENDING = "pending"
    SETTLED = "settled"
    FOR_REVIEW = "for_review"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """One item that was leased.

    Attributes:
        row_id: of the outbox.
        item: what to ask about.
        encounter_id, case_reference, reference: of the decision that was made without an answer.
        previous_action: what was done then.
        guard: the budget of filter hits that was used up then, or empty.
        created_at: of the row, aware.
        attempts: leases so far, this one included.
    """

    row_id: str
    item: Item
    encounter_id: str
    case_reference: str
    reference: str = field(repr=False)
    previous_action: Action
    guard: str
    created_at: datetime
    attempts: int


def add_if_unanswered(
    tx: Transaction, decision: Decision, *, encounter_id: str, route: str, now: datetime
) -> str:
    """Keep an item that a later answer could settle, due at once.

    Returns:
        The row's id, or empty when no answer is outstanding.
    """
    verdict = decision.verdict
    open_reasons = [reason for reason in verdict.reasons if reason in ANSWERABLE_REASONS]
    # A match too: of an animation one frame may be known, and another, graver one not answered about.
    unsettled = verdict.outcome in (Outcome.UNCONFIRMED, Outcome.MATCHED)
    if not unsettled or not open_reasons or not verdict.candidates:
        return ""
    row_id = secrets.token_hex(16)
    tx.insert(
        "outbox",
        [
            {
                "id": row_id,
                "encounter_id": encounter_id,
                "item": encode_item(verdict, mode=decision.mode, route=route),
                "state": OutboxState.PENDING.value,
                "created_ms": as_ms(now),
                "next_attempt_ms": as_ms(now),
                "lease_until_ms": 0,
                "lease_holder": "",
                "attempts": 0,
                "last_reason": open_reasons[0].value,
            }
        ],
    )
    return row_id


def lease(
    tx: Transaction, *, holder: str, limit: int, now: datetime, lease_s: float, encounter_id: str = ""
) -> tuple[Waiting, ...]:
    """Take due rows, the oldest first; nobody else gets them before the lease ends.

    A row that this version cannot read goes to a person, with an alarm, instead of stopping the others.

    Args:
        holder: random, of this batch.
        limit: most rows.
        now: aware.
        lease_s: how long, unless it is renewed.
        encounter_id: the row of this encounter only, due or not; empty for all.
    """
    one_at_a_time(tx)
    which = "encounter_id = :encounter_id" if encounter_id else "next_attempt_ms <= :now"
    # The condition stands twice, because PostgreSQL looks again at the outer one alone after a wait; and
    # `|| ''` keeps SQLite from reading all that is pending for it, where it has the rows' ids already.
    rows = tx.query(
        "UPDATE outbox SET lease_until_ms = :until, lease_holder = :holder, attempts = attempts + 1"  # noqa: S608
        " WHERE id IN (SELECT id FROM outbox WHERE state = 'pending' AND lease_until_ms <= :now"
        f" AND {which} ORDER BY next_attempt_ms, id LIMIT :limit)"
        " AND state || '' = 'pending' AND lease_until_ms <= :now"
        " RETURNING id, encounter_id, item, created_ms, attempts",
        until=as_ms(now + timedelta(seconds=lease_s)),
        holder=holder,
        now=as_ms(now),
        limit=limit,
        **({"encounter_id": encounter_id} if encounter_id else {}),
    )
    waiting, unreadable = [], []
    for row in sorted(rows, key=lambda row: (row[3], row[0])):
        try:
            waiting.append(_waiting(tx, row))
        except RecordError:
            unreadable.append(row)
    if unreadable:
        for row in unreadable:
            tx.execute("UPDATE outbox SET state = 'for_review', lease_until_ms = 0 WHERE id = :id", id=row[0])
        _to_people(tx, [row[1] for row in unreadable], now=now)
        detail = "An outbox row cannot be read: a person must decide (iii-client outbox list)."
        raise_alarm(tx, UNREADABLE_ALARM, detail, now=now)
    return tuple(waiting)


def renew(tx: Transaction, *, holder: str, now: datetime, lease_s: float) -> None:
    """Keep a batch for so long from now."""
    tx.execute(
        "UPDATE outbox SET lease_until_ms = :until WHERE lease_holder = :holder AND state = 'pending'",
        until=as_ms(now + timedelta(seconds=lease_s)),
        holder=holder,
    )


def postpone(tx: Transaction, row_id: str, *, holder: str, reason: str, until: datetime) -> bool:
    """No answer: due again at `until`. Whether the row was still this holder's."""
    changed = tx.execute(
        "UPDATE outbox SET next_attempt_ms = :until, lease_until_ms = 0, lease_holder = '',"
        " last_reason = :reason WHERE id = :id AND state = 'pending' AND lease_holder = :holder",
        until=as_ms(until),
        reason=reason,
        id=row_id,
        holder=holder,
    )
    return changed > 0


def hand_back(tx: Transaction, row_id: str, *, holder: str, now: datetime) -> bool:
    """Not asked after all: due at once, and not counted as an attempt."""
    changed = tx.execute(
        "UPDATE outbox SET next_attempt_ms = :now, lease_until_ms = 0, lease_holder = '',"
        " attempts = attempts - 1 WHERE id = :id AND state = 'pending' AND lease_holder = :holder",
        now=as_ms(now),
        id=row_id,
        holder=holder,
    )
    return changed > 0


def hand_over(
    tx: Transaction, *, waiting_since: datetime, now: datetime, row_id: str = "", holder: str = ""
) -> int:
    """Give items that wait since before this moment to a person, with an alarm.

    Args:
        row_id, holder: this row only, which this holder has leased; else all that nobody has.

    Returns:
        How many; there may be more when it is not 0.
    """
    one_at_a_time(tx)
    which = "id = :row_id AND lease_holder = :holder" if row_id else "lease_until_ms <= :now"
    rows = tx.query(
        "UPDATE outbox SET state = 'for_review', lease_until_ms = 0, lease_holder = '' WHERE id IN"  # noqa: S608
        f" (SELECT id FROM outbox WHERE state = 'pending' AND created_ms <= :since AND {which}"
        " ORDER BY created_ms, id LIMIT :limit)"
        f" AND state || '' = 'pending' AND {which} RETURNING encounter_id",
        since=as_ms(waiting_since),
        limit=_HAND_OVER_AT_ONCE,
        **({"row_id": row_id, "holder": holder} if row_id else {"now": as_ms(now)}),
    )
    if rows:
        _to_people(tx, [encounter_id for (encounter_id,) in rows], now=now)
        raise_alarm(
            tx,
            OVERDUE_ALARM,
            "Probable hits got no answer in time and wait for a person: see 'iii-client outbox list'. When "
            "the service answers again, 'iii-client outbox retry' asks about them once more.",
            now=now,
        )
    return len(rows)


def retry(tx: Transaction, *, by: Operators, now: datetime) -> int:
    """Make everything that waits, for the service or for a person, due at once. Returns how many.

    Items that are overdue are asked about once more, and go back to a person if that fails. A lease that ends
    later than any may was taken by a clock that ran ahead: it is void.
    """
    changed = tx.execute(
        "UPDATE outbox SET state = 'pending', next_attempt_ms = :now,"
        " lease_until_ms = CASE WHEN lease_until_ms > :longest THEN 0 ELSE lease_until_ms END"
        " WHERE state = 'for_review'"
        " OR (state = 'pending' AND (next_attempt_ms > :now OR lease_until_ms > :longest))",
        now=as_ms(now),
        longest=as_ms(now + _LONGEST_LEASE),
    )
    if changed:
        append_audit(tx, "outbox_retried", {"items": changed, **by.named}, now=now)
    return changed


def _waiting(tx: Transaction, row: Row) -> Waiting:
    row_id, encounter_id, item, created_ms, attempts = row
    ((case_reference, reference, action, guard),) = tx.query(
        "SELECT case_reference, reference, action, guard FROM encounter WHERE id = :id", id=encounter_id
    )
    return Waiting(
        row_id=row_id,
        item=decode_item(item),
        encounter_id=encounter_id,
        case_reference=case_reference,
        reference=reference,
        previous_action=Action(action),
        guard=guard,
        created_at=datetime.fromtimestamp(created_ms / 1000, tz=UTC),
        attempts=attempts,
    )


def _to_people(tx: Transaction, encounter_ids: Sequence[str], *, now: datetime) -> None:
    for encounter_id in encounter_ids:
        add_follow_up(tx, encounter_id, FollowUpKind.HANDED_OVER, now=now)
        append_audit(tx, "outbox_handed_over", {"encounter": encounter_id}, now=now)
