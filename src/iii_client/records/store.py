"""The store interface: one write transaction at a time, the same SQL on SQLite and on PostgreSQL.

Statements are written once, in what both understand: named parameters (`:name`), `ON CONFLICT`,
`RETURNING`. Two transactions may run at once on PostgreSQL (READ COMMITTED) and never on SQLite, so a part
that needs an order takes a row lock first, by an `UPDATE … RETURNING` of the row that stands for it.

Times are integers of milliseconds since 1970 (`…_ms`) where they are compared, and ISO texts in UTC with
milliseconds (`at`) where people read them; both sort.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, Protocol

Value = str | int | float | bytes | None
Row = tuple[Any, ...]


class Transaction(Protocol):
    """One write transaction under way."""

    def execute(self, sql: str, /, **values: Value) -> int:
        """Run one statement and return how many rows it changed."""
        ...

    def query(self, sql: str, /, **values: Value) -> list[Row]:
        """Run one statement that returns rows, and read all of them."""
        ...

    def insert(self, table: str, rows: Sequence[Mapping[str, Value]]) -> None:
        """Insert rows of the same columns. Table and column names are ours, never somebody's text."""
        ...


class Store(Protocol):
    """A durable database. Thread-safe, and safe after a fork."""

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Committed durably when the block ends, rolled back when it raises.

        Raises:
            RecordError: the database refused (disk full, read-only, unreachable, locked too long, damaged).
        """
        ...

    def reading(self) -> AbstractContextManager[Transaction]:
        """For questions only: one consistent view, which on SQLite waits for no writer. Nothing is kept of
        what is changed in it.

        Raises:
            RecordError: as `transaction`.
        """
        ...

    def close(self) -> None:
        """Close this thread's connection; the next use opens another."""
        ...


def insert_sql(table: str, columns: Sequence[str]) -> str:
    """The statement of `Transaction.insert`."""
    names = ", ".join(columns)
    return f"INSERT INTO {table} ({names}) VALUES ({', '.join(':' + c for c in columns)})"  # noqa: S608


def utc_now() -> datetime:
    """The clock of this machine."""
    return datetime.now(UTC)


def as_text(moment: datetime) -> str:
    """An aware moment as the store keeps it for people, e.g. `2026-11-24T12:00:00.000+00:00`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


def as_ms(moment: datetime) -> int:
    """An aware moment as the store compares it: milliseconds since 1970."""
    return round(moment.timestamp() * 1000)


def storable(text: str) -> str:
    """A text that every store takes: names may hold bytes that are no UTF-8 (lone surrogates here), or a
    zero, which PostgreSQL refuses."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
