"""A large upload is never held in memory, measured over a real connection in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

#: Full size by default; it takes some seconds, most of them the framework's own parsing.
MEGABYTES = int(os.environ.get("III_TEST_UPLOAD_MB", "200"))
MOST_MIB = 20.0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("framework", ["flask", "fastapi"])
def test_a_large_upload_adds_less_than_20_mib(framework: str, iii_env: dict[str, str]) -> None:
    pytest.importorskip(framework, reason=f"the extra [{framework}] is not installed")
    script = Path(__file__).with_name("large_upload.py")
    result = subprocess.run(
        [sys.executable, script, framework, str(MEGABYTES)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **iii_env},
    )
    status, grown_mib = result.stdout.split()
    assert status == "200"
    assert float(grown_mib) < MOST_MIB
