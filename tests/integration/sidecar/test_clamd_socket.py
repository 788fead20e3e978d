"""`iii-client serve --clamd-socket` as others use it: Debian's clamdscan, PyPI's clamd, bare sockets."""

import os
import random
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.integration.sidecar.conftest import Sidecar, StartSidecar

from iii_client.testing.pictures import (
    PracticePicture,
    broken_picture,
    innocent_picture,
    known_picture,
    near_copy,
)

#: In full: III_TEST_MALFORMED=1000.
MALFORMED = int(os.environ.get("III_TEST_MALFORMED", "60"))
FOUND, OK, LATER = (
    "stream: III.Match.Confirmed FOUND",
    "stream: OK",
    "stream: Not decided, try again later. ERROR",
)


def connect(sidecar: Sidecar) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(30)
    made.connect(sidecar.clamd)
    return made


def instream(sidecar: Sidecar, data: bytes) -> str:
    """A reply, or empty when the connection ends without one."""
    with connect(sidecar) as client:
        pieces = [data[at : at + 65536] for at in range(0, len(data), 65536)]
        framed = b"".join(struct.pack(">I", len(piece)) + piece for piece in pieces)
        client.sendall(b"zINSTREAM\0" + framed + b"\0\0\0\0")
        return read_all(client).rstrip("\0")


def read_all(client: socket.socket) -> str:
    parts = []
    while part := client.recv(4096):
        parts.append(part)
    return b"".join(parts).decode()


def wait_until(true: object, seconds: float = 20.0) -> None:
    assert callable(true)
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("picture", "reply"),
    [
        (known_picture(), FOUND),
        (innocent_picture(), OK),
        (near_copy(), LATER),
        (broken_picture(), LATER),
    ],
    ids=lambda value: value.name if isinstance(value, PracticePicture) else "",
)
def test_what_the_policy_orders_is_what_a_client_is_told(
    sidecar: Sidecar, picture: PracticePicture, reply: str
) -> None:
    assert instream(sidecar, picture.data) == reply


def test_what_is_no_picture_passes_and_nothing_at_all_does_not(sidecar: Sidecar) -> None:
    assert instream(sidecar, b"a letter") == OK
    assert instream(sidecar, b"") == LATER


