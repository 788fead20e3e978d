"""What waits for a person, what a person decides, and the clock that runs meanwhile."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from iii_client.content import Content
from iii_client.errors import RecordError
from iii_client.model import (
    TEST_CATEGORY_CODE,
    TEST_CATEGORY_SCHEME,
    Action,
    Algorithm,
    Category,
    Mode,
    Outcome,
    Reason,
    Receipt,
    UploadContext,
)
from iii_client.records import Store
from iii_client.records.cases import find_encounter, load_case
from iii_client.records.follow_ups import FollowUpKind, add_follow_up
from iii_client.records.key_file import KeyFile
from iii_client.records.operators import Operators
from iii_client.records.outbox import hand_over
from iii_client.records.quarantine import Quarantine
from iii_client.records.review import (
    WaitsFor,
    cases_for_review,
    clock_of,
    decide,
    matches_with_clocks,
    note_follow_up,
    waits_for,
)

ALICE = Operators(first="alice")
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=30)
TEST = Category(scheme=TEST_CATEGORY_SCHEME, code=TEST_CATEGORY_CODE, source="x")

Record = Callable[..., Receipt]


def waiting(store: Store) -> list[tuple[str, WaitsFor]]:
    with store.transaction() as tx:
        return [(case.encounter_id, why) for case, why in cases_for_review(tx)]


def why(store: Store) -> list[WaitsFor]:
    return [reason for _, reason in waiting(store)]


def test_what_needs_nobody_is_not_listed(store: Store, record: Record) -> None:
    record(outcome=Outcome.MATCHED, action=Action.BLOCK)
    record(outcome=Outcome.MATCHED, action=Action.QUARANTINE, category=TEST)
    record(outcome=Outcome.NO_MATCH, action=Action.ALLOW)
    record(outcome=Outcome.UNSCANNABLE, action=Action.ALLOW, reasons=(Reason.FORMAT_NOT_ENABLED,))
    record(outcome=Outcome.UNSCANNABLE, action=Action.BLOCK, reasons=(Reason.TOO_LARGE,))
    record(outcome=Outcome.UNCONFIRMED, action=Action.ALLOW, reasons=(Reason.SERVICE_CANNOT_CONFIRM,))
    assert why(store) == []


def test_what_the_outbox_still_asks_about_waits_for_nobody_until_it_takes_too_long(
    store: Store, record: Record
) -> None:
    record(outcome=Outcome.UNCONFIRMED, reasons=(Reason.SERVICE_TIMEOUT,))
    assert why(store) == []
    with store.transaction() as tx:
        assert hand_over(tx, waiting_since=LATER, now=LATER) == 1
    assert why(store) == [WaitsFor.NO_ANSWER]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"outcome": Outcome.UNCONFIRMED, "reasons": (Reason.SERVICE_CANNOT_CONFIRM,)},
            WaitsFor.NO_QUESTION,
        ),
        ({"guard": "uploader_per_hour"}, WaitsFor.GUARD),
        ({"algorithm": Algorithm.PDQ}, WaitsFor.NEAR),
        ({"algorithm": Algorithm.PDQ, "action": Action.BLOCK}, WaitsFor.NEAR),
        ({"rule": "matched_below_floor"}, WaitsFor.HELD),
        ({"outcome": Outcome.UNSCANNABLE, "reasons": (Reason.TRUNCATED,)}, WaitsFor.UNSCANNABLE),
        ({"algorithm": Algorithm.PDQ, "mode": Mode.SHADOW}, WaitsFor.NEAR),
    ],
)
def test_each_kind_of_waiting_is_named(
    store: Store, record: Record, given: dict[str, object], expected: WaitsFor
) -> None:
    record(**given)
    assert why(store) == [expected]


def test_a_file_found_innocent_without_a_place_to_go_is_to_be_given_back(
    store: Store, record: Record, tmp_path: Path
) -> None:
    encounter_id = record(rule="matched_below_floor").encounter_id
    quarantine = Quarantine(
        store, place=str(tmp_path / "q"), key=KeyFile(tmp_path / "k", what="key"), keep_days=1
    )
    quarantine.hold(Content.from_bytes(b"x"), encounter_id)
    with store.transaction() as tx:
        kind = FollowUpKind.LATE_ANSWER
        add_follow_up(tx, encounter_id, kind, now=NOON, outcome="no_match", action="allow")
    assert why(store) == [WaitsFor.GIVE_BACK]


@pytest.mark.parametrize("innocent", [True, False])
def test_a_decision_is_written_audited_told_and_final(store: Store, record: Record, innocent: bool) -> None:
    receipt = record(outcome=Outcome.UNCONFIRMED, reasons=(Reason.SERVICE_TIMEOUT,))
    with store.transaction() as tx:
        hand_over(tx, waiting_since=LATER, now=LATER)
        encounter_id = find_encounter(tx, receipt.case_reference)
        case = decide(tx, encounter_id, innocent=innocent, by=ALICE, note="asked the hotline", now=LATER)
    assert case.outcome_now is (Outcome.NO_MATCH if innocent else Outcome.MATCHED)
    assert case.action_now is (Action.ALLOW if innocent else Action.QUARANTINE)
    assert case.follow_ups[-1].operator == "alice"
    assert why(store) == []
    with store.transaction() as tx:
        (body,) = next(iter(tx.query("SELECT body FROM audit ORDER BY seq DESC LIMIT 1")))
        kinds = [kind for (kind,) in tx.query("SELECT kind FROM notice ORDER BY created_ms")]
        ((state, item),) = tx.query("SELECT state, item FROM outbox")
    assert '"operator":"alice"' in body
    assert "hotline" not in body
    assert "late_answer" in kinds
    assert (state, item) == ("settled", "")
    with pytest.raises(RecordError, match="decided"), store.transaction() as tx:
        decide(tx, encounter_id, innocent=True, by=ALICE, now=LATER)


def test_only_innocence_orders_the_held_file_back(store: Store, record: Record, tmp_path: Path) -> None:
    key = KeyFile(tmp_path / "k", what="key")
    quarantine = Quarantine(store, place=str(tmp_path / "q"), key=key, keep_days=1)
    for innocent in (False, True):
        encounter_id = record(algorithm=Algorithm.PDQ).encounter_id
        quarantine.hold(Content.from_bytes(b"x"), encounter_id)
        with store.transaction() as tx:
            decide(tx, encounter_id, innocent=innocent, by=ALICE, now=LATER)
            orders = tx.query("SELECT 1 FROM notice WHERE kind = 'release'")
        assert len(orders) == innocent


def test_what_an_operator_gave_back_waits_for_nobody(store: Store, record: Record) -> None:
    encounter_id = record(algorithm=Algorithm.PDQ).encounter_id
    assert why(store) == [WaitsFor.NEAR]
    with store.transaction() as tx:
        add_follow_up(tx, encounter_id, FollowUpKind.RESTORED, now=NOON)
        assert waits_for(load_case(tx, encounter_id)) is None
    assert why(store) == []


def test_a_person_who_confirms_in_shadow_mode_holds_nothing(store: Store, record: Record) -> None:
    encounter_id = record(
        outcome=Outcome.UNCONFIRMED, reasons=(Reason.SERVICE_CANNOT_CONFIRM,), mode=Mode.SHADOW
    ).encounter_id
    with store.transaction() as tx:
        case = decide(tx, encounter_id, innocent=False, by=ALICE, now=LATER)
    assert case.action_now is Action.ALLOW


def test_the_clock_of_what_was_refused_or_held_has_stopped(store: Store, record: Record) -> None:
    for action in (Action.BLOCK, Action.QUARANTINE):
        record(action=action)
    with store.transaction() as tx:
        clocks = [clock for _, clock in matches_with_clocks(tx)]
    assert [clock.out_of_reach_at for clock in clocks] == [NOON, NOON]
    assert not any(clock.is_overdue(now=LATER) for clock in clocks)


def test_what_was_found_in_the_storage_is_reachable_until_it_is_removed(store: Store, record: Record) -> None:
    """A scan of stored files orders a block; nobody has carried it out yet."""
    encounter_id = record(action=Action.BLOCK, context=UploadContext(stored=True)).encounter_id
    with store.transaction() as tx:
        ((_, clock),) = matches_with_clocks(tx)
        assert clock.out_of_reach_at is None
        add_follow_up(tx, encounter_id, FollowUpKind.HELD, now=NOON)
        add_follow_up(tx, encounter_id, FollowUpKind.REMOVED, now=NOON + timedelta(hours=1))
        ((_, clock),) = matches_with_clocks(tx)
    assert clock.out_of_reach_at == NOON + timedelta(hours=1)
    with store.transaction() as tx:
        add_follow_up(tx, encounter_id, FollowUpKind.PURGED, now=LATER)
        ((_, clock),) = matches_with_clocks(tx)
    assert clock.out_of_reach_at == NOON + timedelta(hours=1)


def test_what_was_put_back_is_reachable_again(store: Store, record: Record) -> None:
    encounter_id = record(action=Action.BLOCK).encounter_id
    with store.transaction() as tx:
        add_follow_up(tx, encounter_id, FollowUpKind.RESTORED, now=NOON + timedelta(hours=1))
        ((_, clock),) = matches_with_clocks(tx)
        assert clock.is_overdue(now=LATER)
        decide(tx, encounter_id, innocent=True, by=ALICE, now=LATER)
        assert matches_with_clocks(tx) == ()


def test_the_clock_of_what_users_can_reach_runs_until_it_is_removed(store: Store, record: Record) -> None:
    encounter_id = record(mode=Mode.SHADOW).encounter_id
    with store.transaction() as tx:
        ((_, clock),) = matches_with_clocks(tx)
        assert clock.out_of_reach_at is None
        assert not clock.is_overdue(now=NOON + timedelta(hours=24))
        assert clock.is_overdue(now=NOON + timedelta(hours=24, seconds=1))
        note_follow_up(tx, encounter_id, FollowUpKind.REPORTED, by=ALICE, done_at=NOON, now=LATER)
        note_follow_up(tx, encounter_id, FollowUpKind.REMOVED, by=ALICE, done_at=LATER, now=LATER)
        ((_, clock),) = matches_with_clocks(tx)
    assert (clock.out_of_reach_at, clock.told_at) == (LATER, NOON)
    assert not clock.is_overdue(now=LATER)


def test_the_clock_of_a_late_answer_starts_when_it_came(store: Store, record: Record) -> None:
    encounter_id = record(
        outcome=Outcome.UNCONFIRMED, action=Action.ALLOW, reasons=(Reason.SERVICE_TIMEOUT,)
    ).encounter_id
    with store.transaction() as tx:
        kind = FollowUpKind.LATE_ANSWER
        add_follow_up(tx, encounter_id, kind, now=LATER, outcome="matched", action="block")
        ((case, clock),) = matches_with_clocks(tx)
    assert (clock.known_at, clock.out_of_reach_at) == (LATER, None)
    assert case.outcome is Outcome.UNCONFIRMED


def test_no_clock_runs_for_the_test_picture_or_for_what_a_person_cleared(
    store: Store, record: Record
) -> None:
    record(category=TEST, mode=Mode.SHADOW)
    cleared = record(mode=Mode.SHADOW, algorithm=Algorithm.PDQ).encounter_id
    with store.transaction() as tx:
        decide(tx, cleared, innocent=True, by=ALICE, now=LATER)
        assert matches_with_clocks(tx) == ()
        assert clock_of(load_case(tx, cleared)) is None


def test_what_was_done_outside_is_neither_invented_nor_from_the_future(store: Store, record: Record) -> None:
    encounter_id = record().encounter_id
    with store.transaction() as tx:
        with pytest.raises(ValueError, match="future"):
            note_follow_up(tx, encounter_id, FollowUpKind.REMOVED, by=ALICE, done_at=LATER, now=NOON)
        with pytest.raises(ValueError, match="written by what does it"):
            note_follow_up(tx, encounter_id, FollowUpKind.PURGED, by=ALICE, done_at=NOON, now=NOON)


def test_a_case_is_found_however_its_reference_was_typed(store: Store, record: Record) -> None:
    receipt = record()
    spoken = receipt.case_reference.replace("-", " ").lower()
    with store.transaction() as tx:
        for text in (
            spoken,
            receipt.case_reference,
            receipt.encounter_id,
            f" {receipt.encounter_id.upper()} ",
        ):
            assert find_encounter(tx, text) == receipt.encounter_id
        for text in ("", "x", "7K3M-Q2WF-9XTA", "0" * 32, "%"):
            with pytest.raises(RecordError, match="no such case"):
                find_encounter(tx, text)


def test_the_list_is_what_the_rule_says_of_every_case_and_each_can_be_decided(
    store: Store, record: Record
) -> None:
    """The slow reference of the list: all cases, one by one."""
    algorithms = (Algorithm.SHA256, Algorithm.PDQ)
    reasons = ((), (Reason.SERVICE_CANNOT_CONFIRM,), (Reason.SERVICE_TIMEOUT,))
    late = (None, ("matched", "block"), ("matched", "quarantine"), ("no_match", "allow"))
    given = itertools.product(Outcome, Action, algorithms, reasons, Mode, late)
    for number, (outcome, action, algorithm, why_not, mode, answer) in enumerate(given):
        if number % 3:  # enough of each pair, and fast
            continue
        receipt = record(outcome=outcome, action=action, algorithm=algorithm, reasons=why_not, mode=mode)
        if answer is not None:
            kind, (said, done) = FollowUpKind.LATE_ANSWER, answer
            with store.transaction() as tx:
                add_follow_up(tx, receipt.encounter_id, kind, now=NOON, outcome=said, action=done)
                tx.execute(
                    "UPDATE outbox SET state = 'settled' WHERE encounter_id = :id", id=receipt.encounter_id
                )
    with store.transaction() as tx:
        hand_over(tx, waiting_since=LATER, now=LATER)
        everything = [load_case(tx, id_) for (id_,) in tx.query("SELECT id FROM encounter ORDER BY at, id")]
    listed = waiting(store)
    assert listed == [(case.encounter_id, why) for case in everything if (why := waits_for(case))]
    assert 10 < len(listed) < len(everything) - 10
    with store.transaction() as tx:
        for encounter_id, _ in listed:
            decide(tx, encounter_id, innocent=True, by=ALICE, now=LATER)
    assert waiting(store) == []
