"""Hashing in worker processes: the same fingerprints in order, bounded; a dead worker costs one item."""

import os
import pickle
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from iii_client.config import Limits
from iii_client.content import Content
from iii_client.fingerprint import RECIPES, HashingPool, build_fingerprint, pool
from iii_client.model import Algorithm, Decoding, Reason, Recipe

FAST = RECIPES["fast"]


def pictures(folder: Path, count: int) -> list[Path]:
    paths = []
    for number in range(count):
        path = folder / f"{number}.png"
        Image.linear_gradient("L").rotate(number * 7).save(path)
        paths.append(path)
    return paths


def test_workers_find_what_one_process_finds_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "START_WORKERS_AFTER", 4)
    paths = pictures(tmp_path, 30)
    expected = [build_fingerprint(Content.from_path(p), recipe=FAST, limits=Limits()) for p in paths]
    with HashingPool(jobs=2, recipe=FAST, limits=Limits()) as workers:
        found = [pair for batch in workers.batches(paths, Content.from_path) for pair in batch]
    assert [path for path, _ in found] == paths
    assert [fingerprint for _, fingerprint in found] == expected


def test_input_is_read_a_bounded_number_ahead() -> None:
    asked = 0

    def endless() -> Iterator[bytes]:
        nonlocal asked
        while True:
            asked += 1
            yield b"text"

    with HashingPool(jobs=2, recipe=FAST, limits=Limits()) as workers:
        batches = workers.batches(endless(), Content.from_bytes)
        handed_out = sum(len(next(batches)) for _ in range(100))
    assert asked - handed_out <= 2 * pool.AHEAD_PER_JOB + 1


def test_an_open_file_is_hashed_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "START_WORKERS_AFTER", 0)
    (path,) = pictures(tmp_path, 1)
    with path.open("rb") as file, HashingPool(jobs=2, recipe=FAST, limits=Limits()) as workers:
        ((_, found),) = next(workers.batches([file], Content.from_file))
        assert workers._executor is None
    assert found.perceptual


@pytest.mark.parametrize("make", [Content.from_path, lambda path: Content.from_bytes(path.read_bytes())])
def test_paths_and_bytes_travel(tmp_path: Path, make: "type[Content]") -> None:
    (path,) = pictures(tmp_path, 1)
    content = make(path)  # type: ignore[arg-type]
    assert content.can_travel
    travelled = pickle.loads(pickle.dumps(content))
    assert travelled.size_bytes == path.stat().st_size
    with path.open("rb") as file:
        borrowed = Content.from_file(file)
        assert not borrowed.can_travel
        with pytest.raises(TypeError):
            pickle.dumps(borrowed)


class Deadly(Recipe):
    """A recipe whose worker dies at pictures of one kind, as by a decoder's crash."""

    @property
    def id(self) -> str:
        if os.getppid() != PARENT and os.getpid() != PARENT and os.environ.get("III_TEST_DEADLY"):
            os.kill(os.getpid(), signal.SIGKILL)
        return "deadly-v1"


PARENT = os.getpid()


def test_a_dead_worker_costs_only_what_killed_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every worker that hashes with this recipe dies, so every item is tried alone and ends by name."""
    monkeypatch.setattr(pool, "START_WORKERS_AFTER", 0)
    monkeypatch.setenv("III_TEST_DEADLY", "1")
    recipe = Deadly(name="deadly", version=1, decoding=Decoding.FAST, algorithms=(Algorithm.PDQ,))
    paths = pictures(tmp_path, 3)
    with HashingPool(jobs=2, recipe=recipe, limits=Limits()) as workers:
        found = [pair for batch in workers.batches(paths, Content.from_path) for pair in batch]
    assert [path for path, _ in found] == paths
    for _, fingerprint in found:
        assert fingerprint.digests
        assert [skip.reason for skip in fingerprint.skipped] == [Reason.DECODE_FAILED]
