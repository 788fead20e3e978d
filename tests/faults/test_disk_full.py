"""A full, a read-only and a failing disk: the ruled action stays in force, the decision says that it could
not be recorded, the operator is told, and what was acknowledged before is still there.

Real ones where the machine allows it: a small tmpfs (root), a limit on file sizes (anybody), and system calls
that strace makes fail.
"""

import json
import logging
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from iii_client import Config, Scanner, Updater
from iii_client.model import Action, Outcome, Recorded
from iii_client.records import SqliteStore
from iii_client.records.alarms import open_alarms
from iii_client.records.audit_check import verify_audit
from iii_client.sandbox import Sandbox
from iii_client.test_picture import listed_picture_bytes

#: Room for the filter and a young database, and soon full.
TMPFS = "size=2m"
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox.open(tmp_path_factory.mktemp("sandbox")) as sandbox:
        sandbox.publish()
        sandbox.start()
        yield sandbox


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of two megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", TMPFS, "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def configuration(service: Sandbox, state_dir: Path, **env: str) -> Config:
    config = Config.from_env({**service.env, "III_STATE_DIR": str(state_dir), "III_CACHE": "false", **env})
    Updater(config.filter, config.state_dir).update()
    return config


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65536, 4096, 512, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return ballast


def pending(state_dir: Path) -> int:
    store = SqliteStore(state_dir / "state.db")
    with store.transaction() as tx:
        ((count,),) = tx.query("SELECT count(*) FROM outbox WHERE state = 'pending'")
    assert verify_audit(store).why == ""
    store.close()
    return int(count)


def test_on_a_full_disk_a_match_is_still_blocked_and_the_decision_says_it_is_not_recorded(
    service: Sandbox, small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Scanner.from_config(configuration(service, small_disk)) as scanner:
        before = scanner.scan(listed_picture_bytes())
        ballast = fill(small_disk)
        full = scanner.scan(listed_picture_bytes())
        ballast.unlink()
        after = scanner.scan(listed_picture_bytes())
    assert [one.action for one in (before, full, after)] == [Action.BLOCK] * 3
    assert [one.recorded for one in (before, full, after)] == [
        Recorded.RECORDED,
        Recorded.FAILED,
        Recorded.RECORDED,
    ]
    assert (full.encounter_id, full.case_reference) == ("", "")
    told = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert any("could not be recorded" in record.getMessage() for record in told)
    assert "full" in caplog.text
    store = SqliteStore(small_disk / "state.db")
    with store.reading() as tx:
        assert [(alarm.kind, alarm.times) for alarm in open_alarms(tx)] == [("not_recorded", 1)]
    store.close()


def test_on_a_full_disk_with_the_service_down_a_probable_hit_is_held_and_earlier_ones_are_not_lost(
    service: Sandbox, small_disk: Path
) -> None:
    config = configuration(service, small_disk, III_SERVICE_URL=NOWHERE)
    acknowledged = 0
    with Scanner.from_config(config) as scanner:
        for _ in range(3):
            acknowledged += scanner.scan(listed_picture_bytes()).recorded is Recorded.RECORDED
        ballast = fill(small_disk)
        full = scanner.scan(listed_picture_bytes())
        ballast.unlink()
    assert (full.verdict.outcome, full.action) == (Outcome.UNCONFIRMED, Action.QUARANTINE)
    assert full.recorded is Recorded.FAILED
    assert pending(small_disk) == acknowledged == 3


def test_on_a_read_only_disk_the_action_stays_in_force(
    service: Sandbox, small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Scanner.from_config(configuration(service, small_disk)) as scanner:
        # Nothing is open for writing yet: a file system in use cannot be made read-only.
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        try:
            decision = scanner.scan(listed_picture_bytes())
        finally:
            subprocess.run(["mount", "-o", f"remount,rw,{TMPFS}", str(small_disk)], check=True)
        again = scanner.scan(listed_picture_bytes())
    assert (decision.action, decision.recorded) == (Action.BLOCK, Recorded.FAILED)
    assert (again.action, again.recorded) == (Action.BLOCK, Recorded.RECORDED)
    assert "could not be recorded" in caplog.text


def test_the_command_says_so_too_when_no_file_may_grow(service: Sandbox, tmp_path: Path) -> None:
    """Without root: a limit on file sizes is, for the database, a disk without room."""
    configuration(service, tmp_path / "state")
    picture = tmp_path / "holiday.png"
    picture.write_bytes(listed_picture_bytes())
    clean = {name: value for name, value in os.environ.items() if not name.startswith("III_")}
    result = subprocess.run(
        [sys.executable, "-m", "iii_client", "scan", "--json", "--jobs", "1", str(picture)],
        env={**clean, **service.env, "III_STATE_DIR": str(tmp_path / "state")},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    line = json.loads(result.stdout.splitlines()[0])
    assert (line["outcome"], line["action"], line["recorded"]) == ("matched", "block", "failed")
    assert result.returncode == 1
    assert "1 decision could not be recorded" in result.stderr
    assert "Traceback" not in result.stderr


#: Records decisions until told otherwise, and says which were acknowledged.
WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from outbox_kills import unconfirmed
from iii_client.errors import RecordError
from iii_client.model import UploadContext
from iii_client.records import StateRecorder

recorder, refused = StateRecorder.in_directory(Path(sys.argv[1])), 0
for _ in range(60):
    try:
        sys.stdout.write(recorder.record(unconfirmed(), UploadContext()).encounter_id + "\\n")
    except RecordError:
        refused += 1
sys.stdout.write(f"refused {refused}\\n")
"""


@pytest.mark.parametrize(
    "fault",
    [
        "fdatasync,fsync:error=EIO:when=8+5",
        "pwrite64:error=ENOSPC:when=150+97",
        "pwrite64:error=EIO:when=90+131",
    ],
)
def test_what_was_acknowledged_is_there_though_every_few_system_calls_fail(
    fault: str, tmp_path: Path
) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("Debian's strace is not installed")
    probe = subprocess.run([strace, "-o", "/dev/null", "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("this machine does not let strace trace")
    calls = fault.split(":")[0]
    state_dir = tmp_path / "state"
    # The database is made before anything fails.
    pending(state_dir)
    result: Any = subprocess.run(
        [
            *(strace, "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={fault}"),
            *(sys.executable, "-c", WRITER, str(state_dir), str(Path(__file__).parent)),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    *acknowledged, last = result.stdout.splitlines()
    assert len(acknowledged) + int(last.split()[1]) == 60
    assert 0 < len(acknowledged) < 60, "some were refused and some were not, or nothing was tested"
    store = SqliteStore(state_dir / "state.db")
    with store.transaction() as tx:
        found = {row[0] for row in tx.query("SELECT encounter_id FROM outbox")}
        assert tx.query("PRAGMA integrity_check") == [("ok",)]
    assert verify_audit(store).why == ""
    store.close()
    assert set(acknowledged) <= found
    sys.stdout.write(f"{fault}: {len(acknowledged)} acknowledged, {last}, {len(found)} found\n")
