"""What the service is still to be told about its answers: a row first, then the message.

Promises: a dispute that was made is not forgotten because the service is down; the same message has the same
key, so that the service takes it once however often it is sent.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from iii_client.errors import IIIError, RecordError
from iii_client.model import (
    Algorithm,
    DisputeCode,
    Feedback,
    FeedbackKind,
    FollowUpCode,
    HashValue,
    Listed,
    Unanswered,
)
from iii_client.protocols import Confirmer, FeedbackSender
from iii_client.records.audit import append_audit
from iii_client.records.cases import Case, load_case
from iii_client.records.follow_ups import FollowUpKind, add_follow_up
from iii_client.records.operators import Operators
from iii_client.records.store import Store, Transaction, as_text, storable, utc_now

_LONGEST_ERROR = 200


class FeedbackState(StrEnum):
    """States of a row."""

    PENDING = "pending"
    SENT = "sent"
    #: The service does not take it, and will not.
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class SendReport:
    """What `send_pending` did.

    Attributes:
        sent, refused, waiting: how many messages; `waiting` could not be sent now.
        why: the last error, for a person; empty when there was none.
    """

    sent: int
    refused: int
    waiting: int
    why: str = ""


NOTHING_SENT = SendReport(sent=0, refused=0, waiting=0)


class _NotNowError(RecordError):
    """Try again later."""

    retryable = True


def dispute(
    tx: Transaction, encounter_id: str, *, code: DisputeCode, by: Operators, note: str = "", now: datetime
) -> str:
    """Doubt the service's answer about a case. Returns the key of the message.

    Args:
        code: what the service is told.
        note: kept locally, never sent.

    Raises:
        RecordError: no such case, or the service has confirmed nothing in it.
    """
    case = load_case(tx, encounter_id)
    if not case.confirmed:
        raise RecordError(
            "nothing was confirmed in this case, so there is no answer to doubt",
            hint="A filter hit without a confirmation is settled by the outbox or by a person: "
            "iii-client review decide.",
        )
    append_audit(tx, "disputed", {"encounter": case.encounter_id, "code": code.value, **by.named}, now=now)
    add_follow_up(tx, encounter_id, FollowUpKind.DISPUTED, now=now, by=by, note=note)
    return _queue(tx, case, FeedbackKind.DISPUTE, code.value, done_at=None, now=now)


def tell_follow_up(
    tx: Transaction, encounter_id: str, *, code: FollowUpCode, done_at: datetime, now: datetime
) -> str:
    """Let the service know what was done about a match. Returns the key of the message; empty when the
    service has confirmed nothing in the case."""
    case = load_case(tx, encounter_id)
    if not case.confirmed:
        return ""
    return _queue(tx, case, FeedbackKind.FOLLOW_UP, code.value, done_at=done_at, now=now)


def has_pending(store: Store) -> bool:
    """Whether anything waits to be sent."""
    with store.reading() as tx:
        return bool(tx.query("SELECT 1 FROM feedback WHERE state = 'pending' LIMIT 1"))


def send_pending(
    store: Store,
    sender: FeedbackSender,
    *,
    confirmer: Confirmer,
    clock: Callable[[], datetime] = utc_now,
) -> SendReport:
    """Send what waits, oldest first, until the service cannot be reached.

    Args:
        store: keeps the rows.
        sender: the service.
        confirmer: names an answer anew where none is known: one that came from the cache has no name.
        clock: aware.
    """
    with store.reading() as tx:
        keys = [
            str(key)
            for (key,) in tx.query("SELECT id FROM feedback WHERE state = 'pending' ORDER BY created_at, id")
        ]
    sent = refused = 0
    for number, key in enumerate(keys):
        try:
            reply = sender.send(_message(store, key, confirmer))
        except IIIError as error:
            state = FeedbackState.PENDING if error.retryable else FeedbackState.REFUSED
            _mark(store, key, state, error=str(error))
            if error.retryable:
                return SendReport(sent=sent, refused=refused, waiting=len(keys) - number, why=str(error))
            refused += 1
        else:
            _mark(store, key, FeedbackState.SENT, reply=reply, now=clock())
            sent += 1
    return SendReport(sent=sent, refused=refused, waiting=0)


def feedback_of(tx: Transaction, encounter_id: str) -> tuple[tuple[str, str, str, str], ...]:
    """(kind, code, state, last error) of every message about one case, oldest first."""
    rows = tx.query(
        "SELECT kind, code, state, last_error FROM feedback WHERE encounter_id = :id ORDER BY created_at, id",
        id=encounter_id,
    )
    return tuple((kind, code, state, error) for kind, code, state, error in rows)


def _queue(
    tx: Transaction, case: Case, kind: FeedbackKind, code: str, *, done_at: datetime | None, now: datetime
) -> str:
    done = as_text(done_at) if done_at else ""
    # The encounter's id is random, so the key tells nothing; the same message has the same key.
    key = hashlib.sha256(json.dumps([case.encounter_id, kind.value, code, done]).encode()).hexdigest()
    tx.execute(
        "INSERT INTO feedback"
        " (id, encounter_id, kind, code, done_at, state, created_at, attempts, last_error, reply)"
        " VALUES (:id, :encounter, :kind, :code, :done, 'pending', :now, 0, '', '')"
        " ON CONFLICT (id) DO NOTHING",
        id=key,
        encounter=case.encounter_id,
        kind=kind.value,
        code=code,
        done=done,
        now=as_text(now),
    )
    return key


def _message(store: Store, key: str, confirmer: Confirmer) -> Feedback:
    with store.reading() as tx:
        ((encounter_id, kind, code, done_at),) = tx.query(
            "SELECT encounter_id, kind, code, done_at FROM feedback WHERE id = :id", id=key
        )
        case = load_case(tx, encounter_id)
    known = {str(algorithm): algorithm for algorithm in Algorithm}
    hashes = tuple(
        HashValue(algorithm=known[hit.algorithm], value=hit.value)
        for hit in case.confirmed
        if hit.algorithm in known
    )
    return Feedback(
        key=key,
        kind=FeedbackKind(kind),
        code=code,
        confirm_id=case.confirm_id or _named_anew(store, case, hashes, confirmer),
        hashes=hashes,
        done_at=datetime.fromisoformat(done_at) if done_at else None,
    )


def _named_anew(store: Store, case: Case, hashes: tuple[HashValue, ...], confirmer: Confirmer) -> str:
    """Ask again about hashes that were asked about before. What is not listed any more needs no dispute."""
    confirmation = confirmer.confirm(hashes)
    if any(isinstance(answer, Unanswered) for answer in confirmation.answers):
        raise _NotNowError("the service did not answer")
    if not any(isinstance(answer, Listed) for answer in confirmation.answers):
        raise RecordError("the service does not list it any more: see 'iii-client review withdrawn'")
    if not confirmation.confirm_id:
        raise RecordError("the service gives its answers no name that a dispute could refer to")
    with store.transaction() as tx:
        tx.execute(
            "UPDATE encounter SET confirm_id = :confirm_id WHERE id = :id",
            confirm_id=storable(confirmation.confirm_id),
            id=case.encounter_id,
        )
    return confirmation.confirm_id


def _mark(
    store: Store,
    key: str,
    state: FeedbackState,
    *,
    error: str = "",
    reply: str = "",
    now: datetime | None = None,
) -> None:
    with store.transaction() as tx:
        if now is not None:
            append_audit(tx, "feedback_sent", {"feedback": key, "reply": storable(reply)}, now=now)
        tx.execute(
            "UPDATE feedback SET state = :state, attempts = attempts + 1, last_error = :error, reply = :reply"
            " WHERE id = :id",
            state=state.value,
            error=storable(error)[:_LONGEST_ERROR],
            reply=storable(reply),
            id=key,
        )
