"""The recorder: one decision becomes an encounter, perhaps an outbox row and an audit entry, all or none.

Promises: when `record` returns, all of it is on disk (WAL, `synchronous=FULL`, or PostgreSQL's commit); a
probable hit without an answer is in the outbox before its caller learns of it; what could not be recorded
raises an alarm as soon as anything can be.
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Self

from iii_client.errors import RecordError
from iii_client.model import Action, Decision, Reason, Receipt, UploadContext
from iii_client.records.alarms import raise_alarm
from iii_client.records.audit import append_audit
from iii_client.records.encounters import add_encounter
from iii_client.records.hit_budgets import count_hit, raise_hit_alarm
from iii_client.records.outbox import add_if_unanswered
from iii_client.records.pseudonyms import PseudonymKey
from iii_client.records.sqlite import SqliteStore
from iii_client.records.store import Store, Transaction, utc_now
from iii_client.test_picture import listed_picture_sha256

#: Kind of the alarm that decisions are missing in the records.
NOT_RECORDED_ALARM = "not_recorded"


class StateRecorder:
    """Records decisions in a store. Fits `protocols.Recorder`.

    Args:
        store: where to.
        key: hides uploaders and places.
        policy: version of the policy that rules.
        counts_hits: whether hits count in the budgets. Not when a person scans what is stored: a folder
            full of finds would use up the budgets of the uploads.
        clock: aware.
    """

    def __init__(
        self,
        store: Store,
        *,
        key: PseudonymKey,
        policy: str = "",
        counts_hits: bool = True,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._key = key
        self._policy = policy
        self._counts_hits = counts_hits
        self._clock = clock
        #: Decisions that this process could not record and has raised no alarm about yet.
        self._missed = 0

    @classmethod
    def in_directory(
        cls, state_dir: Path, *, policy: str = "", clock: Callable[[], datetime] = utc_now
    ) -> Self:
        """A recorder over the `state.db` of a state directory."""
        return cls(
            SqliteStore(state_dir / "state.db"),
            key=PseudonymKey(state_dir / "encounter.key"),
            policy=policy,
            clock=clock,
        )

    def record(self, decision: Decision, context: UploadContext) -> Receipt:
        """Commit one decision. See `protocols.Recorder`.

        Raises:
            RecordError: it could not be stored.
        """
        try:
            with self._store.transaction() as tx:
                receipt = self.record_in(tx, decision, context)
                if missed := self._missed:
                    self._raise_missed(tx, missed)
        except RecordError:
            # Counted without a lock: an alarm with a number that is off by one wakes the same person.
            self._missed += 1
            raise
        self._missed -= missed
        return receipt

    def record_in(self, tx: Transaction, decision: Decision, context: UploadContext) -> Receipt:
        """The same, as a part of a transaction that holds more."""
        now = self._clock()
        counts = self._counts_hits and _counts(decision)
        receipt = add_encounter(
            tx,
            decision,
            context,
            now=now,
            key=self._key,
            policy=self._policy,
            counts=counts,
        )
        if counts:
            count_hit(
                tx,
                decision.verdict.candidates,
                uploader=self._key.of(context.uploader),
                encounter_id=receipt.encounter_id,
                held_back=bool(decision.guard),
                now=now,
            )
        add_if_unanswered(tx, decision, encounter_id=receipt.encounter_id, route=context.route, now=now)
        if decision.ruled is not Action.ALLOW:
            append_audit(tx, "decision", _audited(decision, receipt, policy=self._policy), now=now)
        if decision.guard and counts:
            case = receipt.case_reference or receipt.encounter_id
            raise_hit_alarm(tx, decision.guard, case=case, now=now)
        return receipt

    def _raise_missed(self, tx: Transaction, missed: int) -> None:
        """The first moment at which it can be written that something could not be."""
        raise_alarm(
            tx,
            NOT_RECORDED_ALARM,
            f"{missed} decisions of one process could not be recorded: the database was full, locked or "
            "away. They were ruled as always, and are in no outbox. The application's log, at level ERROR, "
            "says when; what it let through meanwhile, look at again: iii-client scan.",
            now=self._clock(),
        )

    def close(self) -> None:
        """Close this thread's connection; those of other threads close when they end."""
        self._store.close()


def _audited(decision: Decision, receipt: Receipt, *, policy: str) -> dict[str, str | int]:
    return {
        "encounter": receipt.encounter_id,
        "outcome": decision.verdict.outcome.value,
        "ruled": decision.ruled.value,
        "action": decision.action.value,
        "mode": decision.mode.value,
        "rule": decision.rule,
        "policy": policy,
        "reasons": " ".join(decision.verdict.reasons),
        "hashes_sent": decision.verdict.hashes_sent,
        "guard": decision.guard,
        "release": str(decision.verdict.release),
    }


def _counts(decision: Decision) -> bool:
    """Whether its hits count in the budgets: a test of the path must not use them up, nor what the hoster
    knows to be good, and under a bypassed filter every picture is a candidate."""
    verdict = decision.verdict
    is_test = bool(verdict.matches) and all(match.is_test for match in verdict.matches)
    # By its bytes, too: while the service is down nobody says that the test picture is one.
    is_test |= any(digest.value == listed_picture_sha256() for digest in verdict.fingerprint.digests)
    return bool(verdict.candidates) and not is_test and _UNCOUNTED.isdisjoint(verdict.reasons)


_UNCOUNTED = frozenset({Reason.FILTER_BYPASSED, Reason.ALLOW_LISTED})
