"""Every way to end a command has an exit code that says what it was."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_output_that_cannot_be_written_is_incomplete_and_no_bug() -> None:
    """`iii-client … >> log` on a full disk: exit 5 and a traceback would read as a bug, 1 as a match."""
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        ended = subprocess.run(
            [sys.executable, "-m", "iii_client", "policy", "explain"],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    assert ended.returncode == 3
    assert b"could not be written" in ended.stderr
    assert b"Traceback" not in ended.stderr
