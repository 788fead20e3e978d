"""`state.db`: one SQLite file, opened so that a committed row survives the process.

Promises: WAL with `synchronous=FULL`; mode 0600 in a 0700 directory; a connection of its own for every
process and thread, never used across a fork; migrations applied in order, once, and a file of a newer
version refused rather than guessed at; no row written into a file that is not at its path any more.
"""

import fcntl
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from iii_client.errors import RecordError
from iii_client.records.file_identity import file_identity
from iii_client.records.migrations import MIGRATIONS
from iii_client.records.store import Row, Transaction, Value, insert_sql

#: How long a writer waits for another one before it gives up.
BUSY_TIMEOUT_MS = 5000

#: SQLite's primary result codes (low byte of `sqlite_errorcode`) for a file that is damaged or no database.
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PRIMARY_CODE = 0xFF


class SqliteStore:
    """The durable store of one state directory. Fits `store.Store`.

    Raises:
        RecordError: it cannot be opened, or was written by a newer version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """One write transaction: committed when the block ends, rolled back when it raises.

        Raises:
            RecordError: SQLite refused (disk full, read-only, locked too long, damaged).
        """
        with self._begun("BEGIN IMMEDIATE") as connection:
            yield _SqliteTransaction(connection)
            connection.execute("COMMIT")

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """For questions only: one view of what was committed, without waiting for a writer (WAL).

        Raises:
            RecordError: SQLite refused (not a database, damaged, not readable).
        """
        with self._begun("BEGIN") as connection:
            yield _SqliteTransaction(connection)

    @contextmanager
    def _begun(self, begin: str) -> Iterator[sqlite3.Connection]:
        """A transaction that is rolled back unless it was committed inside."""
        try:
            connection = self._connection()
            connection.execute(begin)
            try:
                yield connection
            finally:
                # A full disk makes SQLite roll back by itself.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        except (sqlite3.Error, OSError) as error:
            raise _refused(error) from error

    def close(self) -> None:
        """Close this thread's connection; the next use opens another.

        Those of other threads are left to them, for they may be in the middle of a transaction: each is
        closed when its thread ends.
        """
        connection = getattr(self._local, "connection", None)
        if connection is not None and self._local.pid == os.getpid():
            connection.close()
        elif connection is not None:
            _OF_A_PARENT.append(connection)
        self._local.connection = None

    def _connection(self) -> sqlite3.Connection:
        if getattr(self._local, "connection", None) is None:
            self._reopen()
        elif self._local.pid != os.getpid():
            # SQLite connections must not cross a fork (gunicorn preload, Celery prefork): neither used nor
            # closed, which would let go of what the parent relies on. Kept, or Python would close it.
            _OF_A_PARENT.append(self._local.connection)
            self._reopen()
        elif self._local.identity != file_identity(self._path):
            # Somebody removed or replaced the file: SQLite would go on writing into the one without a name.
            self.close()
            self._reopen()
        connection: sqlite3.Connection = self._local.connection
        return connection

    def _reopen(self) -> None:
        with _opening(self._path.parent):
            _make_file(self._path)
            # Taken before SQLite opens it: a replacement in between is seen at the next transaction.
            self._local.identity = file_identity(self._path)
            self._local.connection = _open(self._path)
            self._local.pid = os.getpid()


class _SqliteTransaction:
    """Fits `store.Transaction`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, /, **values: Value) -> int:
        return self._connection.execute(sql, values).rowcount

    def query(self, sql: str, /, **values: Value) -> list[Row]:
        return self._connection.execute(sql, values).fetchall()

    def insert(self, table: str, rows: Sequence[Mapping[str, Value]]) -> None:
        if rows:
            self._connection.executemany(insert_sql(table, list(rows[0])), rows)


#: Connections that a fork copied into this process.
_OF_A_PARENT: list[sqlite3.Connection] = []


@contextmanager
def _opening(directory: Path) -> Iterator[None]:
    """One thread of one process at a time makes and opens a database of this directory, which it makes.

    SQLite does not wait when two turn a new file to WAL at once, but says that it is locked.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        # Said, not left to closing: a child forked meanwhile holds the same lock through its copy.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _make_file(path: Path) -> None:
    """Make an empty, private file where there is none.

    Nobody has it open yet: closing a descriptor of a file drops all locks that this process holds on it,
    SQLite's included.
    """
    if path.exists():
        return
    # Without their database these would be taken for the new one's. The log may hold rows: it is kept.
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    log = path.with_name(f"{path.name}-wal")
    if log.exists():
        log.rename(log.with_name(f"{log.name}.{secrets.token_hex(4)}"))
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_MS / 1000)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        # What is erased is overwritten, not only forgotten: some builds of SQLite do so anyway.
        connection.execute("PRAGMA secure_delete=ON")
        _migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _refused(error: sqlite3.Error | OSError) -> RecordError:
    """The named error. An `OSError` in full would name the path; SQLite's words never do."""
    named = error.strerror if isinstance(error, OSError) else str(error)
    reason = named or type(error).__name__
    if getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE in _DAMAGED:
        hint = "state.db is damaged: move it away, keep it as evidence, and a new one is made."
    else:
        hint = "Check free space and permissions of the state directory."
    return RecordError(f"the state database refused: {reason}", hint=hint)


def _migrate(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Read again inside the lock: another worker may have migrated meanwhile.
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise RecordError(
                f"the state database has version {version}, this library knows {len(MIGRATIONS)}",
                hint="Upgrade iii-client; an older version must not write into a newer store.",
            )
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version={len(MIGRATIONS)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
