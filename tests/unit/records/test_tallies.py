"""Counts by day, written in batches."""

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from threading import Thread

import pytest

from iii_client.errors import RecordError
from iii_client.records import Store, Transaction
from iii_client.records.tallies import FLUSH_AFTER_S, FLUSH_AT, Tallies, add, totals

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


def at_once(work: Callable[[], None]) -> None:
    work()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def written(store: Store) -> dict[str, int]:
    with store.transaction() as tx:
        return dict(totals(tx))


def test_amounts_of_one_day_and_name_add_up(store: Store) -> None:
    with store.transaction() as tx:
        add(tx, "2026-11-23", "no_match", 5)
        add(tx, "2026-11-24", "no_match", 2)
        add(tx, "2026-11-24", "no_match", 3)
        add(tx, "2026-11-24", "cache_hit", 1)
        assert totals(tx) == {"cache_hit": 1, "no_match": 10}
        assert totals(tx, since="2026-11-24") == {"cache_hit": 1, "no_match": 5}


def test_counts_are_written_after_a_while_and_when_there_are_many(store: Store, clock: Clock) -> None:
    tallies = Tallies(store, clock=clock, start=at_once)
    tallies.count("no_match")
    assert written(store) == {}
    clock.now += timedelta(seconds=FLUSH_AFTER_S)
    tallies.count("no_match")
    assert written(store) == {"no_match": 2}
    for _ in range(FLUSH_AT):
        tallies.count("no_match")
    assert written(store) == {"no_match": 2 + FLUSH_AT}


def test_closing_writes_the_rest_each_under_its_day(store: Store, clock: Clock) -> None:
    tallies = Tallies(store, clock=clock, start=at_once)
    clock.now = datetime(2026, 11, 24, 23, 59, 59, tzinfo=UTC)
    tallies = Tallies(store, clock=clock, start=at_once)
    tallies.count("no_match", 3)
    clock.now += timedelta(seconds=2)
    tallies.count("no_match", 4)
    tallies.close()
    with store.transaction() as tx:
        assert totals(tx, since="2026-11-25") == {"no_match": 4}
        assert totals(tx) == {"no_match": 7}


def test_a_clock_that_was_set_back_does_not_hold_counts_for_ever(store: Store, clock: Clock) -> None:
    tallies = Tallies(store, clock=clock, start=at_once)
    clock.now -= timedelta(days=300)
    tallies.count("no_match")
    assert written(store) == {"no_match": 1}


def test_what_cannot_be_written_is_tried_again(store: Store, clock: Clock) -> None:
    class SometimesFull:
        full = True

        def transaction(self) -> AbstractContextManager[Transaction]:
            if self.full:
                raise RecordError("the disk is full")
            return store.transaction()

        def reading(self) -> AbstractContextManager[Transaction]:
            return store.reading()

        def close(self) -> None:
            store.close()

    disk = SometimesFull()
    tallies = Tallies(disk, clock=clock, start=at_once)
    tallies.count("no_match", 2)
    tallies.flush()
    disk.full = False
    tallies.flush()
    assert written(store) == {"no_match": 2}


def test_no_upload_waits_for_a_database_that_is_locked(store: Store, clock: Clock) -> None:
    tallies = Tallies(store, clock=clock)
    with store.transaction() as tx:
        add(tx, "2026-11-24", "no_match", 1)
        started_s = time.monotonic()
        for _ in range(2 * FLUSH_AT):
            tallies.count("no_match")
        assert time.monotonic() - started_s < 1
    deadline_s = time.monotonic() + 10
    while written(store) != {"no_match": 1 + 2 * FLUSH_AT} and time.monotonic() < deadline_s:
        tallies.flush()
        time.sleep(0.01)
    assert written(store) == {"no_match": 1 + 2 * FLUSH_AT}


def test_threads_count_together(store: Store, clock: Clock) -> None:
    tallies = Tallies(store, clock=clock, start=at_once)

    def count() -> None:
        for _ in range(500):
            tallies.count("n")

    threads = [Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tallies.close()
    assert written(store) == {"n": 2000}


def test_a_forked_child_writes_only_what_it_counted_itself(store: Store, clock: Clock) -> None:
    tallies = Tallies(store, clock=clock, start=at_once)
    tallies.count("parent", 5)
    child = os.fork()
    if child == 0:
        tallies.count("child", 1)
        tallies.close()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    tallies.close()
    assert written(store) == {"child": 1, "parent": 5}
