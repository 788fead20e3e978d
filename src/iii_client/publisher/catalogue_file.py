"""The SQLite file of a catalogue: opened, migrated, changed in transactions, its faults named.

lists     name, kind, version, and the number of the last delivery
entries   one row a hash, list, source and category, as published; and whether it still stands
links     which hashes a list says are of one picture
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from iii_client.errors import ConfigurationError

#: Hashes come in random order, so pages that do not fit here are written many times over. In KiB, at most.
_CACHE_KIB = 1 << 20

#: Another process may be adding a list; a large one takes longer, and is then named.
BUSY_TIMEOUT_S = 10.0

_SCHEMA_VERSION = 2
_SCHEMA = """
CREATE TABLE lists (
    name TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    version INTEGER NOT NULL,
    delivery INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE entries (
    algorithm TEXT NOT NULL,
    value BLOB NOT NULL,
    list TEXT NOT NULL REFERENCES lists (name),
    source TEXT NOT NULL,
    scheme TEXT NOT NULL,
    code TEXT NOT NULL,
    quality INTEGER NOT NULL,
    withdrawn INTEGER NOT NULL DEFAULT 0,
    delivery INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (algorithm, value, list, source, scheme, code)
) WITHOUT ROWID;
"""
_LINKS = """
CREATE TABLE links (
    list TEXT NOT NULL,
    item TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (list, item, algorithm, value)
) WITHOUT ROWID;
CREATE INDEX links_of_hash ON links (algorithm, value);
"""
#: Version 1 was the practice service's own file.
_FROM_1 = """
ALTER TABLE lists ADD COLUMN delivery INTEGER NOT NULL DEFAULT 0;
ALTER TABLE entries ADD COLUMN delivery INTEGER NOT NULL DEFAULT 0;
UPDATE lists SET kind = 'other' WHERE kind = 'known';
"""


def open_catalogue(path: Path, *, busy_timeout_s: float) -> sqlite3.Connection:
    """Open the file, made (0600) when it is not there and brought to this version. For any thread.

    Raises:
        ConfigurationError: it is none of ours, or of a newer version.
    """
    try:
        path.touch(mode=0o600)
        db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=busy_timeout_s)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        _migrate(db)
    except (OSError, sqlite3.DatabaseError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(
            f"the lists cannot be opened: {reason}",
            hint="Name another data folder, or one that this library made.",
        ) from error
    return db


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """One write transaction: committed when the block ends, rolled back when it raises.

    Raises:
        ConfigurationError: the file is locked, full or damaged.
    """
    with named_errors():
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise


@contextmanager
def named_errors() -> Iterator[None]:
    """SQLite's errors under a name of ours; also a decorator."""
    try:
        yield
    except sqlite3.Error as error:
        busy = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_BUSY
        raise ConfigurationError(
            "another process is changing the lists" if busy else f"the lists cannot be used: {error}",
            hint="Wait for it to end, then try again."
            if busy
            else "Check the free space; if the file is damaged, restore it from a backup.",
        ) from error


def _migrate(db: sqlite3.Connection) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    steps = {0: _SCHEMA + _LINKS, 1: _FROM_1 + _LINKS, _SCHEMA_VERSION: ""}
    if version not in steps:
        raise ConfigurationError(
            f"the lists are of version {version}, this library knows {_SCHEMA_VERSION}",
            hint="Name an empty data folder, or use the version that made this one.",
        )
    if steps[version]:
        db.executescript(f"BEGIN; {steps[version]} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;")
