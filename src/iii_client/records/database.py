"""`state.db`: one SQLite file, opened so that a committed row survives the process.

Promises: WAL with `synchronous=FULL`; mode 0600 in a 0700 directory; a connection of its own for every
process and thread, never used across a fork; migrations applied in order, once, and a file of a newer
version refused rather than guessed at.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from iii_client.errors import RecordError
from iii_client.records.migrations import MIGRATIONS

#: How long a writer waits for another one before it gives up.
BUSY_TIMEOUT_MS = 5000


class Database:
    """The durable store of one state directory.

    Raises:
        RecordError: it cannot be opened, or was written by a newer version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One write transaction: committed when the block ends, rolled back when it raises.

        Raises:
            RecordError: SQLite refused (disk full, read-only, locked too long, damaged).
        """
        try:
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            raise RecordError(
                f"the state database refused: {error}",
                hint="Check free space and permissions of the state directory.",
            ) from error

    def close(self) -> None:
        """Close this thread's connection; the next use opens another."""
        connection = getattr(self._local, "connection", None)
        if connection is not None and self._local.pid == os.getpid():
            connection.close()
        self._local.connection = None

    def _connection(self) -> sqlite3.Connection:
        # SQLite connections must not cross a fork (gunicorn preload, Celery prefork): the child's copy is
        # left alone, because closing it would release locks that the parent still relies on.
        if getattr(self._local, "connection", None) is None or self._local.pid != os.getpid():
            self._local.connection = self._open()
            self._local.pid = os.getpid()
        connection: sqlite3.Connection = self._local.connection
        return connection

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=BUSY_TIMEOUT_MS / 1000)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        _migrate(connection)
        return connection


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
        connection.execute("ROLLBACK")
        raise
