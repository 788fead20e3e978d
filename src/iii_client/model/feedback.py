"""What a hoster tells the service about one of its answers: hashes and codes, nothing else."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from iii_client.model.hashes import HashValue


class FeedbackKind(StrEnum):
    """Kinds of feedback, by their names in the contract."""

    DISPUTE = "dispute"
    FOLLOW_UP = "follow_up"


class DisputeCode(StrEnum):
    """Why an answer is doubted."""

    INNOCENT = "innocent"
    STOCK_PICTURE = "stock_picture"
    WRONG_CATEGORY = "wrong_category"
    OTHER = "other"


class FollowUpCode(StrEnum):
    """What was done about a match."""

    REFUSED = "refused"
    REMOVED = "removed"
    REPORTED = "reported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """One message.

    Attributes:
        key: the same for the same message, so that the service takes it once; tells nothing.
        kind: what it is.
        code: a `DisputeCode` or `FollowUpCode`.
        confirm_id: the service's name for the answer.
        hashes: that the answer was about.
        done_at: of a follow-up, aware; None for a dispute.
    """

    key: str
    kind: FeedbackKind
    code: str
    confirm_id: str = field(repr=False)
    hashes: tuple[HashValue, ...]
    done_at: datetime | None = None
