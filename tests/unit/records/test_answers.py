"""Remembered answers: as long as the service said, and "not listed" no longer than its release."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from iii_client.config import Limits
from iii_client.model import (
    Algorithm,
    Answer,
    Category,
    HashValue,
    Listed,
    Match,
    NotListed,
    Reason,
    ReleaseId,
    Unanswered,
)
from iii_client.records.answers import Answers
from iii_client.records.cache import Cache

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
A, B = (HashValue(algorithm=Algorithm.PDQ, value=bytes([n]) * 32) for n in (1, 2))
LISTED = Listed(
    hash=A,
    matches=(
        Match(
            hash=A,
            distance_bits=3,
            exact=False,
            sources=("nl-police", "iwf"),
            categories=(Category(scheme="interpol-baseline", code="1", source="nl-police"),),
            list_version="7",
        ),
    ),
    cache_s=60,
)
NOT_LISTED = NotListed(hash=B, cache_s=60)


class World:
    """A service's memory, with a clock and an installed release."""

    def __init__(self, path: Path) -> None:
        self.now = NOON
        self.release = ReleaseId(epoch=1, sequence=1)
        self.path = path
        self.cache = Cache(path, limits=Limits(), clock=lambda: self.now)

    def answers(self, endpoint: str = "v2-a") -> Answers:
        return self.cache.answers(endpoint, lambda: self.release)

    def recall(self, value: HashValue) -> Answer | None:
        return self.answers().recall([value]).get(value)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "cache.db")


def test_answers_come_back_whole_with_what_is_left_of_their_time(world: World) -> None:
    world.answers().remember([LISTED, NOT_LISTED])
    world.now += timedelta(seconds=20)
    assert world.answers().recall([B, A]) == {
        A: replace(LISTED, cache_s=40),
        B: replace(NOT_LISTED, cache_s=40),
    }


def test_withdrawn_stays_withdrawn(world: World) -> None:
    world.answers().remember([replace(NOT_LISTED, withdrawn=True)])
    assert world.recall(B) == replace(NOT_LISTED, withdrawn=True)


def test_an_expired_answer_is_no_answer(world: World) -> None:
    world.answers().remember([LISTED, NOT_LISTED])
    world.now += timedelta(seconds=60)
    assert world.recall(A) is None
    assert world.recall(B) is None


def test_not_listed_ends_with_its_release_and_listed_does_not(world: World) -> None:
    world.answers().remember([LISTED, NOT_LISTED])
    world.release = ReleaseId(epoch=1, sequence=2)
    assert world.recall(A) is not None
    assert world.recall(B) is None


def test_what_has_no_time_of_its_own_or_is_no_answer_is_not_kept(world: World) -> None:
    world.answers().remember([replace(LISTED, cache_s=0), Unanswered(hash=B, reason=Reason.SERVICE_TIMEOUT)])
    assert world.recall(A) is None
    assert world.recall(B) is None


def test_a_newer_answer_replaces_the_older_one(world: World) -> None:
    world.answers().remember([LISTED])
    world.answers().remember([NotListed(hash=A, withdrawn=True, cache_s=10)])
    assert world.recall(A) == NotListed(hash=A, withdrawn=True, cache_s=10)


def test_another_service_or_account_does_not_find_it(world: World) -> None:
    world.answers("v2-a").remember([LISTED])
    assert world.answers("v2-b").recall([A]) == {}


def test_a_clock_that_was_set_back_makes_no_answer_last_longer(world: World) -> None:
    world.answers().remember([LISTED])
    world.now -= timedelta(days=1)
    assert world.recall(A) is None


def test_the_file_names_no_hash_that_was_asked_about(world: World) -> None:
    world.answers().remember([LISTED])
    world.cache.close()
    stored = b"".join(file.read_bytes() for file in world.path.parent.iterdir())
    assert A.value not in stored
    assert A.hex.encode() not in stored
    assert b"interpol-baseline" in stored