@pytest.mark.skipif(shutil.which("clamdscan") is None, reason="Debian's clamdscan is not installed")
def test_debians_clamdscan_finds_passes_and_retries(sidecar: Sidecar, tmp_path: Path) -> None:
    settings = tmp_path / "clamd.conf"
    settings.write_text(f"LocalSocket {sidecar.clamd}\n", encoding="utf-8")
    found = []
    for picture in (known_picture(), innocent_picture(), broken_picture()):
        path = tmp_path / picture.name
        path.write_bytes(picture.data)
        command = ["clamdscan", "--stream", "--no-summary", f"--config-file={settings}", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found.append((done.returncode, done.stdout.rpartition(": ")[2].strip()))
    later = LATER.removeprefix("stream: ")
    assert found == [(1, "III.Match.Confirmed FOUND"), (0, "OK"), (2, later)]


def test_pypis_clamd_works_unchanged(sidecar: Sidecar) -> None:
    clamd = pytest.importorskip("clamd")
    client = clamd.ClamdUnixSocket(sidecar.clamd)
    assert client.ping() == "PONG"
    assert client.version().startswith("iii-client ")
    assert client.instream(known_picture().open()) == {"stream": ("FOUND", "III.Match.Confirmed")}
    assert client.instream(innocent_picture().open()) == {"stream": ("OK", None)}


def test_several_uploads_in_one_session(sidecar: Sidecar) -> None:
    with connect(sidecar) as client:
        sent = b"zIDSESSION\0"
        for picture in (innocent_picture(), known_picture()):
            sent += b"zINSTREAM\0" + struct.pack(">I", len(picture.data)) + picture.data + b"\0\0\0\0"
        client.sendall(sent + b"zEND\0")
        assert read_all(client).split("\0") == [f"1: {OK}", f"2: {FOUND}", ""]


def test_a_client_that_sends_everything_first_still_reads_that_it_was_too_much(
    start_sidecar: StartSidecar, tmp_path: Path
) -> None:
    settings = tmp_path / "iii.toml"
    settings.write_text("[limits]\nmax_content_bytes = 100000\nmax_picture_bytes = 9999\n", encoding="utf-8")
    with start_sidecar("--workers", "1", III_CONFIG=str(settings)) as small:
        assert instream(small, b"x" * 4_000_000) == "INSTREAM size limit exceeded. ERROR"
        # A picture that is too large to be looked at is not called clean either.
        assert len(innocent_picture().data) > 9999
        assert instream(small, innocent_picture().data) == LATER


def test_the_socket_is_open_to_its_group_alone(sidecar: Sidecar) -> None:
    assert stat.S_IMODE(Path(sidecar.clamd).stat().st_mode) == 0o660


def test_a_second_one_does_not_take_the_socket(sidecar: Sidecar) -> None:
    command = [sys.executable, "-m", "iii_client", "serve", "--clamd-socket", sidecar.clamd]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "another process serves this socket" in done.stderr
    assert instream(sidecar, innocent_picture().data) == OK


def test_malformed_streams_neither_crash_it_nor_pass(sidecar: Sidecar) -> None:
    chance = random.Random(7)
    before = sidecar.workers()
    memory: list[int] = []
    for number in range(MALFORMED):
        with connect(sidecar) as client:
            client.settimeout(5)
            client.sendall(malformed(chance))
            client.shutdown(socket.SHUT_WR)
            reply = read_all(client)
            assert "stream: OK" not in reply
        if number == MALFORMED // 3:
            memory = [resident_kib(pid) for pid in before]
    assert sidecar.workers() == before
    for pid, then in zip(before, memory, strict=True):
        assert resident_kib(pid) < then + 16 * 1024
    assert instream(sidecar, known_picture().data) == FOUND


def malformed(chance: random.Random) -> bytes:
    """Bytes that are no whole stream: cut, with wrong lengths, in wrong places, or noise."""
    noise = chance.randbytes(chance.randrange(1, 4000))
    whole = b"zINSTREAM\0" + struct.pack(">I", len(noise)) + noise
    kind = chance.randrange(6)
    if kind == 0:
        return whole[: chance.randrange(len(whole))]
    if kind == 1:
        return b"zINSTREAM\0" + struct.pack(">I", chance.randrange(len(noise) + 1, 1 << 32)) + noise
    if kind == 2:
        return noise
    if kind == 3:
        return b"zIDSESSION\0" * chance.randrange(1, 50) + noise
    if kind == 4:
        return b"nSCAN " + noise.replace(b"\n", b"") + b"\n"
    return b"z" + noise.replace(b"\0", b"") * chance.randrange(1, 60)


def resident_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no such process")


def test_sixty_four_clients_are_all_answered(sidecar: Sidecar) -> None:
    # A budget of 50 filter hits an hour holds what is beyond it, so most are innocent.
    pictures = [known_picture(), *[innocent_picture()] * 7] * 8
    with ThreadPoolExecutor(64) as clients:
        replies = list(clients.map(lambda picture: instream(sidecar, picture.data), pictures))
    assert replies == [FOUND, *[OK] * 7] * 8


def test_slow_clients_keep_nobody_out(start_sidecar: StartSidecar) -> None:
    with start_sidecar("--workers", "1", "--connections", "20") as small:
        slow = [connect(small) for _ in range(40)]
        try:
            for client in slow:
                client.send(b"zINSTR")
            started = time.monotonic()
            assert instream(small, innocent_picture().data) == OK
            assert time.monotonic() - started < 5
        finally:
            for client in slow:
                client.close()


def test_beyond_the_rate_a_tenant_is_told_to_wait(start_sidecar: StartSidecar) -> None:
    with start_sidecar("--workers", "1", "--per-minute", "6") as paced:
        replies = [instream(paced, innocent_picture().data) for _ in range(2)]
    assert replies == [OK, "stream: Too busy, try again later. ERROR"]


def test_another_clamd_is_asked_about_what_passes_here(start_sidecar: StartSidecar) -> None:
    # The other one is a sidecar, too; the first only watches, so that everything passes there.
    with start_sidecar("--workers", "1") as other:
        chain = ("--workers", "1", "--chain", other.clamd)
        with start_sidecar(*chain, III_MODE="shadow") as first:
            pictures = (known_picture(), innocent_picture(), broken_picture())
            assert [instream(first, picture.data) for picture in pictures] == [FOUND, OK, LATER]
            other.stop()
            assert instream(first, innocent_picture().data) == LATER


def test_reload_takes_new_settings_and_drops_no_upload(start_sidecar: StartSidecar, tmp_path: Path) -> None:
    settings = tmp_path / "iii.toml"
    settings.write_text('contact = "before"\n', encoding="utf-8")
    with start_sidecar(III_CONFIG=str(settings)) as running:
        before = set(running.workers())
        # One that is under way, and ends only after the reload.
        with connect(running) as client:
            data = known_picture().data
            client.sendall(b"zINSTREAM\0" + struct.pack(">I", len(data)) + data[:1000])
            time.sleep(0.2)
            settings.write_text("[policy.rules]\nno_match = 'quarantine'\n", encoding="utf-8")
            running.process.send_signal(signal.SIGHUP)
            wait_until(lambda: "reloaded" in running.log.read_text(encoding="utf-8"))
            client.sendall(data[1000:] + b"\0\0\0\0")
            assert read_all(client) == f"{FOUND}\0"
        wait_until(lambda: before.isdisjoint(running.workers()))
        # Wrong ones change nothing.
        after = set(running.workers())
        settings.write_text("no_such_setting = 1\n", encoding="utf-8")
        running.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "do not work" in running.log.read_text(encoding="utf-8"))
        wait_until(lambda: set(running.workers()) == after)
        assert instream(running, known_picture().data) == FOUND


def test_stopping_answers_what_is_under_way_and_removes_the_socket(start_sidecar: StartSidecar) -> None:
    with start_sidecar("--workers", "1") as running:
        with connect(running) as client:
            data = known_picture().data
            client.sendall(b"zINSTREAM\0" + struct.pack(">I", len(data)) + data[:1000])
            time.sleep(0.2)
            running.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            client.sendall(data[1000:] + b"\0\0\0\0")
            assert read_all(client) == f"{FOUND}\0"
        assert running.process.wait(20) == 0
        assert not Path(running.clamd).exists()


def test_a_worker_that_dies_is_replaced_and_workers_do_not_outlive_their_parent(
    start_sidecar: StartSidecar,
) -> None:
    with start_sidecar("--workers", "1") as running:
        (first,) = running.workers()
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: running.workers() not in ([], [first]))
        assert instream(running, innocent_picture().data) == OK
        (second,) = running.workers()
        running.process.kill()
        running.process.wait()
        wait_until(lambda: not Path(f"/proc/{second}/cmdline").exists() or not cmdline(second))


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_settings_that_are_missing_end_the_start_with_a_sentence(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("III_")}
    serve = [sys.executable, "-m", "iii_client", "serve"]
    done = subprocess.run(serve, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--clamd-socket" in done.stderr
    serve += ["--clamd-socket", str(tmp_path / "s")]
    done = subprocess.run(serve, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "III_MODE" in done.stderr
