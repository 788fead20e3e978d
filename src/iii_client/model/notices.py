"""What the application is told afterwards: late answers and alarms. No hash is ever in them."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from iii_client.model.verdicts import Action, Outcome


class NoticeKind(StrEnum):
    """Kinds of notices."""

    LATE_ANSWER = "late_answer"
    ALARM = "alarm"
    #: Not for the application: what was held for this encounter may be given back.
    RELEASE = "release"


@dataclass(frozen=True, slots=True, kw_only=True)
class LateAnswer:
    """The service answered about an item that was decided without it.

    Attributes:
        encounter_id: of the decision then.
        case_reference: what the uploader was told then, or empty.
        reference: where the application finds the item: what it gave as `UploadContext.reference`.
        outcome: what is known now.
        action: what the application must do now. ALLOW in shadow mode, and QUARANTINE instead of BLOCK
            where a budget of filter hits was used up then, as for every decision.
        ruled: what the policy ruled.
        previous_action: what was done until now.
        rule: name of the policy row.
        reasons: as in a verdict.
        at: when the answer was recorded, aware.
    """

    kind: ClassVar[NoticeKind] = NoticeKind.LATE_ANSWER

    encounter_id: str
    case_reference: str
    reference: str = field(repr=False)
    outcome: Outcome
    action: Action
    ruled: Action
    previous_action: Action
    rule: str
    reasons: tuple[str, ...]
    at: datetime

    def as_json(self) -> dict[str, Any]:
        """As webhooks carry it."""
        return {
            "encounter_id": self.encounter_id,
            "case_reference": self.case_reference,
            "reference": self.reference,
            "outcome": self.outcome.value,
            "action": self.action.value,
            "ruled": self.ruled.value,
            "previous_action": self.previous_action.value,
            "rule": self.rule,
            "reasons": list(self.reasons),
            "at": _text(self.at),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRaised:
    """Something needs a person.

    Attributes:
        alarm: which alarm, e.g. `outbox_overdue`.
        detail: one sentence that says what to do.
        at: when it first went off, aware.
    """

    kind: ClassVar[NoticeKind] = NoticeKind.ALARM

    alarm: str
    detail: str
    at: datetime

    def as_json(self) -> dict[str, Any]:
        """As webhooks carry it."""
        return {"alarm": self.alarm, "detail": self.detail, "at": _text(self.at)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseHeld:
    """What was held for an encounter may be given back: a late answer allows it."""

    kind: ClassVar[NoticeKind] = NoticeKind.RELEASE

    encounter_id: str
    at: datetime

    def as_json(self) -> dict[str, Any]:
        """As the table keeps it."""
        return {"encounter_id": self.encounter_id, "at": _text(self.at)}


Message = LateAnswer | AlarmRaised | ReleaseHeld


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One message under way.

    Attributes:
        id: the same at every attempt: whoever gets it twice knows it by that.
        attempts: how often it was tried, this time included.
    """

    id: str
    message: Message
    attempts: int


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
