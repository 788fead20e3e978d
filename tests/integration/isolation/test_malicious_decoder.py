"""A worker that a picture has taken over is contained: by all layers together, and by those of every system.

Real helpers, real workers; only the decoder is a double. What each kernel feature holds alone is found by
leaving the others out, which is also what a kernel without them looks like.
"""

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from iii_client.config import Limits
from iii_client.content import Content
from iii_client.fingerprint import RECIPES, build_fingerprint
from iii_client.fingerprint.isolation import ALL_LAYERS, Bounds, Isolation, Layer
from iii_client.fingerprint.pixels import PixelReader
from iii_client.model import UNSCANNABLE_REASONS, Fingerprint, Reason

HERE = Path(__file__).parent
MAGIC = b"\xff\xd8\xff"
WALL_S = 2.0

#: By what is left out. NO_NEW_PRIVS goes with the last, as the other two need it.
KERNELS = {
    "everything": ALL_LAYERS,
    "no seccomp": ALL_LAYERS & ~Layer.SECCOMP,
    "no landlock": ALL_LAYERS & ~Layer.LANDLOCK,
    "neither": Layer.LIMITS | Layer.NOT_ROOT,
}

Do = Callable[[str], Fingerprint]


def deed(words: str, reader: PixelReader) -> Fingerprint:
    content = Content.from_bytes(MAGIC + words.encode())
    return build_fingerprint(content, recipe=RECIPES["fast"], limits=Limits(), reader=reader)


@pytest.fixture(scope="module")
def isolate() -> Iterator[Callable[..., Isolation]]:
    """Isolations with the malicious decoder, ended at the end."""
    sys.path.insert(0, str(HERE))
    with contextlib.ExitStack() as stack:
        stack.callback(sys.path.remove, str(HERE))

        def make(layers: Layer = ALL_LAYERS, *, cpu_s: int = 5, wall_s: float = WALL_S) -> Isolation:
            return stack.enter_context(
                Isolation(
                    layers=layers,
                    wall_s=wall_s,
                    bounds=Bounds(memory_bytes=1 << 30, cpu_s=cpu_s),
                    look="malicious_decoder:look_at",
                )
            )

        yield make


@pytest.fixture(scope="module", params=KERNELS)
def kernel(request: pytest.FixtureRequest, isolate: Callable[..., Isolation]) -> tuple[str, Do]:
    isolation = isolate(KERNELS[request.param])
    held = isolation.held_layers()
    missing = KERNELS[request.param] & ~held & ~Layer.NOT_ROOT
    if missing:
        pytest.skip(f"this kernel has no {missing!r}")
    return request.param, lambda words: deed(words, isolation)


def detail(found: Fingerprint) -> str:
    (skip,) = found.skipped
    return skip.detail


def reason(found: Fingerprint) -> Reason:
    (skip,) = found.skipped
    assert skip.reason in UNSCANNABLE_REASONS
    assert not found.perceptual
    assert len(found.digests) == 3
    return skip.reason


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's own files are not at hand")
def test_the_double_does_its_deeds_where_nothing_holds_it(isolate: Callable[..., Isolation]) -> None:
    isolation = isolate(Layer(0))
    secret = ctypes.create_string_buffer(b"a secret of the host")
    memory = f"memory {os.getpid()} {ctypes.addressof(secret)}"
    for words in ("socket AF_INET", "read /etc/passwd", "fork", "thread", memory, f"signal {os.getppid()}"):
        assert detail(deed(words, isolation)).startswith("done"), words


@pytest.mark.parametrize(
    "words",
    [
        "socket AF_INET",
        "socket AF_INET6",
        "socket AF_UNIX",
        "socketpair",
        "write /tmp/iii-malicious-file",
        "read /etc/passwd",
        "read /proc/self/environ",
        "read /dev/null",
        "environment",
        "limits",
        f"allocate {4 << 30}",
        f"signal {os.getppid()}",
    ],
)
def test_it_is_held_on_every_kernel(kernel: tuple[str, Do], words: str) -> None:
    name, do = kernel
    if words.startswith("signal") and name == "neither" and os.geteuid() != 0:
        pytest.skip("where the host is not root, its worker is the same user, and only the kernel can help")
    assert detail(do(words)).startswith("held")
    assert not Path("/tmp/iii-malicious-file").exists()


@pytest.mark.parametrize("words", ["mkdir {}/made", "truncate {}/kept", "fork", "thread", "exec /bin/true"])
def test_what_needs_no_descriptor_is_held_where_the_kernel_helps(
    kernel: tuple[str, Do], tmp_path: Path, words: str
) -> None:
    name, do = kernel
    (tmp_path / "kept").write_text("kept")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == "root" and folder != Path("/") and folder.name.startswith(("pytest", "test")):
            folder.chmod(0o777)
    (tmp_path / "kept").chmod(0o666)
    found = do(words.format(tmp_path))
    is_open = {"mkdir", "truncate"} if name == "neither" else set()
    if "seccomp" in name or name == "neither":
        is_open |= {"thread"}  # threads of its own harm nobody else
        is_open |= {"fork"} if os.geteuid() != 0 else set()
    if words.split()[0] in is_open:
        return  # stated in docs/explanation/isolation.md
    assert reason(found) in {Reason.FORMAT_NOT_SUPPORTED, Reason.DECODER_CRASHED}
    assert not detail(found).startswith("done"), detail(found)
    assert (tmp_path / "kept").read_text() == "kept"
    assert not (tmp_path / "made").exists()


