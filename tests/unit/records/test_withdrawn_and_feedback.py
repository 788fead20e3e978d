"""Hashes that are listed no more, and telling the service that an answer is doubted."""

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest

from iii_client.errors import ConnectError, IIIError, RecordError, ServiceError
from iii_client.model import (
    TEST_CATEGORY_CODE,
    TEST_CATEGORY_SCHEME,
    Action,
    Algorithm,
    Answer,
    Category,
    Confirmation,
    DisputeCode,
    Feedback,
    FollowUpCode,
    HashValue,
    Listed,
    Match,
    Mode,
    NotListed,
    Outcome,
    Reason,
    Receipt,
    Unanswered,
)
from iii_client.records import Store
from iii_client.records.cases import load_case
from iii_client.records.feedback import FeedbackState, dispute, feedback_of, send_pending, tell_follow_up
from iii_client.records.operators import Operators
from iii_client.records.withdrawn import SaidBy, find_withdrawn

ALICE = Operators(first="alice")
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
ONE, TWO, THREE = (bytes([n]) * 32 for n in (1, 2, 3))

Record = Callable[..., Receipt]


class Service:
    """Answers by a table; what is not in it gets no answer."""

    def __init__(self, listed: dict[bytes, bool], *, confirm_id: str = "c-1") -> None:
        self.listed = listed
        self.confirm_id = confirm_id
        self.asked: list[bytes] = []

    def supports(self, algorithm: Algorithm) -> bool:
        return True

    def confirm(self, hashes: Sequence[HashValue], *, spent_s: float = 0.0) -> Confirmation:
        self.asked += [value.value for value in hashes]
        return Confirmation(
            answers=tuple(map(self._answer, hashes)), hashes_sent=len(hashes), confirm_id=self.confirm_id
        )

    def _answer(self, value: HashValue) -> Answer:
        if value.value not in self.listed:
            return Unanswered(hash=value, reason=Reason.SERVICE_TIMEOUT)
        if self.listed[value.value]:
            return Listed(hash=value, matches=(Match(hash=value, distance_bits=0, exact=True),))
        return NotListed(hash=value, withdrawn=True)


class Mailbox:
    """Takes feedback, or fails with what it is told to."""

    def __init__(self, error: IIIError | None = None) -> None:
        self.error = error
        self.taken: list[Feedback] = []

    def send(self, feedback: Feedback) -> str:
        if self.error is not None:
            raise self.error
        self.taken.append(feedback)
        return f"f-{len(self.taken)}"


def refused() -> ServiceError:
    error = ServiceError("the service answered 409")
    error.retryable = False
    return error


# --- withdrawn ------------------------------------------------------------------------------------------


def test_a_case_is_found_when_the_release_or_the_service_withdrew_its_hash(
    store: Store, record: Record
) -> None:
    by_release = record(value=ONE, algorithm=Algorithm.PDQ)
    by_service = record(value=TWO)
    record(value=THREE)
    service = Service({TWO: False, THREE: True})
    report = find_withdrawn(store, suppressed={hashlib.sha256(ONE).digest()}, confirmer=service)
    assert {(one.case.encounter_id, one.said_by) for one in report.found} == {
        (by_release.encounter_id, SaidBy.RELEASE),
        (by_service.encounter_id, SaidBy.SERVICE),
    }
    assert (report.looked_at, report.unanswered, report.hashes_sent) == (3, 0, 2)
    assert ONE not in service.asked


def test_without_asking_only_the_release_speaks_and_nothing_leaves(store: Store, record: Record) -> None:
    record(value=ONE)
    report = find_withdrawn(store, suppressed=(), confirmer=None)
    assert (report.found, report.looked_at, report.hashes_sent, report.unanswered) == ((), 1, 0, 0)


def test_no_answer_is_not_a_withdrawal(store: Store, record: Record) -> None:
    record(value=ONE)
    report = find_withdrawn(store, suppressed=(), confirmer=Service({}))
    assert (report.found, report.unanswered) == ((), 1)


def test_what_was_let_through_not_confirmed_or_only_the_test_picture_is_not_asked_about(
    store: Store, record: Record
) -> None:
    record(value=ONE, action=Action.ALLOW)
    record(value=TWO, outcome=Outcome.UNCONFIRMED)
    test = Category(scheme=TEST_CATEGORY_SCHEME, code=TEST_CATEGORY_CODE, source="x")
    record(value=THREE, category=test)
    service = Service({ONE: False, TWO: False, THREE: False})
    assert find_withdrawn(store, suppressed=(), confirmer=service).found == ()
    assert service.asked == []


def test_what_would_have_been_blocked_in_shadow_mode_counts_too(store: Store, record: Record) -> None:
    record(value=ONE, action=Action.BLOCK, mode=Mode.SHADOW)
    assert len(find_withdrawn(store, suppressed=(), confirmer=Service({ONE: False})).found) == 1


