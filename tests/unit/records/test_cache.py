"""The cache of fingerprints: found by SHA-256 alone, deletable at any time, never in the way."""

import fcntl
import hashlib
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from iii_client.config import MIB, Limits
from iii_client.model import (
    UNSCANNABLE_REASONS,
    Algorithm,
    Fingerprint,
    HashValue,
    PerceptualHash,
    Reason,
    Skipped,
)
from iii_client.records.cache import TIDY_EVERY, Cache

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def fingerprint(name: str = "one", **changes: object) -> Fingerprint:
    """A synthetic picture's."""
    data = name.encode()
    made = Fingerprint(
        recipe="fast-v1",
        size_bytes=len(data),
        kind="jpeg",
        digests=tuple(
            HashValue(algorithm=a, value=hashlib.new(a.value, data).digest())
            for a in (Algorithm.MD5, Algorithm.SHA1, Algorithm.SHA256)
        ),
        perceptual=(PerceptualHash(algorithm=Algorithm.PHASH, value=b"12345678", quality=90),),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


ONE = fingerprint()
SHA256 = ONE.digest(Algorithm.SHA256)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "cache.db"


@pytest.fixture
def cache(path: Path) -> Cache:
    return Cache(path, limits=Limits())


def recalled(cache: Cache, found: Fingerprint = ONE) -> Fingerprint | None:
    remembered = cache.recall(found.digest(Algorithm.SHA256), recipe=found.recipe)
    return remembered.fingerprint if remembered else None


def test_a_fingerprint_comes_back_also_after_a_restart(cache: Cache, path: Path) -> None:
    assert recalled(cache) is None
    cache.remember(ONE)
    assert recalled(cache) == ONE
    cache.close()
    assert recalled(Cache(path, limits=Limits())) == ONE


def test_no_match_comes_back_with_the_key_that_it_was_last_concluded_under(cache: Cache) -> None:
    def key() -> str:
        remembered = cache.recall(SHA256, recipe="fast-v1")
        return remembered.no_match_key if remembered else "-"

    cache.remember(ONE)
    assert key() == ""
    cache.remember_no_match(ONE, key="1.1/policy/upright")
    assert key() == "1.1/policy/upright"
    cache.remember_no_match(ONE, key="1.2/policy/upright")
    assert key() == "1.2/policy/upright"
    # Seeing it again says nothing about a match.
    cache.remember(ONE)
    assert key() == "1.2/policy/upright"


def test_other_recipes_limits_and_bytes_find_nothing(cache: Cache, path: Path) -> None:
    cache.remember_no_match(ONE, key="k")
    assert cache.recall(SHA256, recipe="exact-v1") is None
    assert cache.recall(fingerprint("two").digest(Algorithm.SHA256), recipe="fast-v1") is None
    assert Cache(path, limits=Limits(max_frame_pixels=1)).recall(SHA256, recipe="fast-v1") is None


def test_a_twin_by_md5_and_sha1_does_not_find_the_other(cache: Cache) -> None:
    """Whoever makes two files with one MD5 and SHA-1 must not get the harmless one's result for the other."""
    cache.remember_no_match(ONE, key="k")
    twin = fingerprint("twin")
    twin = replace(twin, digests=(*ONE.digests[:2], twin.digests[2]))
    assert recalled(cache, twin) is None
    for weak in ONE.digests[:2]:
        with pytest.raises(ValueError, match="SHA-256"):
            cache.recall(weak, recipe="fast-v1")


@pytest.mark.parametrize("reason", sorted(UNSCANNABLE_REASONS))
def test_what_could_not_be_looked_at_is_not_kept(cache: Cache, reason: Reason) -> None:
    cache.remember(replace(ONE, skipped=(Skipped(what="pixels", reason=reason),)))
    cache.remember_no_match(replace(ONE, skipped=(Skipped(what="pixels", reason=reason),)), key="k")
    assert recalled(cache) is None


def test_what_has_no_sha256_is_not_kept(cache: Cache) -> None:
    cache.remember(replace(ONE, digests=ONE.digests[:2]))
    assert recalled(cache) is None


def test_a_sampled_film_or_a_text_is_kept(cache: Cache) -> None:
    for number, reason in enumerate((Reason.FRAMES_SAMPLED, Reason.NOT_A_PICTURE)):
        seen = fingerprint(str(number), skipped=(Skipped(what="pixels", reason=reason),))
        cache.remember(seen)
        assert recalled(cache, seen) == seen


def test_the_file_is_private(cache: Cache, path: Path) -> None:
    cache.remember(ONE)
    cache.flush()
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_fingerprints_older_than_the_retention_are_forgotten(path: Path) -> None:
    now = NOON
    cache = Cache(path, limits=Limits(), keep_days=30, clock=lambda: now)
    cache.remember(ONE)
    cache.flush()
    now = NOON + timedelta(days=30)
    assert recalled(cache) == ONE
    now = NOON + timedelta(days=31)
    assert recalled(cache) is None
    for number in range(TIDY_EVERY):
        cache.remember(fingerprint(str(number)))
    cache.flush()
    now = NOON
    assert recalled(cache) is None, "it is gone from the file, too"


def test_an_operator_erases_what_was_not_seen_since(path: Path) -> None:
    now = NOON
    cache = Cache(path, limits=Limits(), clock=lambda: now)
    cache.remember(ONE)
    now += timedelta(days=1)
    cache.remember(fingerprint("two"))
    assert cache.forget_before(NOON + timedelta(hours=1)) == 1
    assert recalled(cache) is None
    assert recalled(cache, fingerprint("two")) is not None
    cache.forget_all()
    assert not path.exists()
    assert recalled(cache, fingerprint("two")) is None


def test_what_is_erased_is_in_no_file_any_more(path: Path) -> None:
    cache = Cache(path, limits=Limits(), clock=lambda: NOON)
    for number in range(50):
        cache.remember_no_match(fingerprint(str(number)), key="k")
    cache.flush()

    def stored() -> bytes:
        return b"".join(file.read_bytes() for file in path.parent.glob("cache.db*") if "shm" not in file.name)

    digest = fingerprint("7").digest(Algorithm.MD5).value
    assert digest in stored()
    assert cache.forget_before(NOON + timedelta(seconds=1)) == 50
    assert digest not in stored()
    assert fingerprint("7").digest(Algorithm.SHA256).value not in stored()


def test_it_is_kept_under_its_size_by_dropping_the_oldest(path: Path) -> None:
    cache = Cache(path, limits=Limits(), max_mib=1)
    long = "x" * 3000
    for number in range(1500):
        cache.remember(fingerprint(f"{number}", skipped=(Skipped(what=long, reason=Reason.FRAMES_SAMPLED),)))
    cache.flush()
    assert cache.size_bytes() < 8 * MIB, "without dropping it would be beyond; 4 of them are SQLite's log"
    assert recalled(cache, fingerprint("0")) is None
    assert recalled(cache, fingerprint("1499")) is not None


def test_a_deleted_file_is_made_anew_while_in_use(cache: Cache, path: Path) -> None:
    cache.remember(ONE)
    cache.flush()
    for file in path.parent.iterdir():
        file.unlink()
    assert recalled(cache) is None
    cache.remember(ONE)
    assert recalled(cache) == ONE
    assert path.exists()


@pytest.mark.parametrize("content", [b"", b"not a database at all", os.urandom(20_000)])
def test_a_file_that_is_no_database_is_made_anew(cache: Cache, path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700)
    path.write_bytes(content)
    for _ in range(2):
        cache.remember(ONE)
        cache.flush()
    assert recalled(Cache(path, limits=Limits())) == ONE


def test_a_file_damaged_in_use_is_made_anew(cache: Cache, path: Path) -> None:
    for number in range(400):
        cache.remember(fingerprint(str(number)))
    cache.close()
    pages = bytearray(path.read_bytes())
    for start in range(4096, len(pages), 4096):
        pages[start : start + 64] = os.urandom(64)
    path.write_bytes(bytes(pages))
    for number in range(400):
        recalled(cache, fingerprint(str(number)))
    cache.remember(ONE)
    cache.flush()
    assert recalled(Cache(path, limits=Limits())) == ONE


def test_any_flipped_bit_of_a_row_makes_it_absent_and_never_wrong(cache: Cache, path: Path) -> None:
    cache.remember_no_match(ONE, key="k")
    cache.close()
    db = sqlite3.connect(path, isolation_level=None)
    ((row,),) = db.execute("SELECT row FROM fingerprint").fetchall()
    for position in range(len(row)):
        damaged = bytearray(row)
        damaged[position] ^= 1 << (position % 8)
        db.execute("UPDATE fingerprint SET row = ?", (bytes(damaged),))
        assert recalled(cache) is None
    db.execute("UPDATE fingerprint SET row = ?", (row,))
    assert recalled(cache) == ONE
    # A whole row under another's key, as a half-written index leaves it.
    other = fingerprint("two")
    cache.remember(other)
    cache.flush()
    db.execute("UPDATE fingerprint SET row = ?", (row,))
    db.close()
    assert recalled(cache, other) is None


def test_a_file_of_another_version_is_made_anew(cache: Cache, path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE fingerprint (something TEXT)")
    db.execute("PRAGMA user_version=99")
    db.close()
    cache.remember(ONE)
    cache.flush()
    assert recalled(Cache(path, limits=Limits())) == ONE


def test_a_place_that_cannot_be_written_remembers_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = Cache(tmp_path / "file" / "cache.db", limits=Limits())
    cache.remember(ONE)
    cache.flush()
    assert recalled(cache) is None
    assert cache.size_bytes() == 0


def test_a_writer_that_holds_the_file_is_not_waited_for(cache: Cache, path: Path) -> None:
    cache.remember(fingerprint("before"))
    cache.flush()
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    started_s = time.monotonic()
    cache.remember(ONE)
    cache.flush()
    assert recalled(cache, fingerprint("before")) is not None
    assert time.monotonic() - started_s < 0.5
    blocker.execute("ROLLBACK")
    blocker.close()
    assert recalled(cache) is None
    cache.remember(ONE)
    assert recalled(cache) == ONE


def test_a_process_that_hangs_while_it_opens_a_database_is_not_waited_for(cache: Cache, path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    descriptor = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    started_s = time.monotonic()
    assert recalled(cache) is None
    assert time.monotonic() - started_s < 0.5
    os.close(descriptor)
    cache.remember(ONE)
    cache.flush()
    assert recalled(Cache(path, limits=Limits())) == ONE


def in_child(work: Callable[[], bool]) -> bool:
    child = os.fork()
    if child == 0:
        os._exit(0 if work() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_forked_child_uses_a_connection_of_its_own(cache: Cache) -> None:
    cache.remember(ONE)
    cache.flush()

    def child() -> bool:
        cache.remember(fingerprint("child"))
        cache.flush()
        return recalled(cache) == ONE

    held = threading.Event()
    release = threading.Event()

    def hold(_: sqlite3.Connection) -> None:
        held.set()
        release.wait(10)

    # Another thread is in the middle of something when the child is made.
    thread = threading.Thread(target=lambda: cache._file.use(hold, otherwise=None))
    thread.start()
    held.wait(10)
    assert in_child(child)
    release.set()
    thread.join()
    assert recalled(cache, fingerprint("child")) is not None
    assert recalled(cache) == ONE


def test_threads_share_it(cache: Cache) -> None:
    def work(number: int) -> bool:
        seen = fingerprint(str(number % 50))
        cache.remember_no_match(seen, key=str(number))
        return recalled(cache, seen) == seen

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(400)))
