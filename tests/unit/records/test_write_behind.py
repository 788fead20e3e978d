"""Entries on their way to disk: found until they are written, batched when they come thick and fast."""

import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from iii_client.records.write_behind import AFTER_S, AT, WriteBehind


class Disk:
    """Keeps what is written, batch by batch."""

    def __init__(self) -> None:
        self.batches: list[dict[bytes, str]] = []

    def write(self, batch: Mapping[bytes, str]) -> None:
        self.batches.append(dict(batch))


def at_once(work: Callable[[], None]) -> None:
    work()


def test_a_first_entry_after_a_pause_is_written_at_once_and_others_together() -> None:
    disk, now_s = Disk(), 100.0
    behind = WriteBehind(disk.write, start=at_once, timer=lambda: now_s)
    behind.put(b"1", "one")
    assert disk.batches == [{b"1": "one"}]
    behind.put(b"2", "two")
    behind.put(b"3", "three")
    assert len(disk.batches) == 1
    assert behind.get(b"2") == "two"
    now_s += AFTER_S
    behind.put(b"4", "four")
    assert disk.batches[1:] == [{b"2": "two", b"3": "three", b"4": "four"}]
    assert behind.get(b"2") is None


def test_many_are_written_without_waiting_for_the_second() -> None:
    disk = Disk()
    behind = WriteBehind(disk.write, start=at_once, timer=lambda: 0.0)
    for number in range(1 + 3 * AT):
        behind.put(bytes(number), "x")
    assert [len(batch) for batch in disk.batches] == [1, AT, AT, AT]


def test_an_entry_is_found_while_it_is_being_written_and_a_newer_one_is_not_lost() -> None:
    written: list[str] = []

    def write(batch: Mapping[bytes, str]) -> None:
        assert behind.get(b"1") in batch.values()
        written.extend(batch.values())
        if len(written) == 1:
            behind.put(b"1", "newer")

    behind = WriteBehind(write, start=lambda _work: None)
    behind.put(b"1", "older")
    behind.flush()
    assert behind.get(b"1") == "newer"
    behind.flush()
    assert written == ["older", "newer"]
    assert behind.get(b"1") is None


def test_nothing_is_lost_between_threads() -> None:
    disk = Disk()
    behind = WriteBehind(disk.write)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: behind.put(n.to_bytes(4), "x"), range(2000)))
    behind.flush()
    assert len({key for batch in disk.batches for key in batch}) == 2000


def test_a_forked_child_starts_with_none_even_while_the_parent_writes() -> None:
    disk, writing, release = Disk(), threading.Event(), threading.Event()

    def write(batch: Mapping[bytes, str]) -> None:
        writing.set()
        release.wait(20)
        disk.write(batch)

    behind = WriteBehind(write, start=lambda _work: None)
    behind.put(b"parent", "x")
    thread = threading.Thread(target=behind.flush)
    thread.start()
    assert writing.wait(20)
    child = os.fork()
    if child == 0:
        release.set()
        empty = behind.get(b"parent") is None
        behind.put(b"child", "y")
        behind.flush()
        os._exit(0 if empty and disk.batches == [{b"child": "y"}] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    release.set()
    thread.join()
    assert disk.batches == [{b"parent": "x"}]


def test_whoever_puts_does_not_wait_for_the_write() -> None:
    release = threading.Event()

    def write(_batch: Mapping[bytes, str]) -> None:
        release.wait(20)

    behind = WriteBehind(write)
    started_s = time.monotonic()
    for number in range(3 * AT):
        behind.put(bytes(number), "x")
    assert time.monotonic() - started_s < 2
    release.set()
    behind.flush()
