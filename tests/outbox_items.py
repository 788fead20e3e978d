"""Unconfirmed decisions about synthetic hashes, and what a test reads back."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from iii_client.model import (
    Action,
    Algorithm,
    Candidate,
    Decision,
    Fingerprint,
    HashValue,
    Match,
    Mode,
    Outcome,
    Reason,
    ReleaseId,
    Ruling,
    UploadContext,
    Verdict,
)
from iii_client.records import StateRecorder, Store
from iii_client.records.late_answers import Settlement
from iii_client.records.outbox import Waiting
from iii_client.records.pseudonyms import PseudonymKey

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def canary(number: int) -> HashValue:
    """A synthetic SHA-256."""
    return HashValue(algorithm=Algorithm.SHA256, value=hashlib.sha256(b"canary %d" % number).digest())


def unconfirmed(
    number: int,
    *,
    reason: Reason = Reason.SERVICE_UNREACHABLE,
    mode: Mode = Mode.ENFORCE,
    guard: str = "",
) -> Decision:
    """A probable hit that nobody could confirm, held by policy."""
    value = canary(number)
    return Decision(
        action=Action.QUARANTINE if mode is Mode.ENFORCE else Action.ALLOW,
        ruled=Action.QUARANTINE,
        rule="unconfirmed_no_answer",
        mode=mode,
        guard=guard,
        verdict=Verdict(
            outcome=Outcome.UNCONFIRMED,
            fingerprint=Fingerprint(recipe="fast-v1", size_bytes=9, kind="png", digests=(value,)),
            candidates=(Candidate(hash=value, section="sha256"),),
            reasons=(reason,),
            release=ReleaseId(epoch=3, sequence=1),
        ),
    )


def record(
    store: Store,
    state_dir: Path,
    numbers: Sequence[int],
    *,
    now: datetime = NOON,
    mode: Mode = Mode.ENFORCE,
    guard: str = "",
) -> list[str]:
    """Record unconfirmed decisions through the recorder; encounter ids, in order."""
    recorder = StateRecorder(store, key=PseudonymKey(state_dir / "encounter.key"), clock=lambda: now)
    return [
        recorder.record(
            unconfirmed(number, mode=mode, guard=guard),
            UploadContext(route="avatar", reference=f"obj/{number}"),
        ).encounter_id
        for number in numbers
    ]


def listed(waiting: Waiting, *, action: Action = Action.BLOCK) -> Settlement:
    """The service lists the item's hash."""
    (value,) = waiting.item.fingerprint.digests
    return Settlement(
        waiting=waiting,
        verdict=Verdict(
            outcome=Outcome.MATCHED,
            fingerprint=waiting.item.fingerprint,
            candidates=waiting.item.candidates,
            matches=(Match(hash=value, distance_bits=0, exact=True, sources=("list-a",)),),
            release=waiting.item.release,
            hashes_sent=1,
            confirm_id="c-1",
        ),
        ruling=Ruling(action=action, rule="matched_exact"),
        action=action,
    )


def denied(waiting: Waiting) -> Settlement:
    """The service does not list it."""
    return Settlement(
        waiting=waiting,
        verdict=Verdict(
            outcome=Outcome.NO_MATCH,
            fingerprint=waiting.item.fingerprint,
            candidates=waiting.item.candidates,
            reasons=(Reason.NOT_LISTED,),
            release=waiting.item.release,
            hashes_sent=1,
        ),
        ruling=Ruling(action=Action.ALLOW, rule="no_match"),
        action=Action.ALLOW,
    )


def rows(store: Store, sql: str) -> list[tuple[Any, ...]]:
    """What the database holds."""
    with store.transaction() as tx:
        return tx.query(sql)
