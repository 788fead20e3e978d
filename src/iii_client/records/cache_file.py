"""One SQLite file that may be deleted at any time, and behaves like one that was: it never raises.

Promises: mode 0600; WAL without waiting for the disk; one connection a process, never used across a fork; a
file that is damaged, of another version, removed or replaced is made anew; whoever is busy, full or
read-only remembers nothing, and no upload waits for it longer than `BUSY_TIMEOUT_S`.

Without waiting for the disk a power cut may damage the file, also in a way that SQLite does not notice. So a
row carries a checksum over its own key (`sealed`), and one that fails it is not there.
"""

import fcntl
import logging
import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from iii_client.records.file_identity import file_identity

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

#: Longest that a use of the cache waits for another process. Looking at a picture again costs less.
BUSY_TIMEOUT_S = 0.02

_LOCK_POLL_S = 0.002
#: How long an erasure waits, which a person asked for.
_ERASE_WAIT_S = 5.0

#: SQLite's primary result codes for a file that is damaged, no database, or not readable as one.
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PRIMARY_CODE = 0xFF
_CHECKSUM_BYTES = 4

#: Connections of a parent process, kept so that nothing closes them here.
_INHERITED: list[object] = []


def sealed(key: bytes, body: bytes) -> bytes:
    """A body with a checksum over it and the key that it belongs to. It guards against damage, not malice."""
    return body + zlib.crc32(body, zlib.crc32(key)).to_bytes(_CHECKSUM_BYTES)


def unsealed(key: bytes, row: object) -> bytes | None:
    """The inverse of `sealed`; None for a row that is damaged, also in its type, or another key's."""
    if not isinstance(row, bytes) or len(row) <= _CHECKSUM_BYTES:
        return None
    body = row[:-_CHECKSUM_BYTES]
    return body if sealed(key, body) == row else None


class CacheFile:
    """The file and this process's connection to it. Thread-safe.

    Args:
        path: of the database.
        version: of the tables; a file of another version is made anew.
        tables: statements that make them.
    """

    def __init__(self, path: Path, *, version: int, tables: Sequence[str]) -> None:
        self._path = path
        self._version = version
        self._tables = tables
        self._held = _Held()

    def use(self, work: Callable[[sqlite3.Connection], _T], *, otherwise: _T) -> _T:
        """Do something with the database.

        Args:
            work: with a connection in autocommit mode.
            otherwise: what to return when the database cannot be used now.
        """
        held = self._of_this_process()
        with held.lock:
            try:
                return work(self._connection(held))
            except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
                self._give_up(held, error)
                return otherwise

    def write(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Do something in one transaction; nothing of it is kept when the database cannot be used now."""

        def in_transaction(db: sqlite3.Connection) -> None:
            db.execute("BEGIN IMMEDIATE")
            try:
                work(db)
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")

        self.use(in_transaction, otherwise=None)

    def size_bytes(self) -> int:
        """What it takes on disk; 0 when there is none."""
        total = 0
        for suffix in ("", "-wal"):
            try:
                total += self._path.with_name(self._path.name + suffix).stat().st_size
            except OSError:
                continue
        return total

    def remove(self) -> None:
        """Forget everything, in all processes."""
        held = self._of_this_process()
        with held.lock:
            held.close()
            try:
                with _one_at_a_time(self._path.parent, wait_s=_ERASE_WAIT_S):
                    self._unlink()
            except OSError as error:
                logger.warning("the cache cannot be removed: %s", error.strerror)

    def close(self) -> None:
        """Close this process's connection; the next use opens another."""
        held = self._of_this_process()
        with held.lock:
            held.close()

    def _of_this_process(self) -> "_Held":
        # A lock that another thread held during a fork stays locked in the child; and SQLite forbids to use,
        # or even close, a connection that was opened before it.
        if self._held.pid != os.getpid():
            _INHERITED.append(self._held)
            self._held = _Held()
        return self._held

    def _connection(self, held: "_Held") -> sqlite3.Connection:
        if held.connection is not None and held.identity == file_identity(self._path):
            return held.connection
        held.close()
        with _one_at_a_time(self._path.parent):
            if not self._is_ours():
                self._unlink()
                os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            held.identity = file_identity(self._path)
            held.connection = self._open()
        return held.connection

    def _is_ours(self) -> bool:
        """Whether a file of this version lies there. Another version's would be misread."""
        if not self._path.exists():
            return False
        try:
            connection = sqlite3.connect(self._path, isolation_level=None, timeout=BUSY_TIMEOUT_S)
            try:
                (version,) = connection.execute("PRAGMA user_version").fetchone()
            finally:
                connection.close()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            if not _is_damaged(error):
                raise
            return False
        return bool(version in {0, self._version})

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, isolation_level=None, timeout=BUSY_TIMEOUT_S, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=OFF")
            # What is erased is overwritten: fingerprints are personal data.
            connection.execute("PRAGMA secure_delete=ON")
            for statement in self._tables:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={self._version}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _give_up(self, held: "_Held", error: Exception) -> None:
        if not _is_damaged(error):
            # An `OSError` in full would name the path.
            reason = error.strerror if isinstance(error, OSError) else str(error)
            logger.info("the cache is not used just now: %s", reason)
            return
        # Without SQLite's words, which may quote the file.
        logger.warning("the cache was damaged and is made anew")
        damaged = held.identity
        held.close()
        try:
            with _one_at_a_time(self._path.parent):
                # Unless another process was faster.
                if damaged is not None and damaged == file_identity(self._path):
                    self._unlink()
        except OSError as failure:
            logger.warning("the cache cannot be removed: %s", failure.strerror)

    def _unlink(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)


class _Held:
    """What one process holds of a cache."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.connection: sqlite3.Connection | None = None
        self.identity: tuple[int, int] | None = None

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
        self.connection = None


@contextmanager
def _one_at_a_time(directory: Path, *, wait_s: float = BUSY_TIMEOUT_S) -> Iterator[None]:
    """One process at a time makes, opens or removes a database of this directory, which it makes.

    Raises:
        OSError: not in this time.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(descriptor, until_s=time.monotonic() + wait_s)
        yield
    finally:
        # Said, not left to closing: a child forked meanwhile holds the same lock through its copy.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _lock(descriptor: int, *, until_s: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until_s:
                raise
            time.sleep(_LOCK_POLL_S)
        else:
            return


def _is_damaged(error: BaseException) -> bool:
    # SQLite quotes a damaged table in its message, which Python then cannot read.
    code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE
    return code in _DAMAGED or isinstance(error, UnicodeDecodeError)
