"""The ledger: what a job is, how far each shard has come, and every item that is not plain "no match".

Cursors and exceptions only; fingerprints lie in `segments`. A shard is one root, read in its own order, so
that one cursor says which items are done. A chunk is committed in one transaction: cursor, counts, the end
of its block. Whatever was under way when a process died is behind the cursor, and is done again.

Promises: one driver a job, by a lock that the kernel drops when the driver dies; an exception is one row an
item, however often its chunk is done again; a late answer of the service shows in the counts.
"""

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from iii_client.errors import ConfigurationError, LedgerLockedError, LedgerVersionError, RescanError
from iii_client.model import Reason
from iii_client.records.store import Row, Store, Transaction, Value, as_ms, as_text, storable
from iii_client.rescan.segments import Position, Segments

#: Version of `JobSpec` and of the segment files.
VERSION = 1
#: State of an item that killed whatever worked on it.
FAILED = "failed"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class JobState(StrEnum):
    """Where a job is."""

    OPEN = "open"
    STOPPING = "stopping"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What a job was started with; it stays the same for its life.

    Attributes:
        roots: normal roots, a shard each.
        recipe: name in `RECIPES`.
        include, exclude: globs over keys.
    """

    roots: tuple[str, ...]
    recipe: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """How far one root has come."""

    number: int
    root: str
    cursor: str
    listed: bool
    items: int
    size_bytes: int
    chunks: int
    end: Position
    rechecked: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """A job's counts.

    Attributes:
        items: in exactly one of the five that follow.
        failed: set aside, because they ended whatever worked on them.
        reasons: how often each reason stands among unscannable, unconfirmed and failed items.
        redone: items that were handed out a second time, because a process died.
        stored_bytes: of the segments on disk.
        release: the oldest filter that any of the items was checked against.
    """

    name: str
    state: JobState
    items: int = 0
    no_match: int = 0
    matched: int = 0
    unconfirmed: int = 0
    unscannable: int = 0
    failed: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    size_bytes: int = 0
    redone: int = 0
    stored_bytes: int = 0
    release: str = ""
    created_at: str = ""
    roots: tuple[str, ...] = ()


#: What an item is now: as recorded, or as a late answer said since.
_NOW = (
    "COALESCE((SELECT f.outcome FROM follow_up f WHERE f.encounter_id = i.encounter_id AND f.outcome <> ''"
    " ORDER BY f.at DESC LIMIT 1), i.outcome)"
)


class Ledger:
    """The ledger of one job. Open it with `create` or `open`."""

    def __init__(self, store: Store, state_dir: Path, name: str, spec: JobSpec) -> None:
        self._store = store
        self.name = name
        self.spec = spec
        self.folder = state_dir / "rescan" / name

    @classmethod
    def create(cls, store: Store, state_dir: Path, name: str, spec: JobSpec, *, now: datetime) -> "Ledger":
        """A new job.

        Raises:
            ConfigurationError: a name that is taken or cannot be one.
        """
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                "a job's name has up to 64 letters, digits, dots, dashes and underscores",
                hint="For example: --job uploads-2026",
            )
        with store.transaction() as tx:
            if tx.query("SELECT 1 FROM rescan_job WHERE name = :name", name=name):
                raise ConfigurationError(
                    "a job of this name exists", hint="Go on with it: iii-client rescan resume NAME"
                )
            tx.insert(
                "rescan_job",
                [
                    {
                        "name": name,
                        "version": VERSION,
                        "spec": json.dumps(asdict(spec)),
                        "state": JobState.OPEN.value,
                        "created_at": as_text(now),
                        "dispatched": 0,
                        "redone": 0,
                        "release": "",
                        "recheck_release": "",
                    }
                ],
            )
            tx.insert(
                "rescan_shard",
                [
                    {
                        "job": name,
                        "number": number,
                        "cursor": "",
                        "listed": 0,
                        "items": 0,
                        "size_bytes": 0,
                        "chunks": 0,
                        "end_file": 1,
                        "end_offset": 0,
                        "rechecked_file": 1,
                        "rechecked_offset": 0,
                    }
                    for number in range(len(spec.roots))
                ],
            )
        return cls(store, state_dir, name, spec)

    @classmethod
    def open(cls, store: Store, state_dir: Path, name: str) -> "Ledger":
        """An existing job.

        Raises:
            ConfigurationError: there is none of this name.
            LedgerVersionError: it was started by a newer version.
        """
        with store.reading() as tx:
            rows = tx.query("SELECT version, spec FROM rescan_job WHERE name = :name", name=name)
        if not rows:
            raise ConfigurationError("there is no job of this name", hint="See: iii-client rescan status")
        if rows[0][0] != VERSION:
            raise LedgerVersionError(
                f"the job has version {rows[0][0]}, this library knows {VERSION}",
                hint="Go on with it with the version that started it.",
            )
        spec = json.loads(rows[0][1])
        return cls(
            store,
            state_dir,
            name,
            JobSpec(
                roots=tuple(spec["roots"]),
                recipe=spec["recipe"],
                include=tuple(spec["include"]),
                exclude=tuple(spec["exclude"]),
            ),
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Only one driver at a time.

        Raises:
            LedgerLockedError: another process drives the job.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LedgerLockedError(
                    "another process runs this job", hint="See it: iii-client rescan status NAME"
                ) from None
            yield
        finally:
            os.close(descriptor)

    def segments(self, shard: int) -> Segments:
        """The segment files of a shard."""
        return Segments(self.folder / f"shard-{shard:04}")

    def shards(self) -> list[Shard]:
        """All of them, in their order."""
        with self._store.reading() as tx:
            rows = tx.query(
                "SELECT number, cursor, listed, items, size_bytes, chunks, end_file, end_offset,"
                " rechecked_file, rechecked_offset FROM rescan_shard WHERE job = :job ORDER BY number",
                job=self.name,
            )
        return [
            Shard(
                number=row[0],
                root=self.spec.roots[row[0]],
                cursor=json.loads(row[1]) if row[1] else "",
                listed=bool(row[2]),
                items=row[3],
                size_bytes=row[4],
                chunks=row[5],
                end=Position(row[6], row[7]),
                rechecked=Position(row[8], row[9]),
            )
            for row in rows
        ]

    # --- the driver's steps -----------------------------------------------------------------------------

    def begin(self, *, release: str) -> None:
        """A driver starts: what was handed out and not committed will be handed out again, and is counted."""
        with self._store.transaction() as tx:
            tx.execute(
                "UPDATE rescan_job SET state = :state, redone = redone + dispatched, dispatched = 0,"
                " release = CASE release WHEN '' THEN :release ELSE release END WHERE name = :job",
                state=JobState.OPEN.value,
                release=release,
                job=self.name,
            )

    def note_dispatched(self, items: int) -> None:
        """So many items are handed out and not committed."""
        with self._store.transaction() as tx:
            tx.execute(
                "UPDATE rescan_job SET dispatched = :items WHERE name = :job", items=items, job=self.name
            )

    def commit_chunk(
        self,
        shard: int,
        *,
        cursor: str,
        items: int,
        size_bytes: int,
        end: Position,
        dispatched: int,
        now: datetime,
    ) -> bool:
        """A chunk is done: all of it or nothing. Returns whether the job is to stop."""
        with self._store.transaction() as tx:
            tx.execute(
                "UPDATE rescan_shard SET cursor = :cursor, items = items + :items,"
                " size_bytes = size_bytes + :size, chunks = chunks + 1,"
                " end_file = :file, end_offset = :offset WHERE job = :job AND number = :number",
                # A name may hold bytes that are no UTF-8; JSON keeps them as escapes.
                cursor=json.dumps(cursor),
                items=items,
                size=size_bytes,
                file=end.file,
                offset=end.offset,
                job=self.name,
                number=shard,
            )
            tx.execute(
                "INSERT INTO rescan_minute (job, minute, items, size_bytes)"
                " VALUES (:job, :minute, :items, :size) ON CONFLICT (job, minute)"
                " DO UPDATE SET items = rescan_minute.items + :items,"
                " size_bytes = rescan_minute.size_bytes + :size",
                job=self.name,
                minute=as_ms(now) // 60_000,
                items=items,
                size=size_bytes,
            )
            ((state,),) = tx.query(
                "UPDATE rescan_job SET dispatched = :dispatched WHERE name = :job RETURNING state",
                dispatched=dispatched,
                job=self.name,
            )
        return bool(state == JobState.STOPPING.value)

    def finish_shard(self, shard: int) -> None:
        """Its listing is at its end, and all is committed."""
        with self._store.transaction() as tx:
            tx.execute(
                "UPDATE rescan_shard SET listed = 1 WHERE job = :job AND number = :number",
                job=self.name,
                number=shard,
            )

    def end(self, state: JobState) -> None:
        """A driver ends in order: all shards are done, or it was stopped and handed nothing out any more."""
        with self._store.transaction() as tx:
            tx.execute(
                "UPDATE rescan_job SET state = :state, dispatched = 0 WHERE name = :job",
                state=state.value,
                job=self.name,
            )

    def request_stop(self) -> bool:
        """Ask the driver to stop after the chunks under way. False when the job was not under way."""
        with self._store.transaction() as tx:
            return bool(
                tx.execute(
                    "UPDATE rescan_job SET state = :stopping WHERE name = :job AND state = :open",
                    stopping=JobState.STOPPING.value,
                    open=JobState.OPEN.value,
                    job=self.name,
                )
            )

    def set_aside(self, shard: int, reference: str, *, now: datetime, release: str) -> None:
        """An item that ended whatever worked on it."""
        with self._store.transaction() as tx:
            put_exception(
                tx,
                self.name,
                shard,
                reference,
                outcome=FAILED,
                reasons="worker_lost",
                release=release,
                now=now,
            )

    # --- recheck ------------------------------------------------------------------------------------------

    def begin_recheck(self, release: str) -> bool:
        """From the start, or on from where a recheck against the same release stopped (then True)."""
        with self._store.transaction() as tx:
            ((before,),) = tx.query("SELECT recheck_release FROM rescan_job WHERE name = :job", job=self.name)
            if before == release:
                return True
            tx.execute(
                "UPDATE rescan_job SET recheck_release = :release WHERE name = :job",
                release=release,
                job=self.name,
            )
            tx.execute(
                "UPDATE rescan_shard SET rechecked_file = 1, rechecked_offset = 0 WHERE job = :job",
                job=self.name,
            )
        return False

    def note_rechecked(self, shard: int, position: Position) -> None:
        """Everything before this position was checked."""
        with self._store.transaction() as tx:
            tx.execute(
                "UPDATE rescan_shard SET rechecked_file = :file, rechecked_offset = :offset"
                " WHERE job = :job AND number = :number",
                file=position.file,
                offset=position.offset,
                job=self.name,
                number=shard,
            )

    def finish_recheck(self, *, release: str) -> None:
        """All that is stored was checked against this release."""
        with self._store.transaction() as tx:
            tx.execute(
                "UPDATE rescan_job SET release = :release, recheck_release = '' WHERE name = :job",
                release=release,
                job=self.name,
            )

    def forget(self) -> None:
        """Erase the job: its rows, and the names and fingerprints of everything that it read. What was found
        stays, in the encounters.

        Raises:
            LedgerLockedError: another process works on the job.
            RescanError: a file cannot be erased; the job is still there.
        """
        with self.locked():
            try:
                for folder in self.folder.glob("shard-*"):
                    shutil.rmtree(folder)
            except OSError as error:
                raise RescanError(f"fingerprints cannot be erased: {error.strerror}") from error
            with self._store.transaction() as tx:
                for table in ("rescan_minute", "rescan_item", "rescan_shard"):
                    tx.execute(f"DELETE FROM {table} WHERE job = :job", job=self.name)  # noqa: S608
                tx.execute("DELETE FROM rescan_job WHERE name = :job", job=self.name)
            (self.folder / "lock").unlink(missing_ok=True)
        self.folder.rmdir()

    # --- looking ------------------------------------------------------------------------------------------

    def status(self) -> JobStatus:
        """The counts of this moment."""
        with self._store.reading() as tx:
            ((state, redone, release, created),) = tx.query(
                "SELECT state, redone, release, created_at FROM rescan_job WHERE name = :job", job=self.name
            )
            ((items, size),) = tx.query(
                "SELECT COALESCE(SUM(items), 0), COALESCE(SUM(size_bytes), 0) FROM rescan_shard"
                " WHERE job = :job",
                job=self.name,
            )
            counted = tx.query(
                f"SELECT {_NOW} AS outcome, i.reasons, COUNT(*) FROM rescan_item i"  # noqa: S608
                " WHERE i.job = :job GROUP BY 1, 2",
                job=self.name,
            )
        outcomes: dict[str, int] = {}
        reasons: dict[str, int] = {}
        for outcome, words, count in counted:
            outcomes[outcome] = outcomes.get(outcome, 0) + count
            if outcome != "no_match":
                for word in words.split():
                    reasons[word] = reasons.get(word, 0) + count
        exceptions = {name: outcomes.get(name, 0) for name in _EXCEPTIONS}
        return JobStatus(
            name=self.name,
            state=JobState(state),
            items=int(items),
            no_match=int(items) - sum(exceptions.values()),
            **exceptions,
            reasons=dict(sorted(reasons.items())),
            size_bytes=int(size),
            redone=redone,
            stored_bytes=sum(path.stat().st_size for path in self.folder.glob("shard-*/*.seg")),
            release=release,
            created_at=created,
            roots=self.spec.roots,
        )

    def has_reason(self, shard: int, reference: str, reason: Reason) -> bool:
        """Whether an item is an exception for this reason, among others."""
        with self._store.reading() as tx:
            rows = tx.query(
                "SELECT reasons FROM rescan_item WHERE job = :job AND shard = :shard"
                " AND reference = :reference",
                job=self.name,
                shard=shard,
                reference=storable(reference),
            )
        return any(reason.value in reasons.split() for (reasons,) in rows)

    def exceptions(self, *, page: int = 1000) -> Iterator[Row]:
        """Every item that is not plain, in order: (shard, reference, outcome, ruled, action, reasons,
        size_bytes, kind, sources, categories, encounter_id, release, at)."""
        after: tuple[int, str] = (-1, "")
        while True:
            with self._store.reading() as tx:
                rows = tx.query(
                    f"SELECT i.shard, i.reference, {_NOW}, i.ruled, i.action, i.reasons,"  # noqa: S608
                    " i.size_bytes, i.kind, i.sources, i.categories, i.encounter_id, i.release, i.at"
                    " FROM rescan_item i WHERE i.job = :job"
                    " AND (i.shard > :shard OR (i.shard = :shard AND i.reference > :reference))"
                    " ORDER BY i.shard, i.reference LIMIT :page",
                    job=self.name,
                    shard=after[0],
                    reference=after[1],
                    page=page,
                )
            yield from rows
            if len(rows) < page:
                return
            after = (rows[-1][0], rows[-1][1])

    def throughput(self) -> list[tuple[int, int, int]]:
        """(minute since 1970, items, bytes) of every minute in which something was committed."""
        with self._store.reading() as tx:
            rows = tx.query(
                "SELECT minute, items, size_bytes FROM rescan_minute WHERE job = :job ORDER BY minute",
                job=self.name,
            )
        return [(row[0], row[1], row[2]) for row in rows]


_EXCEPTIONS = ("matched", "unconfirmed", "unscannable", FAILED)


def job_names(store: Store) -> list[str]:
    """Every job, the newest first."""
    with store.reading() as tx:
        return [name for (name,) in tx.query("SELECT name FROM rescan_job ORDER BY created_at DESC")]


def put_exception(
    tx: Transaction,
    job: str,
    shard: int,
    reference: str,
    *,
    outcome: str,
    reasons: str,
    release: str,
    now: datetime,
    ruled: str = "",
    action: str = "",
    size_bytes: int = 0,
    kind: str = "",
    sha256: bytes = b"",
    sources: Sequence[str] = (),
    categories: Sequence[Sequence[str]] = (),
    encounter_id: str = "",
    case_reference: str = "",
) -> None:
    """The row of one item, in place of an older one."""
    values: dict[str, Value] = {
        "outcome": outcome,
        "ruled": ruled,
        "action": action,
        "reasons": reasons,
        "size_bytes": size_bytes,
        "kind": kind,
        "sha256": sha256,
        "sources": json.dumps(list(sources)),
        "categories": json.dumps([list(category) for category in categories]),
        "encounter_id": encounter_id,
        "case_reference": case_reference,
        "release": release,
        "at": as_text(now),
    }
    names = ", ".join(values)
    tx.execute(
        f"INSERT INTO rescan_item (job, shard, reference, {names}) VALUES (:job, :shard, :reference, "  # noqa: S608
        f"{', '.join(':' + name for name in values)}) ON CONFLICT (job, shard, reference) DO UPDATE SET "
        + ", ".join(f"{name} = :{name}" for name in values),
        job=job,
        shard=shard,
        reference=storable(reference),
        **values,
    )