def test_the_memory_of_the_host_and_of_the_helper_cannot_be_read(kernel: tuple[str, Do]) -> None:
    _, do = kernel
    secret = ctypes.create_string_buffer(b"a secret of the host")
    address = ctypes.addressof(secret)
    assert detail(do(f"memory {os.getpid()} {address}")).startswith("held")
    assert detail(do(f"helper {address}")).startswith("held")


def test_nothing_is_open_but_the_null_device_and_its_own_socket(kernel: tuple[str, Do]) -> None:
    _, do = kernel
    descriptors = detail(do("descriptors")).removeprefix("done ").split("-")
    assert descriptors[:3] == ["0", "1", "2"]
    # Its socket, and a pipe that nobody reads: it tells the helper that the worker is gone.
    assert len(descriptors) == 5


@pytest.mark.parametrize(
    "words", ["die SIGSEGV", "die SIGABRT", "exit 0", "exit 3", "pickle", "next", "half"]
)
def test_a_death_or_nonsense_is_a_crash_of_that_picture(kernel: tuple[str, Do], words: str) -> None:
    _, do = kernel
    assert reason(do(words)) is Reason.DECODER_CRASHED
    assert detail(do("descriptors")).startswith("done")  # the next one is served
    assert not Path("/tmp/iii-pickle-was-loaded").exists()


def test_an_answer_without_end_is_read_to_its_length_only(kernel: tuple[str, Do]) -> None:
    _, do = kernel
    started = time.monotonic()
    assert reason(do("endless")) is Reason.DECODER_CRASHED
    assert time.monotonic() - started < WALL_S


@pytest.mark.parametrize("words", ["loop", "linger"])
def test_what_takes_too_long_is_ended(kernel: tuple[str, Do], words: str) -> None:
    name, do = kernel
    if name not in {"everything", "neither"}:
        pytest.skip("the host counts the time, whatever the kernel has")
    started = time.monotonic()
    assert reason(do(words)) in {Reason.DECODE_TIMEOUT, Reason.DECODER_CRASHED}
    assert time.monotonic() - started < WALL_S + 1


def test_the_kernel_ends_what_takes_too_much_cpu_time(isolate: Callable[..., Isolation]) -> None:
    isolation = isolate(cpu_s=1, wall_s=30)
    for words in ("loop", "stubborn"):
        started = time.monotonic()
        assert reason(deed(words, isolation)) in {Reason.DECODE_TIMEOUT, Reason.DECODER_CRASHED}
        assert time.monotonic() - started < 15


def test_sleep_costs_no_cpu_and_is_ended_all_the_same(isolate: Callable[..., Isolation]) -> None:
    isolation = isolate(KERNELS["neither"])
    assert reason(deed("sleep 60", isolation)) is Reason.DECODE_TIMEOUT


def test_a_taken_over_recycled_worker_cannot_answer_for_the_next(isolate: Callable[..., Isolation]) -> None:
    isolation = isolate()
    with isolation.recycling() as reader:
        assert detail(deed("descriptors", reader)).startswith("done")
        assert reason(deed("next", reader)) is Reason.DECODER_CRASHED
        assert detail(deed("descriptors", reader)).startswith("done")


def test_what_ended_its_worker_twice_is_not_tried_again(isolate: Callable[..., Isolation]) -> None:
    isolation = isolate()
    for _ in range(2):
        assert detail(deed("exit 7", isolation)) == "the decoder ended: exit code 7"
    found = deed("exit 7", isolation)
    assert reason(found) is Reason.DECODER_CRASHED
    assert detail(found) == "it ended its decoder before"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_host_that_is_not_root_cannot_be_looked_into_either() -> None:
    """The worker is then the same user as its host, and `not dumpable` is what stands between them."""
    python = next(
        (
            candidate
            for candidate in (
                sys.executable,
                shutil.which(f"python3.{sys.version_info.minor}", path="/usr/bin"),
            )
            if candidate and _runs_as_nobody(candidate)
        ),
        None,
    )
    if python is None:
        pytest.skip("no Python here can be run by nobody")
    code = dedent(
        """
        import ctypes, os, sys
        sys.path[:0] = sys.argv[1].split(":")
        from test_malicious_decoder import KERNELS, deed, detail
        from iii_client.fingerprint.isolation import Isolation, Layer
        secret = ctypes.create_string_buffer(b"a secret of the host")
        address = ctypes.addressof(secret)
        with Isolation(layers=KERNELS["neither"], look="malicious_decoder:look_at") as isolation:
            for words in (f"memory {os.getpid()} {address}", f"helper {address}", "read /etc/passwd", "fork"):
                assert detail(deed(words, isolation)).startswith("held"), words
        print("all held")
        """
    )
    done = subprocess.run(
        [python, "-c", code, ":".join([str(HERE), *sys.path])],
        user=65534,
        group=65534,
        extra_groups=[],
        capture_output=True,
        text=True,
        timeout=60,
        cwd="/",
        check=False,
    )
    assert done.stdout == "all held\n", done.stderr[-2000:]


def _runs_as_nobody(python: str) -> bool:
    try:
        code = f"import sys; sys.path[:0] = {sys.path!r}; import numpy, PIL, pytest"
        done = subprocess.run(
            [python, "-c", code],
            user=65534,
            group=65534,
            capture_output=True,
            cwd="/",
            timeout=60,
            check=False,
        )
    except OSError:
        return False
    return done.returncode == 0