def test_a_case_that_rests_on_another_listed_hash_too_stands(store: Store, record: Record) -> None:
    encounter_id = record(value=ONE).encounter_id
    with store.transaction() as tx:
        tx.execute(
            "INSERT INTO encounter_hit"
            " (encounter_id, algorithm, value, section, view, confirmed, distance_bits, sources, categories)"
            " VALUES (:id, 'pdq', :value, 'x', 'upright', 1, 0, '[]', '[]')",
            id=encounter_id,
            value=TWO,
        )
    gone = {hashlib.sha256(ONE).digest()}
    assert find_withdrawn(store, suppressed=gone, confirmer=None).found == ()
    assert find_withdrawn(store, suppressed=gone, confirmer=Service({TWO: True})).found == ()
    assert find_withdrawn(store, suppressed=(), confirmer=Service({ONE: False, TWO: True})).found == ()
    assert len(find_withdrawn(store, suppressed=gone, confirmer=Service({TWO: False})).found) == 1
    assert len(find_withdrawn(store, suppressed=(), confirmer=Service({ONE: False, TWO: False})).found) == 1


def test_one_hash_of_many_cases_leaves_once(store: Store, record: Record) -> None:
    for _ in range(3):
        record(value=ONE)
    service = Service({ONE: False})
    assert len(find_withdrawn(store, suppressed=(), confirmer=service).found) == 3
    assert service.asked == [ONE]


# --- feedback -------------------------------------------------------------------------------------------


def doubt(store: Store, receipt: Receipt) -> str:
    with store.transaction() as tx:
        return dispute(
            tx, receipt.encounter_id, code=DisputeCode.STOCK_PICTURE, by=ALICE, note="our logo", now=NOON
        )


def states(store: Store, receipt: Receipt) -> list[str]:
    with store.transaction() as tx:
        return [state for _, _, state, _ in feedback_of(tx, receipt.encounter_id)]


def test_a_dispute_sends_the_answers_name_the_hash_and_a_code_and_nothing_else(
    store: Store, record: Record
) -> None:
    receipt = record(value=ONE, confirm_id="answer-7")
    key = doubt(store, receipt)
    mailbox = Mailbox()
    report = send_pending(store, mailbox, confirmer=Service({}))
    assert (report.sent, report.refused, report.waiting) == (1, 0, 0)
    (message,) = mailbox.taken
    assert message == Feedback(
        key=key,
        kind=message.kind,
        code="stock_picture",
        confirm_id="answer-7",
        hashes=(HashValue(algorithm=Algorithm.SHA256, value=ONE),),
    )
    assert "logo" not in repr(message)
    assert receipt.encounter_id not in key
    assert states(store, receipt) == [FeedbackState.SENT]
    assert send_pending(store, mailbox, confirmer=Service({})).sent == 0


def test_a_dispute_outlives_a_service_that_is_down(store: Store, record: Record) -> None:
    receipts = [record(value=ONE, confirm_id="c") for _ in range(2)]
    for receipt in receipts:
        doubt(store, receipt)
    report = send_pending(store, Mailbox(ConnectError("no connection")), confirmer=Service({}))
    assert (report.sent, report.waiting, report.why) == (0, 2, "no connection")
    assert send_pending(store, Mailbox(), confirmer=Service({})).sent == 2


def test_a_refused_dispute_does_not_stop_the_next(store: Store, record: Record) -> None:
    receipt = record(value=ONE, confirm_id="c")
    doubt(store, receipt)
    assert send_pending(store, Mailbox(refused()), confirmer=Service({})).refused == 1
    assert states(store, receipt) == [FeedbackState.REFUSED]


def test_the_same_dispute_twice_is_one_message(store: Store, record: Record) -> None:
    receipt = record(confirm_id="c")
    assert doubt(store, receipt) == doubt(store, receipt)
    assert states(store, receipt) == [FeedbackState.PENDING]


def test_an_answer_without_a_name_is_asked_for_again(store: Store, record: Record) -> None:
    """Answers from the cache have none."""
    receipt = record(value=ONE)
    doubt(store, receipt)
    mailbox, service = Mailbox(), Service({ONE: True}, confirm_id="new")
    assert send_pending(store, mailbox, confirmer=service).sent == 1
    assert mailbox.taken[0].confirm_id == "new"
    with store.transaction() as tx:
        assert load_case(tx, receipt.encounter_id).confirm_id == "new"


def test_what_is_listed_no_more_needs_no_dispute_and_no_answer_means_later(
    store: Store, record: Record
) -> None:
    receipt = record(value=ONE)
    doubt(store, receipt)
    assert send_pending(store, Mailbox(), confirmer=Service({})).waiting == 1
    report = send_pending(store, Mailbox(), confirmer=Service({ONE: False}))
    assert (report.refused, report.waiting) == (1, 0)


def test_nobody_can_doubt_what_was_never_confirmed(store: Store, record: Record) -> None:
    receipt = record(outcome=Outcome.UNCONFIRMED)
    with pytest.raises(RecordError, match="nothing was confirmed"):
        doubt(store, receipt)
    with store.transaction() as tx:
        assert not tell_follow_up(tx, receipt.encounter_id, code=FollowUpCode.REMOVED, done_at=NOON, now=NOON)


def test_a_follow_up_says_what_was_done_and_when(store: Store, record: Record) -> None:
    receipt = record(value=ONE, confirm_id="c")
    with store.transaction() as tx:
        tell_follow_up(tx, receipt.encounter_id, code=FollowUpCode.REMOVED, done_at=NOON, now=NOON)
    mailbox = Mailbox()
    send_pending(store, mailbox, confirmer=Service({}))
    assert (mailbox.taken[0].code, mailbox.taken[0].done_at) == ("removed", NOON)
