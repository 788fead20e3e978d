"""Four writers and a drainer over one state directory, killed with SIGKILL at random moments.

    python outbox_kills.py STATE_DIR ROUNDS

Writes one JSON object. A writer records unconfirmed decisions, and after each one that was acknowledged
writes its encounter's id to a file of its own: what is in those files was promised to somebody. The processes
are forked from one that has everything loaded, so that a round costs its own time only.

The drainer's service is a function that answers after a moment: what is tested is what becomes of the rows.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from iii_client.config import OutboxConfig
from iii_client.decide import TablePolicy
from iii_client.drain import Drainer
from iii_client.model import (
    Algorithm,
    Candidate,
    Confirmation,
    Decision,
    Fingerprint,
    HashValue,
    Mode,
    NotListed,
    Outcome,
    Reason,
    ReleaseId,
    UploadContext,
    Verdict,
)
from iii_client.records import SqliteStore, StateRecorder
from iii_client.records.audit_check import verify_audit

WRITERS = 4
#: A round is killed after at most this long. Long enough for some dozen commits of each writer.
LONGEST_ROUND_S = 0.4
#: How long the service takes: so long a batch is between being asked about and being settled.
ANSWER_S = 0.005
#: What a writer does between two commits. SQLite's lock is not fair: without a pause the drainer starves.
PAUSE_S = 0.002


class Answers:
    """Denies everything."""

    def supports(self, algorithm: Algorithm) -> bool:
        return True

    def confirm(self, hashes: Sequence[HashValue], *, spent_s: float = 0.0) -> Confirmation:
        time.sleep(ANSWER_S)
        return Confirmation(answers=tuple(NotListed(hash=value) for value in hashes), hashes_sent=len(hashes))


def unconfirmed() -> Decision:
    value = HashValue(algorithm=Algorithm.SHA256, value=os.urandom(32))
    verdict = Verdict(
        outcome=Outcome.UNCONFIRMED,
        fingerprint=Fingerprint(recipe="fast-v1", size_bytes=1, kind="png", digests=(value,)),
        candidates=(Candidate(hash=value, section="sha256"),),
        reasons=(Reason.SERVICE_TIMEOUT,),
        release=ReleaseId(epoch=1, sequence=0),
    )
    ruling = TablePolicy().rule(verdict, UploadContext())
    return Decision(
        action=ruling.action, ruled=ruling.action, rule=ruling.rule, verdict=verdict, mode=Mode.ENFORCE
    )


def write(state_dir: Path, acknowledged: Path) -> None:
    recorder = StateRecorder.in_directory(state_dir)
    decision = unconfirmed()
    file = os.open(acknowledged, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    while True:
        receipt = recorder.record(decision, UploadContext(route="kill", reference="r"))
        os.write(file, f"{receipt.encounter_id}\n".encode())
        time.sleep(PAUSE_S)


def new_drainer(store: SqliteStore) -> Drainer:
    return Drainer(store, Answers(), TablePolicy(), config=OutboxConfig(calls_per_s=1000.0))


def drain(state_dir: Path) -> None:
    drainer = new_drainer(SqliteStore(state_dir / "state.db"))
    while True:
        drainer.drain_once(limit=10)


def fork(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    return child


def end_leases(store: SqliteStore) -> int:
    """Two minutes pass: the leases of the dead end."""
    with store.transaction() as tx:
        return tx.execute("UPDATE outbox SET lease_until_ms = 0 WHERE state = 'pending'")


def one_round(state_dir: Path, acks_dir: Path, *, rng: random.Random) -> None:
    children = [fork(partial(write, state_dir, acks_dir / f"{number}")) for number in range(WRITERS)]
    children.append(fork(partial(drain, state_dir)))
    time.sleep(rng.uniform(0.02, LONGEST_ROUND_S))
    rng.shuffle(children)
    for child in children:
        os.kill(child, signal.SIGKILL)
        # Not all at once: a survivor meets what the dead one left behind.
        time.sleep(rng.uniform(0, 0.01))
    for child in children:
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            raise SystemExit("a process ended by itself: see its error above")


def report(state_dir: Path, acks_dir: Path, *, rounds: int) -> dict[str, Any]:
    acknowledged = [line for file in acks_dir.iterdir() for line in file.read_text().splitlines()]
    store = SqliteStore(state_dir / "state.db")
    with store.transaction() as tx:
        kept = {row[0] for row in tx.query("SELECT encounter_id FROM outbox")}
        settled_while_killing = tx.query("SELECT count(*) FROM outbox WHERE state = 'settled'")[0][0]
        asked_again = tx.query("SELECT count(*) FROM outbox WHERE attempts > 1")[0][0]
    end_leases(store)
    new_drainer(store).run_until_empty()
    with store.transaction() as tx:
        left = tx.query("SELECT count(*) FROM outbox WHERE state <> 'settled'")[0][0]
        follow_ups = tx.query("SELECT count(*), count(DISTINCT encounter_id) FROM follow_up")[0]
        notices = tx.query("SELECT count(*), count(DISTINCT body) FROM notice WHERE kind = 'late_answer'")[0]
        orphans = tx.query(
            "SELECT count(*) FROM encounter WHERE NOT EXISTS"
            " (SELECT 1 FROM outbox WHERE outbox.encounter_id = encounter.id)"
        )[0][0]
        (integrity,) = tx.query("PRAGMA integrity_check")[0]
    audit = verify_audit(store)
    store.close()
    return {
        "rounds": rounds,
        "acknowledged": len(acknowledged),
        "acknowledged_minus_found": len(set(acknowledged) - kept),
        "acknowledged_twice": len(acknowledged) - len(set(acknowledged)),
        "encounters_without_outbox_row": orphans,
        "settled_while_killing": settled_while_killing,
        "asked_again_after_a_kill": asked_again,
        "left_after_draining": left,
        "doubled_follow_ups": follow_ups[0] - follow_ups[1],
        "settled_without_follow_up": len(kept) - follow_ups[1],
        "doubled_notices": notices[0] - notices[1],
        "settled_without_notice": len(kept) - notices[1],
        "integrity": integrity,
        "audit_entries": audit.entries,
        "audit_fault": audit.why,
    }


def main(state_dir: Path, rounds: int) -> None:
    acks_dir = state_dir.with_name("acknowledged")
    acks_dir.mkdir()
    seed = random.SystemRandom().getrandbits(32)
    rng = random.Random(seed)
    for _ in range(rounds):
        one_round(state_dir, acks_dir, rng=rng)
        store = SqliteStore(state_dir / "state.db")
        end_leases(store)
        store.close()
    json.dump({**report(state_dir, acks_dir, rounds=rounds), "seed": seed}, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
