"""The recorder of a rescan: the encounter and the ledger's row in one transaction, once.

A chunk whose driver was killed is done again, and a recheck meets what was found before. Neither may make a
second encounter, a second question in the outbox or a second message to the application: an item of the same
content with the same outcome, under the same job, is the encounter that it was.
"""

from collections.abc import Callable
from datetime import datetime

from iii_client.model import Algorithm, Decision, Outcome, Receipt, UploadContext
from iii_client.records import StateRecorder, Store
from iii_client.records.store import storable, utc_now
from iii_client.rescan.exceptions import put_exception


class LedgerRecorder:
    """Fits `protocols.Recorder`.

    Args:
        store: that of the ledger and of the encounters.
        recorder: writes the encounters.
        job: name of the job.
        clock: aware.

    Attributes:
        shard: whose items are recorded now.
        faults: what the storage said about an item, by its reference.
        fresh: references of what was recorded for the first time; for the caller to empty.
    """

    def __init__(
        self, store: Store, *, recorder: StateRecorder, job: str, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._store = store
        self._recorder = recorder
        self._job = job
        self._clock = clock
        self.shard = 0
        self.faults: dict[str, str] = {}
        self.fresh: set[str] = set()

    def record(self, decision: Decision, context: UploadContext) -> Receipt:
        """Commit one decision, unless it was. See `protocols.Recorder`.

        Raises:
            RecordError: it could not be stored.
        """
        verdict = decision.verdict
        outcome, sha256 = verdict.outcome.value, _sha256(decision)
        with self._store.transaction() as tx:
            known = tx.query(
                "SELECT encounter_id, case_reference, outcome, sha256 FROM rescan_item"
                " WHERE job = :job AND shard = :shard AND reference = :reference",
                job=self._job,
                shard=self.shard,
                reference=storable(context.reference),
            )
            if known and (known[0][2], bytes(known[0][3])) == (outcome, sha256):
                return Receipt(encounter_id=known[0][0], case_reference=known[0][1])
            receipt = self._recorder.record_in(tx, decision, context)
            put_exception(
                tx,
                self._job,
                self.shard,
                context.reference,
                outcome=outcome,
                reasons=" ".join([*verdict.reasons, *filter(None, [self.faults.get(context.reference)])]),
                release=str(verdict.release),
                now=self._clock(),
                ruled=decision.ruled.value,
                action=decision.action.value,
                size_bytes=verdict.fingerprint.size_bytes,
                kind=verdict.fingerprint.kind,
                sha256=sha256,
                sources=sorted({source for match in verdict.matches for source in match.sources}),
                categories=sorted(
                    {(c.scheme, c.code, c.source) for match in verdict.matches for c in match.categories}
                ),
                encounter_id=receipt.encounter_id,
                case_reference=receipt.case_reference,
            )
        self.fresh.add(context.reference)
        return receipt


def is_exception(decision: Decision) -> bool:
    """Whether an event is worth telling of: anything but a plain "no match"."""
    return decision.verdict.outcome is not Outcome.NO_MATCH


def _sha256(decision: Decision) -> bytes:
    digests = decision.verdict.fingerprint.digests
    return next((digest.value for digest in digests if digest.algorithm is Algorithm.SHA256), b"")
