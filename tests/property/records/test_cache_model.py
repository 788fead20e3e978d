"""The cache against a plain dictionary, over any order of uses; and against damage anywhere in its file.

`III_TEST_CACHE_DAMAGE=300` damages it 600 times (a minute); a few times otherwise.
"""

import hashlib
import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from iii_client.config import Limits
from iii_client.model import Algorithm, Fingerprint, HashValue, Remembered
from iii_client.records.cache import Cache

RECIPES = ("fast-v1", "exact-v1")
KEEP_DAYS = 3


def fingerprint(number: int, recipe: str) -> Fingerprint:
    sha256 = HashValue(algorithm=Algorithm.SHA256, value=hashlib.sha256(bytes([number])).digest())
    return Fingerprint(recipe=recipe, size_bytes=number, kind="jpeg", digests=(sha256,))


class CacheMachine(RuleBasedStateMachine):
    """Whatever is done, the cache knows what the dictionary knows."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.now = datetime(2026, 11, 24, tzinfo=UTC)
        self.model: dict[tuple[int, str], tuple[datetime, str]] = {}
        self.open()

    def open(self) -> None:
        path = Path(self.folder.name) / "cache.db"
        self.cache = Cache(path, limits=Limits(), keep_days=KEEP_DAYS, clock=lambda: self.now)

    def teardown(self) -> None:
        self.cache.close()
        self.folder.cleanup()

    @rule(number=st.integers(0, 3), recipe=st.sampled_from(RECIPES))
    def remember(self, number: int, recipe: str) -> None:
        self.cache.remember(fingerprint(number, recipe))
        at, _ = self.model.get((number, recipe), (self.now - timedelta(days=99), ""))
        if self.now - at > timedelta(days=KEEP_DAYS):
            self.model[number, recipe] = (self.now, "")

    @rule(number=st.integers(0, 3), recipe=st.sampled_from(RECIPES), release=st.integers(1, 3))
    def remember_no_match(self, number: int, recipe: str, release: int) -> None:
        self.cache.remember_no_match(fingerprint(number, recipe), key=f"1.{release}")
        self.model[number, recipe] = (self.now, f"1.{release}")

    @rule(hours=st.integers(1, 60))
    def wait(self, hours: int) -> None:
        # What is not written yet has no age.
        self.cache.flush()
        self.now += timedelta(hours=hours)

    @rule(hours=st.integers(0, 100))
    def erase(self, hours: int) -> None:
        moment = self.now - timedelta(hours=hours)
        self.cache.forget_before(moment)
        self.model = {key: kept for key, kept in self.model.items() if kept[0] >= moment}

    @rule()
    def write(self) -> None:
        self.cache.flush()

    @rule()
    def restart(self) -> None:
        self.cache.close()
        self.open()

    @rule()
    def delete(self) -> None:
        self.cache.forget_all()
        self.model.clear()

    @invariant()
    def it_knows_what_the_dictionary_knows(self) -> None:
        for recipe in RECIPES:
            for number in range(4):
                made = fingerprint(number, recipe)
                at, key = self.model.get((number, recipe), (self.now - timedelta(days=99), ""))
                expected = (
                    Remembered(fingerprint=made, no_match_key=key, recalled=True)
                    if self.now - at <= timedelta(days=KEEP_DAYS)
                    else None
                )
                assert self.cache.recall(made.digest(Algorithm.SHA256), recipe=recipe) == expected


TestCacheModel = CacheMachine.TestCase
TestCacheModel.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)


@contextmanager
def filled(folder: Path, count: int) -> Iterator[Cache]:
    cache = Cache(folder / "cache.db", limits=Limits())
    for number in range(count):
        cache.remember_no_match(fingerprint(number, "fast-v1"), key=f"key {number}")
    cache.close()
    yield cache
    cache.close()


@pytest.mark.parametrize("seed", range(int(os.environ.get("III_TEST_CACHE_DAMAGE", "12"))))
@pytest.mark.parametrize("wal", [False, True], ids=["database", "log"])
def test_damage_anywhere_costs_rows_and_never_gives_another_files_result(
    tmp_path: Path, seed: int, wal: bool
) -> None:
    chance = random.Random(seed)
    with filled(tmp_path, 200) as cache:
        path = tmp_path / "cache.db"
        if wal:
            # As a killed process leaves it: what was written last is in the log.
            cache.remember_no_match(fingerprint(200, "fast-v1"), key="key 200")
            cache.flush()
            log = tmp_path / "cache.db-wal"
            damaged = bytearray(log.read_bytes())
        else:
            log, damaged = path, bytearray(path.read_bytes())
        for _ in range(chance.choice([1, 3, 40])):
            start = chance.randrange(len(damaged))
            damaged[start : start + chance.choice([1, 16, 4096])] = chance.randbytes(
                chance.choice([1, 16, 4096])
            )
        # Another process, that has not opened it yet, meets the damage.
        copy = tmp_path / "copy"
        copy.mkdir()
        (copy / "cache.db").write_bytes(path.read_bytes() if wal else bytes(damaged))
        if wal:
            (copy / "cache.db-wal").write_bytes(bytes(damaged))
        fresh = Cache(copy / "cache.db", limits=Limits())
        for number in range(201):
            made = fingerprint(number, "fast-v1")
            found = fresh.recall(made.digest(Algorithm.SHA256), recipe="fast-v1")
            assert found in {
                None,
                Remembered(fingerprint=made, no_match_key=f"key {number}", recalled=True),
            }
        # It works again.
        made = fingerprint(7, "fast-v1")
        for _ in range(3):
            fresh.remember_no_match(made, key="new")
            fresh.flush()
        found = fresh.recall(made.digest(Algorithm.SHA256), recipe="fast-v1")
        assert found == Remembered(fingerprint=made, no_match_key="new", recalled=True)
        fresh.close()
