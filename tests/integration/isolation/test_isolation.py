"""Isolation as a host sees it: the same fingerprints as in its own process; threads, forks and deaths."""

import contextlib
import io
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent

import pytest
from PIL import Image

from iii_client.config import Limits
from iii_client.content import Content
from iii_client.errors import UnreadableContentError
from iii_client.fingerprint import RECIPES, FingerprintBuilder, build_fingerprint, look_again
from iii_client.fingerprint.isolation import ALL_LAYERS, Bounds, Isolation, Layer
from iii_client.fingerprint.pixels import LooksHere, PixelReader
from iii_client.model import Fingerprint, Reason

FAST = RECIPES["fast"]


@pytest.fixture(scope="module")
def isolation() -> Iterator[Isolation]:
    with Isolation() as shared:
        yield shared


def fingerprint(content: Content | Path | bytes, reader: PixelReader) -> Fingerprint:
    if isinstance(content, Path):
        content = Content.from_path(content)
    elif isinstance(content, bytes):
        content = Content.from_bytes(content)
    return build_fingerprint(content, recipe=FAST, limits=Limits(), reader=reader)


def helper_pid(isolation: Isolation) -> int:
    helper = isolation._office.staff._helper
    assert helper is not None
    return helper._process.pid


def png(side: int = 64) -> bytes:
    out = io.BytesIO()
    Image.radial_gradient("L").resize((side, side)).save(out, "PNG")
    return out.getvalue()


