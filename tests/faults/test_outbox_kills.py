"""SIGKILL under four writers and a drainer: what was acknowledged is found, and effects come once.

A few rounds by default; III_TEST_KILL_ROUNDS=200 runs the long test that docs/explanation quotes. SIGKILL is
not a power failure: what the disk itself forgets is not tested here.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ROUNDS = int(os.environ.get("III_TEST_KILL_ROUNDS", "5"))


def test_nothing_acknowledged_is_lost_and_no_effect_comes_twice(tmp_path: Path) -> None:
    result = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).with_name("outbox_kills.py")),
            str(tmp_path / "state"),
            str(ROUNDS),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=30 + 5 * ROUNDS,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    sys.stdout.write(result.stdout)  # shown by -s: the figures of the long test
    assert found["acknowledged"] > 0
    assert found["acknowledged_minus_found"] == 0
    assert found["encounters_without_outbox_row"] == 0
    assert found["left_after_draining"] == 0
    assert found["doubled_follow_ups"] == found["settled_without_follow_up"] == 0
    assert found["doubled_notices"] == found["settled_without_notice"] == 0
    assert (found["integrity"], found["audit_fault"]) == ("ok", "")
    assert found["audit_entries"] >= found["acknowledged"]
