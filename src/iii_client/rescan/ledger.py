"""The ledger: how far each shard of a job has come.

Cursors and counts; exceptions are rows of `exceptions`, fingerprints lie in `segments`. A shard is one root,
read in its own order, so that one cursor says which items are done. A chunk is committed in one transaction:
cursor, counts, the end of its block. Whatever was under way when a process died is behind the cursor, and is
done again.

Promises: one driver a job, by a lock that the kernel drops when the driver dies; a late answer of the service
shows in the counts.
"""

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from iii_client.errors import ConfigurationError, LedgerLockedError, LedgerVersionError, RescanError
from iii_client.model import Reason
from iii_client.records.store import Row, Store, as_ms, as_text
from iii_client.rescan.exceptions import (
    FAILED,
    count_exceptions,
    has_reason,
    put_exception,
    read_exceptions,
)
from iii_client.rescan.jobs import JobSpec, JobState, JobStatus, Shard
from iii_client.rescan.segments import Position, Segments

#: Version of `JobSpec` and of the segment files.
VERSION = 1

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


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
            counted = count_exceptions(tx, self.name)
        return JobStatus(
            name=self.name,
            state=JobState(state),
            items=int(items),
            no_match=int(items) - sum(counted.states.values()),
            **counted.states,
            reasons=counted.reasons,
            size_bytes=int(size),
            redone=redone,
            stored_bytes=sum(path.stat().st_size for path in self.folder.glob("shard-*/*.seg")),
            release=release,
            created_at=created,
            roots=self.spec.roots,
        )

    def exceptions(self, *, page: int = 1000) -> Iterator[Row]:
        """Every item that is not plain, in order; see `exceptions.read_exceptions`."""
        return read_exceptions(self._store, self.name, page=page)

    def has_reason(self, shard: int, reference: str, reason: Reason) -> bool:
        """Whether an item is an exception for this reason, among others."""
        return has_reason(self._store, self.name, shard, reference, reason)

    def throughput(self) -> list[tuple[int, int, int]]:
        """(minute since 1970, items, bytes) of every minute in which something was committed."""
        with self._store.reading() as tx:
            rows = tx.query(
                "SELECT minute, items, size_bytes FROM rescan_minute WHERE job = :job ORDER BY minute",
                job=self.name,
            )
        return [(row[0], row[1], row[2]) for row in rows]