def test_what_a_worker_finds_is_what_this_process_finds(
    isolation: Isolation, tmp_path: Path, make_pictures: Callable[[Path, int], list[Path]]
) -> None:
    (tmp_path / "no-picture.txt").write_text("text")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
    paths = [*make_pictures(tmp_path / "pictures", 12), *tmp_path.glob("*.*"), tmp_path / "missing"]
    cut = paths[0].read_bytes()
    (tmp_path / "cut.jpg").write_bytes(cut[: len(cut) // 2])
    with isolation.recycling() as recycled:
        for path in [*paths, tmp_path / "cut.jpg"]:
            expected = fingerprint(path, LooksHere())
            assert fingerprint(path, isolation) == expected
            assert fingerprint(path, recycled) == expected


def test_an_upload_in_chunks_is_looked_at_in_isolation(isolation: Isolation) -> None:
    data = png(300)
    builder = FingerprintBuilder(recipe=FAST, limits=Limits(), reader=isolation)
    for at in range(0, len(data), 1000):
        builder.update(data[at : at + 1000])
    assert builder.finish() == fingerprint(data, LooksHere())


def test_a_picture_larger_than_any_socket_buffer_arrives_whole(isolation: Isolation) -> None:
    out = io.BytesIO()
    Image.frombytes("RGB", (1200, 1200), os.urandom(1200 * 1200 * 3)).save(out, "BMP")
    assert fingerprint(out.getvalue(), isolation) == fingerprint(out.getvalue(), LooksHere())


def test_a_content_that_ends_too_early_is_unreadable_and_costs_nobody_else(isolation: Isolation) -> None:
    with pytest.raises(UnreadableContentError):
        isolation.start(io.BytesIO(png()), "png", 10_000_000, recipe=FAST, limits=Limits())
    assert fingerprint(png(), isolation).perceptual


def test_nothing_is_started_before_it_is_needed() -> None:
    isolation = Isolation()
    assert isolation._office.staff._helper is None
    assert fingerprint(b"text", isolation).skipped[0].reason is Reason.NOT_A_PICTURE
    assert isolation._office.staff._helper is None
    isolation.close()


def test_many_threads_share_one_helper_and_get_their_own_answers(isolation: Isolation) -> None:
    pictures = [png(40 + number) for number in range(24)]
    expected = [fingerprint(data, LooksHere()) for data in pictures]
    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(lambda data: fingerprint(data, isolation), pictures)) == expected


def test_a_helper_that_was_killed_costs_no_picture(isolation: Isolation) -> None:
    fingerprint(png(), isolation)
    for _ in range(2):
        os.kill(helper_pid(isolation), signal.SIGKILL)
        assert fingerprint(png(), isolation).perceptual


def test_after_close_it_starts_anew() -> None:
    with Isolation() as isolation:
        assert fingerprint(png(), isolation).perceptual
        first = helper_pid(isolation)
        isolation.close()
        assert not Path(f"/proc/{first}").exists()
        assert fingerprint(png(), isolation).perceptual
        assert helper_pid(isolation) != first


def test_where_no_helper_can_be_started_it_is_said_and_the_digests_are_there(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Isolation(look="no_such_module:look") as isolation, caplog.at_level(logging.WARNING):
        found = fingerprint(png(), isolation)
    assert [skip.reason for skip in found.skipped] == [Reason.DECODER_UNAVAILABLE]
    assert len(found.digests) == 3
    assert "cannot be started" in caplog.text
    assert "III_ISOLATION=off" in caplog.text


def test_a_missing_layer_is_said_once_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with (
        Isolation(layers=ALL_LAYERS & ~Layer.SECCOMP & ~Layer.LANDLOCK) as isolation,
        caplog.at_level(logging.WARNING),
    ):
        for _ in range(3):
            fingerprint(png(), isolation)
        held = isolation.held_layers()
    assert not held & (Layer.SECCOMP | Layer.LANDLOCK)
    assert caplog.text.count("without") == 1
    assert "seccomp" in caplog.text


def test_a_picture_over_the_memory_limit_is_unscannable(isolation: Isolation) -> None:
    out = io.BytesIO()
    Image.new("L", (6000, 6000)).save(out, "PNG")
    with Isolation(bounds=Bounds(memory_bytes=16 << 20, cpu_s=5)) as small:
        found = fingerprint(out.getvalue(), small)
    assert [skip.reason for skip in found.skipped] == [Reason.DECODE_FAILED]
    assert fingerprint(out.getvalue(), isolation).perceptual


def test_a_recycled_worker_is_replaced_after_its_number_of_pictures() -> None:
    with Isolation() as isolation, isolation.recycling(items=2) as reader:
        workers = []
        for _ in range(5):
            assert fingerprint(png(), reader).perceptual
            workers.append(reader._worker)
    assert [worker is None for worker in workers] == [False, True, False, True, False]


def test_a_second_look_that_agrees_changes_nothing(isolation: Isolation) -> None:
    content = Content.from_bytes(png())
    found = fingerprint(content, isolation)
    assert look_again(content, found, recipe=FAST, limits=Limits(), reader=isolation) is found


def test_a_second_look_that_disagrees_leaves_digests_and_a_reason(isolation: Isolation) -> None:
    framed = fingerprint(png(64), LooksHere())
    other = fingerprint(png(200), LooksHere())
    forged = Fingerprint(
        recipe=framed.recipe,
        size_bytes=framed.size_bytes,
        kind=framed.kind,
        digests=framed.digests,
        perceptual=other.perceptual,
        frames=other.frames,
    )
    content = Content.from_bytes(png(64))
    found = look_again(content, forged, recipe=FAST, limits=Limits(), reader=isolation)
    assert found.perceptual == ()
    assert found.digests == framed.digests
    assert [skip.reason for skip in found.skipped] == [Reason.DECODER_DISAGREED]
    changed = look_again(Content.from_bytes(png(65)), framed, recipe=FAST, limits=Limits(), reader=isolation)
    assert [skip.reason for skip in changed.skipped] == [Reason.UNREADABLE]


def run(code: str, *, timeout_s: float = 60) -> "subprocess.CompletedProcess[str]":
    """A script of its own, with real forks and a real end."""
    prologue = """
        import io, os, sys, threading, time, signal
        from PIL import Image
        from iii_client.config import Limits
        from iii_client.content import Content
        from iii_client.fingerprint import RECIPES, Isolation, build_fingerprint
        out = io.BytesIO(); Image.radial_gradient("L").save(out, "PNG")
        def look(reader):
            content = Content.from_bytes(out.getvalue())
            return build_fingerprint(content, recipe=RECIPES["fast"], limits=Limits(), reader=reader).skipped
        def helper(isolation):
            return isolation._office.staff._helper._process.pid
    """
    return subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", dedent(prologue) + dedent(code)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def test_a_forked_child_starts_its_own_helper_whatever_the_parent_was_doing() -> None:
    """As gunicorn with preload_app does: fork while other threads look at pictures."""
    done = run(
        """
        isolation = Isolation()
        assert not look(isolation)
        stop = threading.Event()
        def busy():
            while not stop.is_set():
                look(isolation)
        threads = [threading.Thread(target=busy) for _ in range(3)]
        for thread in threads: thread.start()
        for _ in range(2):
            pid = os.fork()
            if pid == 0:
                signal.alarm(30)
                assert isolation._office.staff._helper is None
                ok = not look(isolation)
                isolation.close()
                os._exit(0 if ok else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        stop.set()
        for thread in threads: thread.join()
        assert not look(isolation)
        print("helper", helper(isolation))
        """
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert not Path(
        f"/proc/{done.stdout.split()[1]}"
    ).exists()  # it ended with its host, which closed nothing


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_helper_and_workers_end_with_a_host_that_is_killed(number: signal.Signals) -> None:
    done = run(
        f"""
        isolation = Isolation()
        assert not look(isolation)
        print(helper(isolation), flush=True)
        os.kill(os.getpid(), {int(number)})
        """
    )
    assert done.returncode == -number
    deadline = time.monotonic() + 10
    while _is_running(int(done.stdout)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _is_running(int(done.stdout))


def _is_running(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    return False


def test_the_helper_has_one_thread_and_an_empty_environment(isolation: Isolation) -> None:
    os.environ["III_SERVICE_PASSWORD"] = "a secret of the host"
    try:
        with Isolation() as started_with_a_secret:
            started_with_a_secret.warm_up()
            process = Path(f"/proc/{helper_pid(started_with_a_secret)}")
            assert len(list((process / "task").iterdir())) == 1
            environment = (process / "environ").read_bytes()
            command = (process / "cmdline").read_bytes()
    finally:
        del os.environ["III_SERVICE_PASSWORD"]
    assert b"secret" not in environment + command
    assert b"III_" not in environment


def test_a_host_that_dies_of_closed_sockets_by_choice_does_not_die_here() -> None:
    done = run(
        """
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        isolation = Isolation()
        assert not look(isolation)
        os.kill(helper(isolation), signal.SIGKILL)
        time.sleep(0.2)
        assert not look(isolation)
        isolation.close()
        print("alive")
        """
    )
    assert done.stdout == "alive\n", done.stderr[-2000:]


def test_no_descriptors_are_lost(isolation: Isolation) -> None:
    for _ in range(3):
        fingerprint(png(), isolation)
    before, threads = len(os.listdir("/proc/self/fd")), threading.active_count()  # noqa: PTH208
    for _ in range(30):
        fingerprint(png(), isolation)
        fingerprint(b"\xff\xd8\xff broken", isolation)
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # noqa: PTH208
    # Other tests of this process may have left threads of their own, which end meanwhile.
    assert threading.active_count() <= threads + 1
