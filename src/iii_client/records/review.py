"""What waits for a person, and what a person decides.

The rules are functions of a case. Nobody needs to look at a picture to decide: the circumstances, the lists
that name the hash, and what the hotline or the list's owner answered are what a decision rests on.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from iii_client.errors import RecordError
from iii_client.model import Action, LateAnswer, Outcome, ReleaseHeld
from iii_client.records.audit import append_audit
from iii_client.records.cases import Case, load_case
from iii_client.records.follow_ups import FollowUpKind, add_follow_up
from iii_client.records.held import HeldState
from iii_client.records.notices import add_notice
from iii_client.records.operators import Operators
from iii_client.records.store import Transaction, as_text, storable

#: The norm that hosters work under: what is known to be illegal is out of reach within a day.
REMOVE_WITHIN = timedelta(hours=24)
REVIEW_RULE = "review"


class WaitsFor(StrEnum):
    """Why a person is needed."""

    #: No answer came in time.
    NO_ANSWER = "no_answer_in_time"
    #: The service cannot answer about this hash at all.
    NO_QUESTION = "cannot_be_confirmed"
    #: Held while a budget of filter hits was used up: perhaps a bad list.
    GUARD = "held_by_guard"
    #: The picture looks like a listed one; its bytes are not listed.
    NEAR = "near_match"
    #: Listed, and the policy holds instead of blocking (a category below the floor).
    HELD = "held_match"
    #: It could not be looked at, and the policy holds it.
    UNSCANNABLE = "unscannable_held"
    #: The service says that it is not listed, and the held file has no place to go back to.
    GIVE_BACK = "to_be_given_back"


def waits_for(case: Case) -> WaitsFor | None:
    """Why a case waits for a person; None when it does not. Pure."""
    if case.when(FollowUpKind.REVIEWED, FollowUpKind.RESTORED, FollowUpKind.PURGED):
        return None
    if case.waits_too_long:
        return WaitsFor.NO_ANSWER
    if case.waits_for_service or case.is_test:
        return None
    # Shadow mode holds nothing: only what would have been held or blocked is worth a look.
    acts = Action(max(case.action_now, case.ruled)) if case.mode == "shadow" else case.action_now
    outcome = case.outcome_now
    if outcome is Outcome.NO_MATCH:
        lies_here = any(held.state is HeldState.HELD and not held.origin for held in case.held)
        return WaitsFor.GIVE_BACK if lies_here else None
    if acts is Action.ALLOW:
        return None
    if outcome is Outcome.UNCONFIRMED:
        return WaitsFor.NO_QUESTION
    if case.guard and acts is Action.QUARANTINE:
        return WaitsFor.GUARD
    if outcome is Outcome.UNSCANNABLE:
        return WaitsFor.UNSCANNABLE if acts is Action.QUARANTINE else None
    if not case.is_exact:
        return WaitsFor.NEAR
    return WaitsFor.HELD if acts is Action.QUARANTINE else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The time since a match is known, and what was done about it.

    Attributes:
        known_at: when the service's answer, or a person's decision, made it a match.
        out_of_reach_at: when users could not reach it any more; None while they can.
        told_at: when somebody outside was told; None while nobody was.
    """

    known_at: datetime
    out_of_reach_at: datetime | None
    told_at: datetime | None

    def is_overdue(self, *, now: datetime) -> bool:
        """Whether users can still reach it although it is known for longer than `REMOVE_WITHIN`."""
        return self.out_of_reach_at is None and now - self.known_at > REMOVE_WITHIN


def clock_of(case: Case) -> Clock | None:
    """The clock of a match; None for what is none (any more), or is only the test picture. Pure."""
    if case.is_test or case.outcome_now is not Outcome.MATCHED:
        return None
    known_at = case.at
    if case.outcome is not Outcome.MATCHED:
        matched = (f.at for f in case.follow_ups if f.outcome == Outcome.MATCHED.value)
        known_at = next(matched, case.at)
    return Clock(
        known_at=known_at,
        out_of_reach_at=_out_of_reach_at(case),
        told_at=case.when(FollowUpKind.REPORTED),
    )


def _out_of_reach_at(case: Case) -> datetime | None:
    """Since when users cannot reach it."""
    # Refused or held at the upload, users never reached it; what was stored is there until it is removed.
    since = None if case.stored or case.action is Action.ALLOW else case.at
    for step in case.follow_ups:
        if step.kind == FollowUpKind.RESTORED:
            since = None
        elif step.kind in (FollowUpKind.REMOVED, FollowUpKind.PURGED):
            since = since or step.at
    return since


