"""Verdicts and decisions about one item, and the circumstances they were made in."""

from dataclasses import dataclass, field
from enum import StrEnum

from iii_client.model.hashes import Fingerprint
from iii_client.model.matches import Candidate, Match
from iii_client.model.releases import ReleaseId
from iii_client.model.verdicts import Action, Mode, Outcome, Reason


def _no_truth(value: object) -> bool:
    raise TypeError(f"the truth of a {type(value).__name__} is ambiguous; ask decision.allowed")


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadContext:
    """Where an item came from: opaque strings of the application, kept locally and never sent.

    Attributes:
        route: which upload path, e.g. `avatar`.
        uploader: the application's own id of the uploader; stored only under a key (HMAC).
        place: where it was found or will be shown, e.g. a board or a bucket's prefix; stored only under a
            key, so that encounters of one place can be linked and nothing names it.
        reference: where the application will find the item again.
        stored: it is in the storage already, where users may reach it: a scan of what is there, not of an
            upload that waits. Nothing is out of reach then because the policy says so.
    """

    route: str = ""
    uploader: str = field(default="", repr=False)
    place: str = field(default="", repr=False)
    reference: str = field(default="", repr=False)
    stored: bool = False


ANONYMOUS = UploadContext()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found about one item.

    Attributes:
        outcome: the gravest thing that can be said.
        fingerprint: what was hashed, and what was not.
        candidates: filter hits.
        matches: those the service confirmed.
        reasons: why the outcome is not simply MATCHED or NO_MATCH, without repetition.
        release: the filter that was asked.
        hashes_sent: how many hashes of this item left the process.
        confirm_id: the service's name for its last answer, which a dispute refers to; empty for none.
        members: verdicts of the parts of a container.
    """

    outcome: Outcome
    fingerprint: Fingerprint
    candidates: tuple[Candidate, ...] = ()
    matches: tuple[Match, ...] = ()
    reasons: tuple[Reason, ...] = ()
    release: ReleaseId
    hashes_sent: int = 0
    confirm_id: str = ""
    members: tuple["Verdict", ...] = ()

    __bool__ = _no_truth


class Recorded(StrEnum):
    """Whether the decision was written down."""

    NOT_NEEDED = "not_needed"
    RECORDED = "recorded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What the policy says about a verdict: the action and the rule that gave it.

    Attributes:
        shadow: this route only watches: the action is recorded and not carried out.
    """

    action: Action
    rule: str
    shadow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What is known about exact bytes that were seen before.

    Attributes:
        fingerprint: of these bytes.
        no_match_key: under which "no match" was last concluded for them; empty for never. It holds release,
            recipe and policy version, so that nothing that a later release lists stays hidden.
        recalled: they were indeed seen before; otherwise the fingerprint was made just now.
    """

    fingerprint: Fingerprint
    no_match_key: str = ""
    recalled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What recording a decision gave.

    Attributes:
        encounter_id: of the record; internal.
        case_reference: a random word that the uploader may quote; tells nothing. Empty for an item that is
            allowed.
    """

    encounter_id: str
    case_reference: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the policy orders for one item.

    Attributes:
        action: what the caller must do. In shadow mode always ALLOW; QUARANTINE instead of BLOCK while a
            budget of filter hits is used up.
        ruled: what the policy ruled, and what `action` would be in enforce mode.
        rule: name of the policy row.
        verdict: what it rests on.
        mode: shadow or enforce.
        guard: name of the budget of filter hits that was used up, or empty.
        encounter_id: of the record that was made, or empty when none was needed or it failed.
        case_reference: what to show an uploader whose item is held or refused, with a contact; tells
            nothing. Empty when it is allowed.
        recorded: whether the record was made. A failure never softens the action.
    """

    action: Action
    ruled: Action
    rule: str
    verdict: Verdict
    mode: Mode
    guard: str = ""
    encounter_id: str = ""
    case_reference: str = ""
    recorded: Recorded = Recorded.NOT_NEEDED

    __bool__ = _no_truth

    @property
    def allowed(self) -> bool:
        """The question an upload handler asks."""
        return self.action is Action.ALLOW
