"""The driver of a rescan: list, hand out, check, record, commit; and go on where it was stopped.

    for event in Rescan.resume(config, job="uploads").run():
        ...

Chunks are handed out in the order of the listing, hashed by the engine in any, and committed in order, so
that one cursor a shard says it all. For each chunk, in this order: its fingerprints are on disk, its finds
are recorded (each once, whatever happens), its cursor is committed. Killed anywhere, the next run does what
was under way again, and nothing else.

Promises: at most two chunks for each the engine works on at a time are in memory, however large the storage
is; nothing is called innocent without a usable filter; an item that ends whatever works on it, which `crew`
finds, is set aside as failed.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Self, TypedDict, Unpack

from iii_client.config import Config
from iii_client.errors import FilterExpiredError, RescanError
from iii_client.fingerprint import RECIPES, look_again
from iii_client.fingerprint.pixels import LooksHere
from iii_client.model import Fingerprint, Freshness, Recorded, Remembered, UploadContext
from iii_client.parts import Parts
from iii_client.records import StateRecorder
from iii_client.records.store import utc_now
from iii_client.rescan.chunks import ChunkTask, HashedRow, fingerprints_of
from iii_client.rescan.crew import Chunk, Crew, hand_back
from iii_client.rescan.engine import Engine, open_engine
from iii_client.rescan.entries import Entry
from iii_client.rescan.events import ChunkDone, Event, Found, RunDone
from iii_client.rescan.inventory import (
    Opener,
    matcher,
    normal_root,
    open_inventory,
    opener_of,
    reference_of,
    refuse_overlap,
)
from iii_client.rescan.jobs import JobSpec, JobState, Shard
from iii_client.rescan.ledger import Ledger
from iii_client.rescan.pace import Pace
from iii_client.rescan.recording import LedgerRecorder, is_exception
from iii_client.rescan.segments import StoredItem
from iii_client.rescan.worker import content_of

#: Limits of a chunk. More: more is done again after a kill, and a stop waits longer (256 pictures take two
#: to five seconds). Less: more commits; one takes a millisecond or two.
CHUNK_ITEMS = 256
CHUNK_BYTES = 64 << 20
#: Chunks in flight for each that the engine works on at a time: one waits while one is hashed.
AHEAD = 2
#: Times that a lost engine is opened again before the run gives up.
REOPENINGS = 3

ROUTE = "iii-client rescan"


class Options(TypedDict, total=False):
    """How a run goes about it; see `Rescan`."""

    engine: str | Callable[[], Engine]
    jobs: int
    objects_per_s: float
    bytes_per_s: float
    chunk_items: int
    reopenings: int


class Rescan:
    """One run of a job. Build it with `start` or `resume`.

    Args:
        parts: the library's own parts.
        ledger: of the job.
        engine: address of an engine, see `engine`; or what opens one, again after it broke.
        jobs: chunks hashed at the same time; 0 for what the engine has.
        objects_per_s, bytes_per_s: what is handed out at most; 0 for no limit.
        chunk_items: items of a chunk at most.
        reopenings: times that an engine that broke is opened again before the run gives up.
        clock: aware.
    """

    def __init__(
        self,
        parts: Parts,
        ledger: Ledger,
        *,
        engine: str | Callable[[], Engine] = "local",
        jobs: int = 0,
        objects_per_s: float = 0,
        bytes_per_s: float = 0,
        chunk_items: int = CHUNK_ITEMS,
        reopenings: int = REOPENINGS,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._parts = parts
        self._ledger = ledger
        self._stop = threading.Event()
        self._crew = Crew(
            (lambda: open_engine(engine, jobs=jobs)) if isinstance(engine, str) else engine,
            task_of=self._task_of,
            stop=self._stop,
            reopenings=reopenings,
        )
        self._pace = Pace(
            objects_per_s=objects_per_s, bytes_per_s=bytes_per_s, sleep=lambda s: bool(self._stop.wait(s))
        )
        # A slow pace with large chunks would be bursts with long pauses between them.
        self._chunk_items = max(1, min(chunk_items, int(objects_per_s) or chunk_items))
        self._clock = clock
        self._recorder = LedgerRecorder(
            parts.store,
            recorder=StateRecorder(
                parts.store,
                key=parts.pseudonyms,
                policy=parts.policy.version,
                counts_hits=False,
                clock=clock,
            ),
            job=ledger.name,
            clock=clock,
        )
        self._checker = parts.checker(counts_hits=False, recorder=self._recorder, remembers=False)

    @classmethod
    def start(
        cls,
        config: Config,
        *,
        job: str,
        roots: Sequence[str],
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        clock: Callable[[], datetime] = utc_now,
        **options: Unpack[Options],
    ) -> Self:
        """A new job; nothing is read before `run`.

        Args:
            config: as for a `Scanner`.
            job: its name, by which it is resumed.
            roots: addresses, see `inventory`.
            include, exclude: globs over the items' names below their root.
            clock: aware.
            options: of the constructor.

        Raises:
            ConfigurationError: a name that is taken, an address that cannot be one.
            FilterError: no usable filter is installed.
        """
        parts = Parts.from_config(config)
        usable_filter(parts)
        normal = tuple(normal_root(root) for root in roots)
        refuse_overlap(normal)
        spec = JobSpec(roots=normal, recipe=config.recipe, include=tuple(include), exclude=tuple(exclude))
        ledger = Ledger.create(parts.store, config.state_dir, job, spec, now=clock())
        return cls(parts, ledger, clock=clock, **options)

    @classmethod
    def resume(
        cls,
        config: Config,
        *,
        job: str,
        clock: Callable[[], datetime] = utc_now,
        **options: Unpack[Options],
    ) -> Self:
        """Go on with a job. Arguments and errors as for `start`."""
        parts = Parts.from_config(config)
        ledger = Ledger.open(parts.store, config.state_dir, job)
        return cls(parts, ledger, clock=clock, **options)

    @property
    def ledger(self) -> Ledger:
        """Counts, exceptions and throughput of the job."""
        return self._ledger

    def stop(self) -> None:
        """Finish the chunks under way and end `run`. From any thread, or a signal handler."""
        self._stop.set()

    def run(self) -> Iterator[Event]:
        """Do what is left to do.

        Raises:
            LedgerLockedError: another process runs this job.
            FilterError: no usable filter is installed, or not any more.
            RescanError: the engine, the storage's listing or the disk failed; resume once it is mended.
        """
        with self._ledger.locked():
            membership = usable_filter(self._parts)
            self._ledger.begin(release=membership)
            finished = False
            try:
                self._crew.open()
                for shard in self._ledger.shards():
                    if not shard.listed and not self._stop.is_set():
                        yield from self._run_shard(shard)
                finished = all(shard.listed for shard in self._ledger.shards())
                self._ledger.end(JobState.FINISHED if finished else JobState.OPEN)
            finally:
                self._crew.close()
                for part in self._parts.closing:
                    part.close()
        yield RunDone(finished=finished)

    # --- one shard ----------------------------------------------------------------------------------------

    def _run_shard(self, shard: Shard) -> Iterator[Event]:
        segments = self._ledger.segments(shard.number)
        segments.cut(shard.end)
        end = shard.end
        chunks = self._chunks(shard)
        window: deque[Chunk] = deque()
        is_listed = False
        noted = 0
        while True:
            while not is_listed and not self._stop.is_set() and len(window) < AHEAD * self._crew.width:
                chunk = next(chunks, None)
                if chunk is None:
                    is_listed = True
                elif self._pace.wait(len(chunk.entries), _size(chunk.entries)):
                    self._crew.submit(chunk)
                    window.append(chunk)
            if self._stop.is_set():
                hand_back(window)
            if not window:
                break
            if (in_flight := sum(len(chunk.entries) for chunk in window)) > noted:
                self._ledger.note_dispatched(in_flight)
            rows = self._crew.rows(window)
            done = window.popleft()
            if len(rows) < len(done.entries):
                # The worker answered for the first ones only, or the chunk was halved.
                rest = Chunk(root=shard.root, entries=done.entries[len(rows) or 1 :])
                if rest.entries:
                    self._crew.submit(rest)
                    window.appendleft(rest)
            entries = done.entries[: len(rows)] or done.entries[:1]
            if rows:
                items = [
                    StoredItem(key=entry.key, token=entry.token, row=row)
                    for entry, row in zip(entries, rows, strict=True)
                ]
                end = segments.append(items, end)
                yield from self._check(shard, entries, rows)
            else:
                self._ledger.set_aside(
                    shard.number,
                    reference_of(shard.root, entries[0].key),
                    now=self._clock(),
                    release=usable_filter(self._parts),
                )
            noted = sum(len(chunk.entries) for chunk in window)
            if self._ledger.commit_chunk(
                shard.number,
                cursor=entries[-1].cursor,
                items=len(entries),
                size_bytes=_size(entries),
                end=end,
                dispatched=noted,
                now=self._clock(),
            ):
                self._stop.set()
            yield ChunkDone(
                shard=shard.number, items=len(entries), size_bytes=_size(entries), failed=0 if rows else 1
            )
        if is_listed:
            self._ledger.finish_shard(shard.number)

    def _chunks(self, shard: Shard) -> Iterator[Chunk]:
        wanted = matcher(self._ledger.spec.include, self._ledger.spec.exclude)
        entries: list[Entry] = []
        size = 0
        for entry in open_inventory(shard.root).entries(shard.cursor):
            if not wanted(entry.key):
                continue
            entries.append(entry)
            size += max(entry.size_bytes, 0)
            if len(entries) >= self._chunk_items or size >= CHUNK_BYTES:
                yield Chunk(root=shard.root, entries=entries)
                entries, size = [], 0
        if entries:
            yield Chunk(root=shard.root, entries=entries)

    def _check(self, shard: Shard, entries: Sequence[Entry], rows: Sequence[HashedRow]) -> Iterator[Found]:
        usable_filter(self._parts)
        references = [reference_of(shard.root, entry.key) for entry in entries]
        self._recorder.shard = shard.number
        self._recorder.fresh.clear()
        self._recorder.faults = {
            reference: row.fault for reference, row in zip(references, rows, strict=True) if row.fault
        }
        decisions = self._checker.check(
            [Remembered(fingerprint=fingerprint) for fingerprint in fingerprints_of(rows)],
            [context_of(reference) for reference in references],
            look_again=self._second_looks(shard, entries),
        )
        if any(decision.recorded is Recorded.FAILED for decision in decisions):
            raise RescanError(
                "what was found could not be recorded",
                hint="Check space and permissions of the state directory, then: iii-client rescan resume.",
            )
        for reference, decision in zip(references, decisions, strict=True):
            if is_exception(decision):
                yield Found(reference=reference, decision=decision)

    def _second_looks(
        self, shard: Shard, entries: Sequence[Entry]
    ) -> Sequence[Callable[[Fingerprint], Fingerprint]]:
        """What asks a fresh decoder about an item that hits: its worker had seen other pictures before, and
        one of them may have taken it over to frame this one."""
        if self._parts.isolation is None:
            return ()
        opener = opener_of(shard.root)
        return [partial(self._look_again, opener, entry) for entry in entries]

    def _look_again(self, opener: Opener, entry: Entry, found: Fingerprint) -> Fingerprint:
        limits = self._parts.config.limits
        source = opener(entry.key, entry.size_bytes)
        with content_of(source, max_bytes=limits.max_content_bytes) as content:
            return look_again(
                content,
                found,
                recipe=RECIPES[self._ledger.spec.recipe],
                limits=limits,
                reader=self._parts.isolation or LooksHere(),
            )

    def _task_of(self, chunk: Chunk) -> ChunkTask:
        config = self._parts.config
        return ChunkTask(
            root=chunk.root,
            keys=tuple(entry.key for entry in chunk.entries),
            sizes=tuple(entry.size_bytes for entry in chunk.entries),
            recipe=self._ledger.spec.recipe,
            limits=config.limits,
            isolated=config.isolation != "off",
        )


def context_of(reference: str) -> UploadContext:
    """The circumstances of an item that is stored already."""
    return UploadContext(route=ROUTE, place=reference.rpartition("/")[0], reference=reference, stored=True)


def usable_filter(parts: Parts) -> str:
    """The release of a filter whose silence proves something.

    Raises:
        FilterError: none is installed, or it is too old.
    """
    membership = parts.filters.current()
    if membership.freshness is Freshness.EXPIRED:
        raise FilterExpiredError(
            "the installed filter was signed too long ago: what it does not know would be called unscannable",
            hint="Run: iii-client filter update",
        )
    return str(membership.release)


def _size(entries: Sequence[Entry]) -> int:
    return sum(max(entry.size_bytes, 0) for entry in entries)
