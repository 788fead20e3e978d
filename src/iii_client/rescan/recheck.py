"""Recheck: what is stored in segments, against the filter of now. Reads no storage.

Millions of fingerprints a minute are asked in batches; only those that hit go the whole way of a scan. What
was found before is not recorded again.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from iii_client.config import Config
from iii_client.errors import ConfigurationError, RescanError
from iii_client.fingerprint import RECIPES
from iii_client.model import Fingerprint, Reason, Recorded, Remembered, Skipped
from iii_client.parts import Parts
from iii_client.records import StateRecorder
from iii_client.records.store import utc_now
from iii_client.rescan.chunks import fingerprints_of
from iii_client.rescan.events import Event, Found, RunDone
from iii_client.rescan.inventory import reference_of
from iii_client.rescan.jobs import Shard
from iii_client.rescan.ledger import Ledger
from iii_client.rescan.recording import LedgerRecorder, is_exception
from iii_client.rescan.run import context_of, usable_filter
from iii_client.rescan.segments import Position, StoredItem

#: Items asked at once: 3 MB of fingerprints. Batches of 2,000 are within a tenth of the fastest.
BATCH_ITEMS = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Rechecked:
    """A batch was checked. `hits` of its items are in the filter; `other_recipe` were hashed otherwise."""

    items: int
    hits: int
    other_recipe: int


class Recheck:
    """One run over the stored fingerprints of a job. Build it with `of`."""

    def __init__(self, parts: Parts, ledger: Ledger, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._parts = parts
        self._ledger = ledger
        self._recipe = RECIPES[ledger.spec.recipe].id
        self._stopped = False
        self._recorder = LedgerRecorder(
            parts.store,
            recorder=StateRecorder(
                parts.store, key=parts.pseudonyms, policy=parts.policy.version, counts_hits=False, clock=clock
            ),
            job=ledger.name,
            clock=clock,
        )
        self._checker = parts.checker(counts_hits=False, recorder=self._recorder, remembers=False)

    @classmethod
    def of(cls, config: Config, *, job: str, clock: Callable[[], datetime] = utc_now) -> Self:
        """Of an existing job.

        Raises:
            ConfigurationError: there is none of this name, or no filter is used at all.
        """
        if config.filter.bypassed:
            raise ConfigurationError(
                "without a filter a recheck would ask the service about every stored picture",
                hint="Unset III_FILTER and run: iii-client filter update",
            )
        parts = Parts.from_config(config)
        return cls(parts, Ledger.open(parts.store, config.state_dir, job), clock=clock)

    @property
    def ledger(self) -> Ledger:
        """Counts of the job."""
        return self._ledger

    def stop(self) -> None:
        """Finish the batch under way and end `run`."""
        self._stopped = True

    def run(self) -> Iterator[Event | Rechecked]:
        """Check what is stored; go on where a recheck against the same release was stopped.

        Raises:
            LedgerLockedError: another process works on this job.
            FilterError: no usable filter is installed.
            RescanError: a segment is damaged, or the disk refused.
        """
        with self._ledger.locked():
            release = usable_filter(self._parts)
            self._ledger.begin_recheck(release)
            try:
                for shard in self._ledger.shards():
                    yield from self._run_shard(shard)
                if not self._stopped:
                    self._ledger.finish_recheck(release=release)
            finally:
                for part in self._parts.closing:
                    part.close()
        yield RunDone(finished=not self._stopped)

    def _run_shard(self, shard: Shard) -> Iterator[Event | Rechecked]:
        batch: list[StoredItem] = []
        position = shard.rechecked
        for items, position in self._ledger.segments(shard.number).read(shard.rechecked, shard.end):
            batch += items
            if len(batch) >= BATCH_ITEMS:
                yield from self._check(shard, batch, position)
                batch = []
                if self._stopped:
                    return
        if batch:
            yield from self._check(shard, batch, position)

    def _check(
        self, shard: Shard, batch: list[StoredItem], position: Position
    ) -> Iterator[Event | Rechecked]:
        prints = fingerprints_of([item.row for item in batch])
        found = self._parts.filters.current().look_up(prints)
        hits = [
            (item, fingerprint)
            for item, fingerprint, look_up in zip(batch, prints, found, strict=True)
            if look_up.candidates or look_up.reasons
        ]
        if hits:
            self._recorder.shard = shard.number
            self._recorder.faults = {}
            references = [reference_of(shard.root, item.key) for item, _ in hits]
            self._recorder.fresh.clear()
            decisions = self._checker.check(
                [Remembered(fingerprint=fingerprint) for _, fingerprint in hits],
                [context_of(reference) for reference in references],
                look_again=[
                    _without_pixels
                    if self._ledger.has_reason(shard.number, reference, Reason.DECODER_DISAGREED)
                    else _as_stored
                    for reference in references
                ],
            )
            if any(decision.recorded is Recorded.FAILED for decision in decisions):
                raise RescanError("what was found could not be recorded", hint="Check the state directory.")
            for reference, decision in zip(references, decisions, strict=True):
                if is_exception(decision) and reference in self._recorder.fresh:
                    yield Found(reference=reference, decision=decision)
        self._ledger.note_rechecked(shard.number, position)
        yield Rechecked(
            items=len(batch),
            hits=len(hits),
            other_recipe=sum(fingerprint.recipe != self._recipe for fingerprint in prints),
        )


def _as_stored(found: Fingerprint) -> Fingerprint:
    return found


def _without_pixels(found: Fingerprint) -> Fingerprint:
    """Two decoders disagreed about these pixels: what is stored of them may be a frame-up."""
    skip = Skipped(what="pixels", reason=Reason.DECODER_DISAGREED)
    return replace(found, perceptual=(), frames=(), skipped=(*found.skipped, skip))
