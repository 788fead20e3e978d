"""Hashing in worker processes: the same fingerprints in order, bounded; a dead worker costs one item."""

import contextlib
import pickle
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from iii_client.config import Limits
from iii_client.content import Content
from iii_client.fingerprint import RECIPES, HashingPool, Isolation, build_fingerprint, pool
from iii_client.fingerprint.isolation import ALL_LAYERS, Layer
from iii_client.fingerprint.isolation.isolation import WALL_S
from iii_client.model import Reason

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


#: A module of its own, because a worker must be able to import it however this file was imported.
LOOKS_IN_WORKERS = """
import os, signal, time
from iii_client.fingerprint.pixels import look_at

def deadly(stream, kind, *, recipe, limits):
    os.kill(os.getpid(), signal.SIGKILL)

def endless(stream, kind, *, recipe, limits):
    while True:
        pass
"""


@pytest.fixture
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Isolation]]:
    """An isolation whose decoder is one of the above; without seccomp, so that it can kill itself."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "looks_in_workers.py").write_text(LOOKS_IN_WORKERS)
    monkeypatch.syspath_prepend(folder)  # workers get this path too
    with contextlib.ExitStack() as stack:

        def make(name: str) -> Isolation:
            layers = ALL_LAYERS & ~Layer.SECCOMP
            isolation = Isolation(look=f"looks_in_workers:{name}", layers=layers, spares=0)
            return stack.enter_context(isolation)

        yield make


def test_a_dead_worker_costs_only_what_killed_it(
    tmp_path: Path, isolated: Callable[[str], Isolation]
) -> None:
    contents = [b"text", *(path.read_bytes() for path in pictures(tmp_path, 2)), b"more text"]
    with HashingPool(jobs=2, recipe=FAST, limits=Limits(), isolation=isolated("deadly")) as workers:
        found = [pair for batch in workers.batches(contents, Content.from_bytes) for pair in batch]
    assert [content for content, _ in found] == contents
    assert all(fingerprint.digests for _, fingerprint in found)
    skips = [[(skip.reason, skip.detail) for skip in fingerprint.skipped] for _, fingerprint in found]
    died = [(Reason.DECODER_CRASHED, "the decoder ended: SIGKILL")]
    assert skips == [[(Reason.NOT_A_PICTURE, "")], died, died, [(Reason.NOT_A_PICTURE, "")]]


def test_an_exception_ends_the_workers_at_once(tmp_path: Path, isolated: Callable[[str], Isolation]) -> None:
    """As an interrupt while the oldest result is waited for."""
    workers = HashingPool(jobs=2, recipe=FAST, limits=Limits(), isolation=isolated("endless"))

    def paths_then_interrupt() -> Iterator[Path]:
        yield from pictures(tmp_path, 2)
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), workers:
        list(workers.batches(paths_then_interrupt(), Content.from_path))
    assert time.monotonic() - started < WALL_S / 2


def test_one_job_with_isolation_decodes_nothing_here(
    tmp_path: Path, isolated: Callable[[str], Isolation]
) -> None:
    with HashingPool(jobs=1, recipe=FAST, limits=Limits(), isolation=isolated("deadly")) as workers:
        ((_, found),) = next(workers.batches(pictures(tmp_path, 1), Content.from_path))
    assert [skip.reason for skip in found.skipped] == [Reason.DECODER_CRASHED]
