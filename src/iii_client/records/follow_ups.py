"""What happened to an encounter afterwards: rows beside it, never changes of it."""

import itertools
import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from iii_client.records.operators import Operators
from iii_client.records.store import Transaction, as_text, storable

_NUMBERS = 1 << 32
_numbers = itertools.count()

#: Longest note that is kept, in characters.
_MAX_NOTE = 2000


class FollowUpKind(StrEnum):
    """Kinds of follow-ups."""

    #: The service answered later; `outcome`, `action` and `rule` say what that changed.
    LATE_ANSWER = "late_answer"
    #: No answer came in time: a person has to decide.
    HANDED_OVER = "handed_over"
    #: A copy was sealed in quarantine.
    HELD = "held"
    #: The original is out of reach: moved into quarantine, or deleted by the application.
    REMOVED = "removed"
    #: A held file was put back.
    RESTORED = "restored"
    #: A held file was deleted for good.
    PURGED = "purged"
    #: A person looked at the circumstances and decided.
    REVIEWED = "reviewed"
    #: The service was told that its answer is doubted.
    DISPUTED = "disputed"
    #: A hotline or the police were told.
    REPORTED = "reported"


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUp:
    """One row.

    Attributes:
        kind: of `FollowUpKind`; a text, because a newer version may have written others.
        at: aware.
        outcome, action, rule: what holds since then; empty when it changed none of them.
        operator, second_operator: who acted; empty when nobody did.
        note: free text of the operator, kept locally.
    """

    kind: str
    at: datetime
    outcome: str = ""
    action: str = ""
    rule: str = ""
    operator: str = ""
    second_operator: str = ""
    note: str = ""


def add_follow_up(
    tx: Transaction,
    encounter_id: str,
    kind: FollowUpKind,
    *,
    now: datetime,
    by: Operators | None = None,
    outcome: str = "",
    action: str = "",
    rule: str = "",
    note: str = "",
) -> str:
    """Write one follow-up and return its id. The audit entry beside it is the caller's."""
    # Follow-ups are sorted by time, then id: those that one process writes within a millisecond keep their
    # order, because the last of them says what holds.
    follow_up_id = f"{next(_numbers) % _NUMBERS:08x}{secrets.token_hex(12)}"
    operators = by.named if by is not None else {"operator": "", "second_operator": ""}
    tx.insert(
        "follow_up",
        [
            {
                "id": follow_up_id,
                "encounter_id": encounter_id,
                "at": as_text(now),
                "kind": kind.value,
                "outcome": outcome,
                "action": action,
                "rule": rule,
                **operators,
                "note": storable(note)[:_MAX_NOTE],
            }
        ],
    )
    return follow_up_id


def follow_ups_of(tx: Transaction, encounter_id: str) -> tuple[FollowUp, ...]:
    """All of one encounter, oldest first."""
    rows = tx.query(
        "SELECT kind, at, outcome, action, rule, operator, second_operator, note FROM follow_up"
        " WHERE encounter_id = :id ORDER BY at, id",
        id=encounter_id,
    )
    return tuple(
        FollowUp(
            kind=kind,
            at=datetime.fromisoformat(at),
            outcome=outcome,
            action=action,
            rule=rule,
            operator=operator,
            second_operator=second,
            note=note,
        )
        for kind, at, outcome, action, rule, operator, second, note in rows
    )
