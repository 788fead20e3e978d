"""A disk that refuses: strace makes system calls of a real update fail (docs/explanation/filter-life.md).

One call of each kind by default; each that touches the state directory, once and from there on, with:
III_TEST_STRACE=all pytest tests/faults/filter_life/test_disk.py
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Host

STRACE = shutil.which("strace")
ALL = os.environ.get("III_TEST_STRACE") == "all"
COMMAND = [sys.executable, "-B", "-m", "iii_client", "filter", "update"]

FAULTS = [("write", "ENOSPC"), ("fsync", "EIO"), ("rename", "ENOSPC")]
if ALL:
    FAULTS += [("write", "EIO"), ("fsync", "ENOSPC"), ("rename", "EIO")]

pytestmark = pytest.mark.skipif(STRACE is None, reason="strace is not installed (Debian: strace)")


def update_under(
    host: Host, *options: str, log: Path = Path("/dev/null")
) -> "subprocess.CompletedProcess[str]":
    assert STRACE is not None
    clean = {name: value for name, value in os.environ.items() if not name.startswith("III_")}
    env = {
        **clean,
        "III_STATE_DIR": str(host.state_dir),
        "III_FILTER_URL": host.server.url,
        "III_FILTER_ROOT": host.config.root,
        "III_MODE": "shadow",
        "COLUMNS": "200",
    }
    return subprocess.run(
        [STRACE, "-f", "-qq", "--seccomp-bpf", "-o", str(log), *options, *COMMAND],
        capture_output=True,
        text=True,
        timeout=120,
        env=env,
    )


def calls(host: Host, call: str, log: Path) -> list[int]:
    """The numbers, from 1, of this call in a whole update that touch the state directory. Each thread counts
    by itself, as the injection does."""
    result = update_under(host, "-y", "-e", f"trace={call}", log=log)
    assert result.returncode == 0, result.stderr
    counts: dict[str, int] = {}
    touching = set()
    for line in log.read_text(errors="replace").splitlines():
        if re.search(rf"\b{call}\(", line):
            thread = line.split()[0]
            counts[thread] = counts.get(thread, 0) + 1
            if str(host.state_dir) in line:
                touching.add(counts[thread])
    return sorted(touching)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("call", "error"), FAULTS, ids=lambda value: str(value))
def test_a_call_that_fails_keeps_a_whole_filter_and_is_named(
    host: Host, tmp_path: Path, call: str, error: str
) -> None:
    forge = host.forge
    forge.publish_base("always")
    host.update()
    kept = tmp_path / "kept"
    shutil.copytree(host.state_dir, kept, symlinks=True)
    forge.publish_base("always", epoch=2)
    forge.publish_delta("more")
    numbers = calls(host, call, tmp_path / "log")
    assert len(numbers) >= 4
    outcomes = []
    for number in numbers if ALL else numbers[-3:-2]:
        for every in ("", "+") if ALL else ("+",):  # this one call, or this one and all after it
            shutil.rmtree(host.state_dir)
            shutil.copytree(kept, host.state_dir, symlinks=True)
            result = update_under(
                host, "-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={number}{every}"
            )
            text = result.stderr + result.stdout
            assert "Traceback" not in text, text
            assert host.installed() in ("1.0", "2.1"), (number, every)
            assert host.finds("always", "never") == [True, False]
            # Either the update failed with a name, or what failed was only the note of when to try again.
            # When all writes fail from there on, it cannot even say so.
            if result.returncode != 0 and not (call == "write" and every):
                assert result.returncode == 3, text
                assert "III_STATE_DIR" in text, text
            outcomes.append(result.returncode)
            assert host.update() == "2.1"
            assert not list((host.state_dir / "filter").rglob(".*.new"))
    assert 3 in outcomes or not ALL
    sys.stdout.write(f"\n{call} {error}: {len(outcomes)} of {2 * len(numbers)} cells, all whole\n")


def test_a_directory_that_cannot_be_written_is_named(host: Host) -> None:
    host.forge.publish_base("always")
    host.update()
    host.forge.publish_delta("more")
    lock = host.state_dir / "filter" / "lock"
    result = update_under(host, "-P", str(lock), "-e", "trace=openat", "-e", "inject=openat:error=EROFS")
    assert result.returncode == 3, result.stderr
    assert "Read-only file system" in result.stderr
    assert "III_STATE_DIR" in result.stderr
    assert host.installed() == "1.0"
