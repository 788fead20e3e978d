"""Notices: what the application is still to be told, kept in the same transaction as what it is about.

A message sent before the commit may be about something that never happened, one sent after it may never be
sent. So a notice is a row first, and whoever delivers it (`notify/`) may do so twice: its id is the
idempotency key of the receiver.
"""

import json
import logging
import secrets
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from iii_client.model import (
    Action,
    AlarmRaised,
    LateAnswer,
    Message,
    Notice,
    NoticeKind,
    Outcome,
    ReleaseHeld,
)
from iii_client.records.store import Transaction, as_ms

logger = logging.getLogger(__name__)


class NoticeState(StrEnum):
    """States of a row."""

    PENDING = "pending"
    DELIVERED = "delivered"
    #: Nobody took it for days. An alarm says so.
    GIVEN_UP = "given_up"


def add_notice(tx: Transaction, message: Message, *, now: datetime) -> str:
    """Keep one message, due at once, and return its id."""
    notice_id = secrets.token_hex(16)
    tx.insert(
        "notice",
        [
            {
                "id": notice_id,
                "kind": message.kind.value,
                "body": json.dumps(message.as_json(), sort_keys=True, separators=(",", ":")),
                "state": NoticeState.PENDING.value,
                "created_ms": as_ms(now),
                "next_attempt_ms": as_ms(now),
                "lease_until_ms": 0,
                "attempts": 0,
            }
        ],
    )
    return notice_id


def notices_due(tx: Transaction, kinds: Collection[NoticeKind], *, now: datetime) -> bool:
    """Whether there is anything to lease."""
    return any(
        tx.query(
            "SELECT 1 FROM notice WHERE state = 'pending' AND next_attempt_ms <= :now"
            " AND lease_until_ms <= :now AND kind = :kind LIMIT 1",
            now=as_ms(now),
            kind=kind.value,
        )
        for kind in sorted(kinds)
    )


def lease_notices(
    tx: Transaction, kinds: Collection[NoticeKind], *, limit: int, now: datetime, lease_s: float
) -> tuple[Notice, ...]:
    """Take due notices of these kinds, the oldest first, for so long; nobody else gets them meanwhile.

    A row that cannot be read is given up, and logged, instead of stopping the others.
    """
    wanted = {f"k{place}": kind.value for place, kind in enumerate(sorted(kinds))}
    if not wanted:
        return ()
    # The condition stands twice: on PostgreSQL a row that another one took while this waited for it is
    # looked at again, and only the outer condition is. `|| ''`: see `outbox.lease`.
    rows = tx.query(
        "UPDATE notice SET lease_until_ms = :until, attempts = attempts + 1 WHERE id IN"  # noqa: S608
        " (SELECT id FROM notice WHERE state = 'pending' AND next_attempt_ms <= :now"
        f" AND lease_until_ms <= :now AND kind IN ({', '.join(f':{name}' for name in wanted)})"
        " ORDER BY next_attempt_ms, id LIMIT :limit)"
        " AND state || '' = 'pending' AND lease_until_ms <= :now"
        " RETURNING id, kind, body, attempts, created_ms",
        until=as_ms(now + timedelta(seconds=lease_s)),
        now=as_ms(now),
        limit=limit,
        **wanted,
    )
    notices = []
    for notice_id, kind, body, attempts, _ in sorted(rows, key=lambda row: (row[4], row[0])):
        try:
            notices.append(Notice(id=notice_id, message=_decode(kind, body), attempts=attempts))
        except (ValueError, KeyError, TypeError) as error:
            logger.error("a notice cannot be read and is given up: %s", type(error).__name__)  # noqa: TRY400
            tx.execute("UPDATE notice SET state = 'given_up' WHERE id = :id", id=notice_id)
    return tuple(notices)


def mark_delivered(tx: Transaction, notice_id: str) -> None:
    """It was taken. Doing so twice is doing it once."""
    tx.execute(
        "UPDATE notice SET state = 'delivered', lease_until_ms = 0 WHERE id = :id AND state = 'pending'",
        id=notice_id,
    )


def postpone_notice(tx: Transaction, notice_id: str, *, until: datetime, counted: bool = True) -> None:
    """Nobody took it: try again at `until`. Not `counted` when it was not tried at all."""
    tx.execute(
        "UPDATE notice SET next_attempt_ms = :until, lease_until_ms = 0, attempts = attempts - :uncounted"
        " WHERE id = :id AND state = 'pending'",
        id=notice_id,
        until=as_ms(until),
        uncounted=int(not counted),
    )


def give_up_notices(tx: Transaction, kinds: Collection[NoticeKind], *, older_than: datetime) -> int:
    """Stop trying what nobody took since `older_than`, and return how many they were."""
    return sum(
        tx.execute(
            "UPDATE notice SET state = 'given_up' WHERE state = 'pending' AND kind = :kind"
            " AND created_ms < :before AND attempts > 0",
            kind=kind.value,
            before=as_ms(older_than),
        )
        for kind in sorted(kinds)
    )


def _decode(kind: str, body: str) -> Message:
    tree: Mapping[str, Any] = json.loads(body)
    at = datetime.fromisoformat(tree["at"])
    match NoticeKind(kind):
        case NoticeKind.ALARM:
            return AlarmRaised(alarm=tree["alarm"], detail=tree["detail"], at=at)
        case NoticeKind.RELEASE:
            return ReleaseHeld(encounter_id=tree["encounter_id"], at=at)
        case NoticeKind.LATE_ANSWER:
            return LateAnswer(
                encounter_id=tree["encounter_id"],
                case_reference=tree["case_reference"],
                reference=tree["reference"],
                outcome=Outcome(tree["outcome"]),
                action=Action(tree["action"]),
                ruled=Action(tree["ruled"]),
                previous_action=Action(tree["previous_action"]),
                rule=tree["rule"],
                reasons=tuple(tree["reasons"]),
                at=at,
            )
