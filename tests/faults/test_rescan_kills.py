"""SIGKILL of drivers and decoders of a rescan: every item ends in one state, none is lost, effects come once.

A few kills by default; III_TEST_RESCAN_KILLS=50 runs the long test that docs/explanation quotes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

KILLS = int(os.environ.get("III_TEST_RESCAN_KILLS", "4"))


def test_a_killed_rescan_loses_nothing_and_does_nothing_twice(tmp_path: Path) -> None:
    script = Path(__file__).with_name("rescan_kills.py")
    result = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(KILLS)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120 + 20 * KILLS,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    sys.stdout.write(result.stdout)  # shown by -s: the figures of the long test
    assert found["kills"] >= KILLS
    assert found["items"] > 0
    for name in ("lost", "stored_twice", "counted_wrong", "states_wrong", "listed_not_found", "damaged"):
        assert found[name] == 0, name
    assert found["doubled_effects"] == 0
    assert found["outbox_rows"] == found["unconfirmed"]
