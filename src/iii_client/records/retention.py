"""What is forgotten, and when: records of settled cases are personal data and go after their time.

Promises: nothing that is still open goes (a question in the outbox, a decision that waits for a person, a
match that users can still reach, a file in quarantine, a legal hold, a message to the service); the audit log
stays whole, because it names no uploader, file or hash; every deletion is in it.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from iii_client.records.audit import append_audit
from iii_client.records.cases import Case, load_case
from iii_client.records.feedback import FeedbackState, feedback_of
from iii_client.records.operators import Operators
from iii_client.records.review import clock_of, waits_for
from iii_client.records.store import Store, Transaction, as_ms, as_text

#: Cases of one transaction: an upload waits for a writer at most so long as these take.
BATCH = 200
#: What the application did not take for so long, it never will: it has no courier, or notices were given up
#: long ago. They name its own references, which are personal data.
_NOT_TAKEN = timedelta(days=7)
#: A release is never done with before it is delivered: it is somebody's innocent picture.
_DONE_WITH = "(state <> 'pending' OR (kind <> 'release' AND created_ms < :not_taken))"
#: Counts of filter hits by hour are asked for seven days.
_KEEP_HOURS = timedelta(days=8)
_HOUR_MS = 3_600_000


_NEXT = (
    "SELECT id, at FROM encounter WHERE at < :before AND (at > :at OR (at = :at AND id > :id))"
    " ORDER BY at, id LIMIT :batch"
)
_NEXT_OF_UPLOADER = _NEXT.replace(" ORDER", " AND uploader_key = :uploader ORDER")


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeReport:
    """What was deleted, and what was not.

    Attributes:
        deleted: cases with their hits, follow-ups and outbox rows.
        notices: messages to the application that were delivered or given up.
        kept: cases of the asked kind that stay, by the reason.
    """

    deleted: int
    notices: int
    kept: Mapping[str, int]


def why_kept(tx: Transaction, case: Case) -> str:
    """Why a case must stay, as one word; empty when it may go."""
    if any(held.legal_hold for held in case.held):
        return "legal_hold"
    if any(held.is_live for held in case.held):
        return "in_quarantine"
    if case.waits_for_service:
        return "waits_for_the_service"
    if waits_for(case) is not None:
        return "waits_for_a_person"
    clock = clock_of(case)
    if clock is not None and clock.out_of_reach_at is None:
        return "still_reachable"
    if any(state == FeedbackState.PENDING for _, _, state, _ in feedback_of(tx, case.encounter_id)):
        return "message_to_the_service"
    return ""


def purge_records(
    store: Store,
    *,
    older_than: datetime,
    uploader_key: bytes = b"",
    by: Operators,
    dry_run: bool = False,
    now: datetime,
) -> PurgeReport:
    """Delete settled cases.

    Args:
        older_than: only cases before it; aware.
        uploader_key: only cases of this uploader (`PseudonymKey.of`); empty for all.
        by: who orders it.
        dry_run: say what would be deleted, and delete nothing.
        now: aware.

    Raises:
        RecordError: the database refused; what was deleted before it is.
    """
    kept: Counter[str] = Counter()
    deleted, last = 0, ("", "")
    while True:
        with store.reading() if dry_run else store.transaction() as tx:
            rows = tx.query(
                _NEXT_OF_UPLOADER if uploader_key else _NEXT,
                before=as_text(older_than),
                at=last[0],
                id=last[1],
                batch=BATCH,
                **({"uploader": uploader_key} if uploader_key else {}),
            )
            gone = []
            for encounter_id, _ in rows:
                reason = why_kept(tx, load_case(tx, encounter_id))
                kept.update([reason] if reason else [])
                gone += [] if reason else [encounter_id]
            if gone and not dry_run:
                for encounter_id in gone:
                    _delete(tx, encounter_id, with_notices=bool(uploader_key), now=now)
                append_audit(
                    tx,
                    "data_purged",
                    {"cases": len(gone), "of_one_uploader": bool(uploader_key), **by.named},
                    now=now,
                )
        deleted += len(gone)
        if not rows:
            break
        last = (rows[-1][1], rows[-1][0])
    notices = 0 if uploader_key else _old_notices(store, older_than=older_than, dry_run=dry_run, now=now)
    return PurgeReport(deleted=deleted, notices=notices, kept=dict(sorted(kept.items())))


def _delete(tx: Transaction, encounter_id: str, *, with_notices: bool, now: datetime) -> None:
    """A case with all its rows; hits and follow-ups go with the encounter."""
    if with_notices:
        # A late answer names the application's own reference. Ids are hexadecimal: no pattern hides in them.
        tx.execute(
            f"DELETE FROM notice WHERE body LIKE :about AND {_DONE_WITH}",  # noqa: S608 - our own text
            about=f'%"{encounter_id}"%',
            not_taken=as_ms(now - _NOT_TAKEN),
        )
    for table in ("outbox", "held", "feedback"):
        tx.execute(f"DELETE FROM {table} WHERE encounter_id = :id", id=encounter_id)  # noqa: S608
    tx.execute("DELETE FROM encounter WHERE id = :id", id=encounter_id)


def _old_notices(store: Store, *, older_than: datetime, dry_run: bool, now: datetime) -> int:
    old = f"FROM notice WHERE created_ms < :before AND {_DONE_WITH}"
    times = {"before": as_ms(older_than), "not_taken": as_ms(now - _NOT_TAKEN)}
    with store.reading() if dry_run else store.transaction() as tx:
        ((count,),) = tx.query(f"SELECT count(*) {old}", **times)
        if not dry_run:
            tx.execute(f"DELETE {old}", **times)
            tx.execute("DELETE FROM hit_hour WHERE hour < :hour", hour=as_ms(now - _KEEP_HOURS) // _HOUR_MS)
    return int(count)
