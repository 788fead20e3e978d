"""Late answers: what the service says about an item that was decided without it, with all that follows.

Promises: one transaction holds the outbox row, the confirmations of the hits, the follow-up, the audit entry,
the notice and the order to release what was held; an answer that comes twice has its effects once.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from iii_client.model import Action, LateAnswer, ReleaseHeld, Ruling, Verdict
from iii_client.records.audit import append_audit
from iii_client.records.follow_ups import FollowUpKind, add_follow_up
from iii_client.records.notices import add_notice
from iii_client.records.outbox import Waiting
from iii_client.records.store import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """An answer: what is known about a waiting item now, and what the policy says about that.

    Attributes:
        action: what is to be done, after mode and guard.
    """

    waiting: Waiting
    verdict: Verdict
    ruling: Ruling
    action: Action


def settle(tx: Transaction, settlements: Sequence[Settlement], *, now: datetime) -> tuple[Settlement, ...]:
    """Record answers with all their effects: follow-up, confirmations of the hits, audit entry, notice, and
    the release of what was held.

    Returns:
        Those that were still waiting. For the others somebody else did all this; nothing is done again.
    """
    # All rows first: the audit log's lock, once taken, is kept, and nobody may wait for a row under it.
    taken = tuple(
        answer
        for answer in sorted(settlements, key=lambda answer: answer.waiting.row_id)
        if tx.execute(
            # What was needed to ask is not needed any more, and names hashes.
            "UPDATE outbox SET state = 'settled', item = '', lease_until_ms = 0, lease_holder = '',"
            " last_reason = '' WHERE id = :id AND state = 'pending'",
            id=answer.waiting.row_id,
        )
    )
    for answer in taken:
        _confirm_hits(tx, answer)
        _follow(tx, answer, now=now)
    return taken


def release_if_answered(tx: Transaction, encounter_id: str, *, now: datetime) -> bool:
    """Order the release of what is held, if a late answer or a person allowed it before. Whether it did.

    A file is held after its decision is recorded, and in between a drainer may have been quicker: the order
    that it gave found nothing held. Under a legal hold it found something that it might not touch. What a
    person ordered to be held after that stays held.
    """
    latest = tx.query(
        "SELECT action FROM follow_up WHERE encounter_id = :id"
        " AND (kind IN ('late_answer', 'reviewed') OR (kind = 'held' AND operator <> ''))"
        " ORDER BY at DESC, id DESC LIMIT 1",
        id=encounter_id,
    )
    if latest != [(Action.ALLOW.value,)]:
        return False
    add_notice(tx, ReleaseHeld(encounter_id=encounter_id, at=now), now=now)
    return True


def _confirm_hits(tx: Transaction, answer: Settlement) -> None:
    for match in answer.verdict.matches:
        tx.execute(
            "UPDATE encounter_hit SET confirmed = 1, distance_bits = :distance, sources = :sources,"
            " categories = :categories"
            " WHERE encounter_id = :encounter AND algorithm = :algorithm AND value = :value",
            distance=match.distance_bits,
            sources=json.dumps(match.sources),
            categories=json.dumps([[c.scheme, c.code, c.source] for c in match.categories]),
            encounter=answer.waiting.encounter_id,
            algorithm=match.hash.algorithm.value,
            value=match.hash.value,
        )
    if answer.verdict.confirm_id:
        # Under this id the service can be told that its answer is doubted.
        tx.execute(
            "UPDATE encounter SET confirm_id = :confirm_id WHERE id = :id",
            confirm_id=answer.verdict.confirm_id,
            id=answer.waiting.encounter_id,
        )


def _follow(tx: Transaction, answer: Settlement, *, now: datetime) -> None:
    waiting, verdict, ruling = answer.waiting, answer.verdict, answer.ruling
    reasons = tuple(reason.value for reason in verdict.reasons)
    add_follow_up(
        tx,
        waiting.encounter_id,
        FollowUpKind.LATE_ANSWER,
        now=now,
        outcome=verdict.outcome.value,
        action=answer.action.value,
        rule=ruling.rule,
        note=" ".join(reasons),
    )
    append_audit(
        tx,
        "late_answer",
        {
            "encounter": waiting.encounter_id,
            "outcome": verdict.outcome.value,
            "ruled": ruling.action.value,
            "action": answer.action.value,
            "previous_action": waiting.previous_action.value,
            "rule": ruling.rule,
            "release": str(waiting.item.release),
            "hashes_sent": verdict.hashes_sent,
            "waited_s": round((now - waiting.created_at).total_seconds()),
        },
        now=now,
    )
    add_notice(
        tx,
        LateAnswer(
            encounter_id=waiting.encounter_id,
            case_reference=waiting.case_reference,
            reference=waiting.reference,
            outcome=verdict.outcome,
            action=answer.action,
            ruled=ruling.action,
            previous_action=waiting.previous_action,
            rule=ruling.rule,
            reasons=reasons,
            at=now,
        ),
        now=now,
    )
    if answer.action is Action.ALLOW and waiting.previous_action is not Action.ALLOW:
        add_notice(tx, ReleaseHeld(encounter_id=waiting.encounter_id, at=now), now=now)
