"""A store that is not waited for twice."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from iii_client.errors import RecordError
from iii_client.records import SqliteStore, Transaction
from iii_client.records.impatient import QUESTIONS_AFTER_S, WRITES_AFTER_S, ImpatientStore
from iii_client.records.tallies import add, totals

Begin = Callable[[], AbstractContextManager[Transaction]]


class Database:
    """Fails after so many seconds of its own clock, or works at once."""

    def __init__(self, path: Path) -> None:
        self._store = SqliteStore(path)
        self.now_s = 100.0
        self.fails_after_s: float | None = None
        self.tried = 0

    def transaction(self) -> AbstractContextManager[Transaction]:
        return self._tried(self._store.transaction)

    def reading(self) -> AbstractContextManager[Transaction]:
        return self._tried(self._store.reading)

    def close(self) -> None:
        self._store.close()

    @contextmanager
    def _tried(self, begin: Begin) -> Iterator[Transaction]:
        self.tried += 1
        if self.fails_after_s is not None:
            self.now_s += self.fails_after_s
            raise RecordError("the state database refused: locked")
        with begin() as tx:
            yield tx


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "state.db")


@pytest.fixture
def store(database: Database) -> ImpatientStore:
    return ImpatientStore(database, timer=lambda: database.now_s)


def refused(begin: Begin) -> bool:
    try:
        with begin():
            return False
    except RecordError:
        return True


def test_a_store_that_works_is_passed_through(store: ImpatientStore) -> None:
    with store.transaction() as tx:
        add(tx, "2026-11-24", "n", 1)
    with store.reading() as tx:
        assert totals(tx) == {"n": 1}
    store.close()


def test_after_a_slow_failure_questions_are_refused_at_once_and_writes_soon_tried_again(
    store: ImpatientStore, database: Database
) -> None:
    database.fails_after_s = 5
    assert refused(store.reading)
    for begin in (store.reading, store.transaction):
        assert refused(begin)
    assert database.tried == 1
    database.now_s += WRITES_AFTER_S
    assert refused(store.transaction)
    assert database.tried == 2
    # Counted from the last failure.
    database.now_s += QUESTIONS_AFTER_S - 0.1
    assert refused(store.reading)
    assert database.tried == 2
    database.now_s += 0.1
    assert refused(store.reading)
    assert database.tried == 3


def test_a_success_ends_it(store: ImpatientStore, database: Database) -> None:
    database.fails_after_s = 5
    assert refused(store.transaction)
    database.fails_after_s = None
    database.now_s += WRITES_AFTER_S
    assert not refused(store.transaction)
    assert not refused(store.reading)


def test_a_failure_at_once_is_no_reason_not_to_try_again(store: ImpatientStore, database: Database) -> None:
    database.fails_after_s = 0.01
    for _ in range(5):
        assert refused(store.transaction)
        assert refused(store.reading)
    assert database.tried == 10


def test_an_error_of_the_caller_is_not_the_stores(store: ImpatientStore, database: Database) -> None:
    def work() -> None:
        with store.transaction():
            database.now_s += 60
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert not refused(store.reading)
