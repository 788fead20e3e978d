"""Hashing in worker processes: the same fingerprints in order, bounded; a dead worker costs one item."""

import importlib
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
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


#: A module of its own, because a worker must be able to import it however this file was imported. Only for
#: pictures is a recipe asked for `max_frames`, so texts pass.
RECIPES_IN_WORKERS = """
import multiprocessing, os, signal, time
from iii_client.model import Recipe

class Deadly(Recipe):
    def __getattribute__(self, name):
        if name == "max_frames" and multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getattribute__(name)

class Endless(Recipe):
    def __getattribute__(self, name):
        if name == "max_frames" and multiprocessing.parent_process() is not None:
            time.sleep(600)
        return super().__getattribute__(name)
"""


@pytest.fixture
def make_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Recipe]]:
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "recipes_in_workers.py").write_text(RECIPES_IN_WORKERS)
    monkeypatch.syspath_prepend(folder)  # workers get this path too
    monkeypatch.setattr(pool, "START_WORKERS_AFTER", 0)
    module = importlib.import_module("recipes_in_workers")

    def make(name: str) -> Recipe:
        recipe: Recipe = getattr(module, name)(
            name=name.lower(), version=1, decoding=Decoding.FAST, algorithms=(Algorithm.PDQ,)
        )
        return recipe

    yield make
    del sys.modules["recipes_in_workers"]


def test_a_dead_worker_costs_only_what_killed_it(
    tmp_path: Path, make_recipe: Callable[[str], Recipe]
) -> None:
    contents = [b"text", *(path.read_bytes() for path in pictures(tmp_path, 2)), b"more text"]
    with HashingPool(jobs=2, recipe=make_recipe("Deadly"), limits=Limits()) as workers:
        found = [pair for batch in workers.batches(contents, Content.from_bytes) for pair in batch]
    assert [content for content, _ in found] == contents
    assert all(fingerprint.digests for _, fingerprint in found)
    skips = [[(skip.reason, skip.detail) for skip in fingerprint.skipped] for _, fingerprint in found]
    died = [(Reason.DECODE_FAILED, "the decoder crashed")]
    assert skips == [[(Reason.NOT_A_PICTURE, "")], died, died, [(Reason.NOT_A_PICTURE, "")]]


def test_an_exception_ends_the_workers_at_once(tmp_path: Path, make_recipe: Callable[[str], Recipe]) -> None:
    """As an interrupt while the oldest result is waited for."""
    workers = HashingPool(jobs=2, recipe=make_recipe("Endless"), limits=Limits())

    running: list[BaseProcess] = []

    def paths_then_interrupt() -> Iterator[Path]:
        yield from pictures(tmp_path, 2)
        assert workers._executor is not None
        running.extend(workers._executor._processes.values())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), workers:
        list(workers.batches(paths_then_interrupt(), Content.from_path))
    assert running
    # Not join(): the executor's own thread may be reaping the same child, and join() then returns early.
    deadline = time.monotonic() + 20
    while any(process.exitcode is None for process in running) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert {process.exitcode for process in running} == {-signal.SIGTERM}