def cases_for_review(tx: Transaction, *, limit: int = 10_000) -> tuple[tuple[Case, WaitsFor], ...]:
    """Cases that wait for a person, oldest first."""
    rows = tx.query(
        # What was allowed waits for nobody, unless its question was handed over or answered later.
        "SELECT e.id FROM encounter e WHERE (e.ruled <> 'allow'"
        " OR EXISTS (SELECT 1 FROM outbox o WHERE o.encounter_id = e.id AND o.state = 'for_review')"
        " OR EXISTS (SELECT 1 FROM follow_up f WHERE f.encounter_id = e.id AND f.kind = 'late_answer'))"
        " AND NOT EXISTS (SELECT 1 FROM follow_up f WHERE f.encounter_id = e.id"
        " AND f.kind IN ('reviewed', 'restored', 'purged')) ORDER BY e.at, e.id"
    )
    found: list[tuple[Case, WaitsFor]] = []
    for (encounter_id,) in rows:
        case = load_case(tx, encounter_id)
        if (why := waits_for(case)) is not None:
            found.append((case, why))
        if len(found) == limit:
            break
    return tuple(found)


def matches_with_clocks(tx: Transaction, *, since: datetime | None = None) -> tuple[tuple[Case, Clock], ...]:
    """Every match that is kept, with its clock, oldest first."""
    rows = tx.query(
        "SELECT e.id FROM encounter e WHERE (e.outcome = 'matched' OR EXISTS (SELECT 1 FROM follow_up f"
        " WHERE f.encounter_id = e.id AND f.outcome = 'matched')) AND e.at >= :since ORDER BY e.at, e.id",
        since=as_text(since) if since else "",
    )
    cases = (load_case(tx, encounter_id) for (encounter_id,) in rows)
    return tuple((case, clock) for case in cases if (clock := clock_of(case)) is not None)


def decide(
    tx: Transaction,
    encounter_id: str,
    *,
    innocent: bool,
    by: Operators,
    note: str = "",
    now: datetime,
    again: bool = False,
) -> Case:
    """Write a person's decision, with the notice to the application and, when innocent, the order to give
    back what is held.

    Args:
        innocent: let it through; else it is what the list says, and what is held stays held.
        note: what the decision rests on; kept locally.
        again: also when a person has decided it before: what that rested on is withdrawn.

    Returns:
        The case after it.

    Raises:
        RecordError: no such case, or a person has decided it already.
    """
    case = load_case(tx, encounter_id)
    if case.when(FollowUpKind.REVIEWED) and not again:
        raise RecordError("a person has decided this case already", hint=f"See: iii-client case {case.name}.")
    if innocent:
        outcome, action = Outcome.NO_MATCH, Action.ALLOW
    else:
        held = Action.ALLOW if case.mode == "shadow" else Action.QUARANTINE
        outcome, action = Outcome.MATCHED, Action(max(case.action_now, held))
    # The outbox row first and the log last: whoever settles a late answer takes them in this order, too.
    tx.execute(
        "UPDATE outbox SET state = 'settled', item = '', lease_until_ms = 0, lease_holder = '',"
        " last_reason = '' WHERE encounter_id = :id AND state <> 'settled'",
        id=encounter_id,
    )
    add_follow_up(
        tx,
        encounter_id,
        FollowUpKind.REVIEWED,
        now=now,
        by=by,
        outcome=outcome.value,
        action=action.value,
        rule=REVIEW_RULE,
        note=note,
    )
    append_audit(
        tx,
        "reviewed",
        {"encounter": encounter_id, "outcome": outcome.value, "action": action.value, **by.named},
        now=now,
    )
    add_notice(
        tx,
        LateAnswer(
            encounter_id=encounter_id,
            case_reference=case.case_reference,
            reference=case.reference,
            outcome=outcome,
            action=action,
            ruled=action,
            previous_action=case.action_now,
            rule=REVIEW_RULE,
            reasons=(),
            at=now,
        ),
        now=now,
    )
    if innocent and any(held.is_live for held in case.held):
        add_notice(tx, ReleaseHeld(encounter_id=encounter_id, at=now), now=now)
    return load_case(tx, encounter_id)


def note_follow_up(
    tx: Transaction,
    encounter_id: str,
    kind: FollowUpKind,
    *,
    by: Operators,
    done_at: datetime,
    note: str = "",
    now: datetime,
) -> None:
    """Write down what was done outside: removed by hand, reported to somebody.

    Raises:
        RecordError: no such case.
        ValueError: another kind, or done in the future.
    """
    if kind not in (FollowUpKind.REMOVED, FollowUpKind.REPORTED):
        raise ValueError(f"{kind} is written by what does it")
    if done_at > now + timedelta(minutes=5):
        raise ValueError("it cannot have been done in the future")
    case = load_case(tx, encounter_id)
    append_audit(
        tx,
        kind.value,
        {"encounter": case.encounter_id, "done_at": as_text(done_at), **by.named},
        now=now,
    )
    add_follow_up(tx, encounter_id, kind, now=done_at, by=by, note=storable(note))
