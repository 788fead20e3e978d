"""Notices: what the application is still to be told, kept in the same transaction as what it is about.

A message sent before the commit may be about something that never happened, one sent after it may never be
sent. So a notice is a row first, and whoever delivers it (`notify/`) may do so twice: its id is the
idempotency key of the receiver.
"""

import json
import secrets
from collections.abc import Mapping
from datetime import datetime

from iii_client.records.store import Transaction, Value, as_ms, as_text

#: Kinds of notices.
LATE_ANSWER, ALARM = "late_answer", "alarm"

#: States of a row: to be delivered, delivered, or given up after `GIVE_UP_AFTER_S`.
PENDING, DELIVERED, GIVEN_UP = "pending", "delivered", "given_up"


def add_notice(
    tx: Transaction, kind: str, body: Mapping[str, Value], *, now: datetime, notice_id: str = ""
) -> str:
    """Keep one message, due at once, and return its id.

    Args:
        tx: the transaction that it becomes part of.
        kind: `LATE_ANSWER` or `ALARM`.
        body: plain values, no hashes.
        now: aware; also the body's `at`.
        notice_id: where what it is about names it; random otherwise. One that exists is not added again.
    """
    notice_id = notice_id or secrets.token_hex(16)
    tx.execute(
        "INSERT INTO notice (id, kind, body, state, created_ms, next_attempt_ms, lease_until_ms, attempts)"
        " VALUES (:id, :kind, :body, :state, :now, :now, 0, 0) ON CONFLICT (id) DO NOTHING",
        id=notice_id,
        kind=kind,
        body=json.dumps({**body, "at": as_text(now)}, sort_keys=True, separators=(",", ":")),
        state=PENDING,
        now=as_ms(now),
    )
    return notice_id
