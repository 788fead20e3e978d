"""The state database on PostgreSQL, for many hosts with one outbox, one breaker and one audit log.

Needs the extra `[postgres]` (SQLAlchemy, psycopg). Promises what `sqlite.py` does: a committed row survives
(`synchronous_commit` on), migrations once and in order, a newer version refused, safe after a fork.
Errors name PostgreSQL's own code and never a statement or its values, which may be hashes.
"""

import os
import re
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from iii_client.errors import ConfigurationError, MissingExtraError, RecordError
from iii_client.records.migrations import MIGRATIONS
from iii_client.records.store import Row, Transaction, Value, insert_sql

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.exc import SQLAlchemyError

#: How long an upload may wait for the database in each step before the decision counts as not recorded.
CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_MS = 5000

#: Any number that other programs in the same database are unlikely to lock.
_MIGRATION_LOCK = 0x111_C11E57

_SPELLINGS = {"BLOB": "BYTEA", "INTEGER": "BIGINT", "STRICT": ""}


class PostgresStore:
    """A database of the hoster's. Fits `store.Store`.

    Args:
        url: `postgresql://user:password@host/name`, with psycopg's options as a query (`?sslmode=…`).

    Raises:
        MissingExtraError: the extra is not installed.
        ConfigurationError: the address cannot be read.
    """

    def __init__(self, url: str) -> None:
        try:
            import psycopg  # noqa: F401
            from sqlalchemy import make_url
            from sqlalchemy.exc import ArgumentError
        except ImportError:
            raise MissingExtraError("a PostgreSQL database", extra="postgres") from None
        try:
            self._url = make_url(url).set(drivername="postgresql+psycopg")
        except (ArgumentError, ValueError):
            raise ConfigurationError("records.database is no PostgreSQL address") from None
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._migrated = False
        self._pid = 0
        # A fork may happen while another thread holds the lock; the child must not inherit it locked.
        _forget_after_fork(self)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """One transaction (READ COMMITTED): committed when the block ends, rolled back when it raises.

        Raises:
            RecordError: PostgreSQL refused or cannot be reached.
        """
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self._connected().begin() as connection:
                yield _PostgresTransaction(connection)
        except SQLAlchemyError as error:
            raise _refused(error) from None

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """For questions only. Rolled back when the block ends.

        Raises:
            RecordError: PostgreSQL refused or cannot be reached.
        """
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self._connected().connect() as connection:
                yield _PostgresTransaction(connection)
                connection.rollback()
        except SQLAlchemyError as error:
            raise _refused(error) from None

    def close(self) -> None:
        """Close the pool's idle connections; they are opened again on use."""
        if self._engine is not None and self._pid == os.getpid():
            self._engine.dispose()

    def _connected(self) -> "Engine":
        with self._lock:
            if self._engine is None or self._pid != os.getpid():
                self._engine, self._migrated = self._open(), False
                self._pid = os.getpid()
            engine = self._engine
        if not self._migrated:
            # Outside of the lock: while the database is away, threads must not wait one after the other.
            with engine.begin() as connection:
                _migrate(_PostgresTransaction(connection))
            self._migrated = True
        return engine

    def _open(self) -> "Engine":
        from sqlalchemy import create_engine

        engine = create_engine(
            self._url,
            hide_parameters=True,
            pool_pre_ping=True,
            pool_timeout=CONNECT_TIMEOUT_S,
            connect_args={
                "connect_timeout": CONNECT_TIMEOUT_S,
                "application_name": "iii-client",
            },
        )
        _prepare_connections(engine)
        return engine

    def forget(self) -> None:
        """In a forked child: the parent's connections are left alone, unclosed, and never used."""
        self._lock = threading.Lock()
        if self._engine is not None:
            self._engine.dispose(close=False)
            self._engine = None


def _forget_after_fork(store: PostgresStore) -> None:
    """Without keeping the store alive: what is registered here stays for the life of the process."""
    alive = weakref.ref(store)

    def forget() -> None:
        if (there := alive()) is not None:
            there.forget()

    os.register_at_fork(after_in_child=forget)


class _PostgresTransaction:
    """Fits `store.Transaction`."""

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection

    def execute(self, sql: str, /, **values: Value) -> int:
        from sqlalchemy import text

        return self._connection.execute(text(sql), values).rowcount

    def query(self, sql: str, /, **values: Value) -> list[Row]:
        from sqlalchemy import text

        return [tuple(row) for row in self._connection.execute(text(sql), values)]

    def insert(self, table: str, rows: Sequence[Mapping[str, Value]]) -> None:
        from sqlalchemy import text

        if rows:
            self._connection.execute(text(insert_sql(table, list(rows[0]))), [dict(row) for row in rows])


def _prepare_connections(engine: "Engine") -> None:
    """Set every new connection's limits by statements: a pooler refuses them as start-up options."""
    from sqlalchemy import event

    def prepare(connection: "object", _record: object) -> None:
        with connection.cursor() as cursor:  # type: ignore[attr-defined]
            cursor.execute(f"SET statement_timeout = {STATEMENT_TIMEOUT_MS}")
            cursor.execute(f"SET lock_timeout = {STATEMENT_TIMEOUT_MS}")
            cursor.execute("SET synchronous_commit = on")
        connection.commit()  # type: ignore[attr-defined]

    event.listen(engine, "connect", prepare)


def _migrate(tx: Transaction) -> None:
    tx.query("SELECT pg_advisory_xact_lock(:lock)", lock=_MIGRATION_LOCK)
    tx.execute("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")
    found = tx.query("SELECT version FROM schema_version")
    version = int(found[0][0]) if found else 0
    if version > len(MIGRATIONS):
        raise RecordError(
            f"the state database has version {version}, this library knows {len(MIGRATIONS)}",
            hint="Upgrade iii-client; an older version must not write into a newer store.",
        )
    for statements in MIGRATIONS[version:]:
        for statement in statements:
            tx.execute(translated(statement))
    tx.execute("DELETE FROM schema_version")
    tx.insert("schema_version", [{"version": len(MIGRATIONS)}])


def translated(statement: str) -> str:
    """A migration as PostgreSQL spells it."""
    return re.sub(r"\b(BLOB|INTEGER|STRICT)\b", lambda word: _SPELLINGS[word[0]], statement)


def _refused(error: "SQLAlchemyError") -> RecordError:
    """The named error. The driver's own words may quote values; its class and code never do."""
    cause = getattr(error, "orig", None) or error
    code = getattr(cause, "sqlstate", None)
    return RecordError(
        f"the state database refused: {type(cause).__name__}{f' ({code})' if code else ''}",
        hint="Check that PostgreSQL runs, that III_DATABASE_URL is right and that its user may write.",
    )
