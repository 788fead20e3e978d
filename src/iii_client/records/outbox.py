"""The outbox: every probable hit without an answer, on disk before its caller gets the verdict."""

import secrets
from datetime import datetime

from iii_client.model import ANSWERABLE_REASONS, Decision, Outcome
from iii_client.records.items import encode_item
from iii_client.records.store import Transaction, as_ms

PENDING = "pending"


def add_if_unanswered(
    tx: Transaction, decision: Decision, *, encounter_id: str, route: str, now: datetime
) -> str:
    """Keep an item that a later answer could settle, due at once.

    Returns:
        The row's id, or empty when no answer is outstanding.
    """
    verdict = decision.verdict
    open_reasons = [reason for reason in verdict.reasons if reason in ANSWERABLE_REASONS]
    if verdict.outcome is not Outcome.UNCONFIRMED or not open_reasons or not verdict.candidates:
        return ""
    row_id = secrets.token_hex(16)
    tx.insert(
        "outbox",
        [
            {
                "id": row_id,
                "encounter_id": encounter_id,
                "item": encode_item(verdict, mode=decision.mode, route=route),
                "state": PENDING,
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
