"""Budgets of filter hits against a slow, obvious reference, over made-up histories."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from iii_client.config import GuardConfig
from iii_client.model import (
    Action,
    Algorithm,
    Candidate,
    Decision,
    Fingerprint,
    HashValue,
    Mode,
    Outcome,
    ReleaseId,
    UploadContext,
    Verdict,
)
from iii_client.records import SqliteStore, StateRecorder
from iii_client.records.hit_budgets import HitBudgets
from iii_client.records.pseudonyms import PseudonymKey

START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HASHES = tuple(HashValue(algorithm=Algorithm.SHA256, value=bytes([n]) * 32) for n in range(3))


@dataclass(frozen=True)
class Upload:
    at: datetime
    uploader: str
    hashes: tuple[HashValue, ...]


def slow_reference(upload: Upload, before: Sequence[tuple[Upload, str]], limits: GuardConfig) -> str:
    """Every upload before this one, counted anew from the sentences of the documentation."""
    with_this = [*(past for past, _ in before), upload]
    last_hour = [past for past, _ in before if past.at > upload.at - timedelta(hours=1)]
    if limits.uploader_per_hour and upload.uploader:
        own = [past for past in last_hour if past.uploader == upload.uploader]
        if len(own) >= limits.uploader_per_hour:
            return "uploader"
    if limits.uploaders_per_hash:
        for value in upload.hashes:
            recent = [u for u in with_this if u.at > upload.at - timedelta(days=1) and value in u.hashes]
            named = {u.uploader for u in recent if u.uploader}
            if len(named) + sum(not u.uploader for u in recent) > limits.uploaders_per_hash:
                return "hash"
    if limits.per_hour:
        free = [past.at for past, name in before if not name]
        this_hour = upload.at.replace(minute=0, second=0, microsecond=0)
        hours = [this_hour - timedelta(hours=n) for n in range(169)]
        counts = [sum(hour <= at < hour + timedelta(hours=1) for at in free) for hour in hours]
        if counts[0] >= max(limits.per_hour, limits.times_median * median(counts[1:])):
            return "overall"
    return ""


def decision_of(upload: Upload, guard: str) -> Decision:
    verdict = Verdict(
        outcome=Outcome.MATCHED,
        fingerprint=Fingerprint(recipe="fast-v1", size_bytes=1, kind="png"),
        candidates=tuple(Candidate(hash=value, section="sha256") for value in upload.hashes),
        release=ReleaseId(epoch=1, sequence=0),
    )
    action = Action.QUARANTINE if guard else Action.BLOCK
    return Decision(
        action=action, ruled=action, rule="matched_exact", verdict=verdict, mode=Mode.ENFORCE, guard=guard
    )


uploads = st.builds(
    lambda minutes, uploader, hashes: (minutes, uploader, tuple(sorted(hashes, key=lambda h: h.value))),
    # Mostly close together, sometimes over an hour's, a day's or a week's end.
    st.one_of(st.integers(0, 20), st.sampled_from([0, 59, 61, 12 * 60, 24 * 60, 25 * 60, 8 * 24 * 60])),
    st.sampled_from(["", "", "ann", "bob", "cat", "dan"]),
    st.sets(st.sampled_from(HASHES), max_size=2),
)
limits = st.builds(
    GuardConfig,
    uploader_per_hour=st.integers(0, 4),
    per_hour=st.integers(0, 6),
    times_median=st.integers(0, 3),
    uploaders_per_hash=st.integers(0, 3),
)


@settings(max_examples=25, deadline=None)
@given(
    batches=st.lists(st.lists(uploads, min_size=1, max_size=5), min_size=1, max_size=8),
    limits=limits,
    every_hour=st.integers(0, 3),
)
def test_budgets_are_those_of_the_slow_reference(
    batches: list[list[tuple[int, str, tuple[HashValue, ...]]]], limits: GuardConfig, every_hour: int
) -> None:
    with TemporaryDirectory() as folder:
        clock = [START]
        store = SqliteStore(Path(folder) / "state.db")
        key = PseudonymKey(Path(folder) / "encounter.key")
        recorder = StateRecorder(store, key=key, clock=lambda: clock[0])
        budgets = HitBudgets(store, key=key, config=limits, clock=lambda: clock[0])
        past: list[tuple[Upload, str]] = []
        with store.transaction() as tx:
            # A week of steady hits, so that the median is not always nothing.
            hour = int(START.timestamp()) // 3600
            tx.insert("hit_hour", [{"hour": hour - n, "hits": every_hour} for n in range(1, 169)])
        for n in range(1, 169):
            at = START - timedelta(hours=n)
            past += [(Upload(at=at, uploader="", hashes=()), "")] * every_hour
        for batch in batches:
            clock[0] += timedelta(minutes=batch[0][0])
            arrived = [Upload(at=clock[0], uploader=who, hashes=hashes) for _, who, hashes in batch]
            names = budgets.exhausted(
                [decision_of(upload, "").verdict.candidates for upload in arrived],
                [UploadContext(uploader=upload.uploader) for upload in arrived],
            )
            for upload, name in zip(arrived, names, strict=True):
                if upload.hashes:
                    assert name == slow_reference(upload, past, limits)
                    past.append((upload, name))
                    recorder.record(decision_of(upload, name), UploadContext(uploader=upload.uploader))
                else:
                    assert name == "", "an item without a hit uses no budget"
        store.close()
