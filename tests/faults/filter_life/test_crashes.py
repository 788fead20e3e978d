"""Crashes and cut connections. Each test is a row of docs/explanation/filter-life.md.

Short by default. In full: III_TEST_KILL_ROUNDS=200 pytest tests/faults/filter_life/test_crashes.py
"""

import dataclasses
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from iii_client.model import ReleaseId
from iii_client.updates.store import CRASH_POINTS

from ...integration.updates.conftest import Handler  # noqa: TID252 - tests are no package on the path
from .conftest import Host
from .forge import LARGE_CANARIES, large_bundle

#: Rounds with a kill at a step or a moment chosen at random, beyond one at each step.
ROUNDS = int(os.environ.get("III_TEST_KILL_ROUNDS", "0"))
SCRIPT = Path(__file__).with_name("updating.py")


def update_in_a_process(host: Host, *steps: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), host.server.url, host.config.root, str(host.state_dir), *steps]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_download_cut_at_every_eighth_fetches_each_byte_once_over_nine_processes(host: Host) -> None:
    content = large_bundle(30 << 20, ReleaseId(epoch=1, sequence=0))
    host.forge.put_base(content, epoch=1, changes=LARGE_CANARIES)
    host.forge.sign()
    cuts = [len(content) * eighth // 8 for eighth in range(1, 8)]
    sent: list[tuple[int, int]] = []

    def cut(handler: Handler) -> bool:
        if not handler.path.startswith("/targets/base/"):
            return False
        start = int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        stop = cuts.pop(0) if cuts else len(content)
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        handler.send_header("Content-Length", str(len(content) - start))
        handler.end_headers()
        handler.wfile.write(content[start:stop])
        handler.wfile.flush()
        sent.append((start, stop))
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)
        return True

    host.server.fault = cut
    for attempt in range(8):
        output, errors = update_in_a_process(host).communicate(timeout=120)
        assert output == ("1.0" if attempt == 7 else ""), errors
        assert ("ConnectError" in errors) is (attempt < 7)
    assert [stop for _, stop in sent] == [len(content) * eighth // 8 for eighth in range(1, 9)]
    # What the kernel had not delivered when the connection broke is asked for again, and no more.
    assert sum(stop - start for start, stop in sent) < len(content) + 7 * 65_536
    assert host.installed() == "1.0"


def is_whole(host: Host, *releases: str) -> str:
    """Which release is in use: one of these, byte for byte, and it answers."""
    name = host.installed()
    assert name in releases
    assert host.finds("always", "never") == [True, False]
    return name


@pytest.mark.parametrize("step", CRASH_POINTS)
def test_a_kill_at_each_step_leaves_a_whole_filter_and_the_next_update_goes_on(
    host: Host, tmp_path: Path, step: str
) -> None:
    forge = host.forge
    forge.put_segment(tmp_path / "ledger", label="first")
    forge.publish_base("always")
    assert host.update() == "1.0"
    forge.put_segment(tmp_path / "ledger", label="second")
    forge.publish_base("always", epoch=2)
    forge.publish_delta("more")
    process = update_in_a_process(host, step)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    done = CRASH_POINTS.index(step) >= CRASH_POINTS.index("pointer replaced")
    assert is_whole(host, "1.0", "2.1") == ("2.1" if done else "1.0")
    assert host.update() == "2.1"
    assert host.finds("always", "more", "never") == [True, True, False]
    assert sorted(p.name[:3] for p in (host.state_dir / "filter" / "releases").glob("*.bundle")) == [
        "1.0",
        "2.1",
    ]
    assert not list((host.state_dir / "filter" / "downloads").iterdir())
    assert not list((host.state_dir / "filter").rglob(".*.new"))


@pytest.mark.parametrize("step", CRASH_POINTS if ROUNDS else ("metadata refreshed", "bundle installed"))
def test_a_kill_during_the_first_update_leaves_none_or_a_whole_one(
    host: Host, tmp_path: Path, step: str
) -> None:
    host.forge.put_segment(tmp_path / "ledger", label="first")
    host.forge.publish_base("always")
    host.forge.publish_delta("more")
    update_in_a_process(host, step).communicate(timeout=120)
    done = CRASH_POINTS.index(step) >= CRASH_POINTS.index("pointer replaced")
    assert (host.state_dir / "filter" / "current").exists() is done
    if done:
        is_whole(host, "1.1")
    assert host.update() == "1.1"


@pytest.mark.skipif(not ROUNDS, reason="set III_TEST_KILL_ROUNDS, such as 200")
@pytest.mark.timeout(7200)
def test_kills_at_random_steps_and_moments(host: Host, tmp_path: Path) -> None:
    """The line goes on over all rounds: bases and deltas in turn, one state directory, every round a kill."""
    choice = random.Random(5)
    forge, epoch, sequence = host.forge, 1, 0
    forge.put_segment(tmp_path / "ledger", label="first")
    forge.publish_base("always")
    host.update()
    killed = {"step": 0, "moment": 0}
    for number in range(ROUNDS):
        before = host.installed()
        if number % 4 == 0:
            epoch, sequence = epoch + 1, 0
            forge.publish_base("always", epoch=epoch)
        else:
            sequence += 1
            forge.publish_delta(f"more {number}")
        newest = f"{epoch}.{sequence}"
        if number % 2:
            process = update_in_a_process(host)
            time.sleep(choice.uniform(0.2, 0.9))
            process.kill()
        else:
            process = update_in_a_process(host, choice.choice(CRASH_POINTS))
        process.communicate(timeout=120)
        killed["moment" if number % 2 else "step"] += process.returncode == -signal.SIGKILL
        is_whole(host, before, newest)
        if number % 3 == 0:
            assert host.update() == newest
    host.update()
    fresh = dataclasses.replace(host, state_dir=tmp_path / "fresh")
    assert fresh.update() == host.installed()
    sys.stdout.write(f"\n{ROUNDS} rounds, killed {killed}: the filter in use was whole every time\n")
