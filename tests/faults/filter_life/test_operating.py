"""An operator at work: what was held and accepted, rolled back and verified; timers, workers and mirrors."""

import dataclasses
import io
import json
import os
import signal
import threading
import time
from contextlib import redirect_stderr, redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from securesystemslib.signer import CryptoSigner

from iii_client import Config, Outcome, Scanner, errors
from iii_client.cli.app import run
from iii_client.records import SqliteStore
from iii_client.updates.mirror import mirror
from iii_client.updates.refresher import start_refresher
from iii_client.updates.schedule import read_schedule

from ...integration.updates.conftest import (  # noqa: TID252 - tests are no package on the path
    Handler,
    RepositoryServer,
)
from .conftest import Host
from .forge import names
from .test_attacks import remember


def command(host: Host, *arguments: str, code: int = 0) -> Any:
    """`iii-client filter …`, in this process; what it printed as JSON, or all that it said as one line."""
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("III_")},
        "III_STATE_DIR": str(host.state_dir),
        "III_FILTER_URL": host.config.url,
        "III_FILTER_ROOT": host.config.root,
        "III_MODE": "shadow",
    }
    printed, said, handler = io.StringIO(), io.StringIO(), signal.getsignal(signal.SIGTERM)
    with redirect_stdout(printed), redirect_stderr(said), patch.dict(os.environ, env, clear=True):
        result = run(["filter", *arguments])
    signal.signal(signal.SIGTERM, handler)
    text = " ".join((said.getvalue() + printed.getvalue()).split())
    assert result == code, text
    assert "Traceback" not in text
    return json.loads(printed.getvalue()) if "--json" in arguments and code == 0 else text


@pytest.fixture
def grown(host: Host) -> Host:
    """Epoch 1, then epoch 2 with two deltas; each release was installed."""
    for epoch, added in ((1, ()), (2, ("c", "d"))):
        host.forge.publish_base("a", epoch=epoch)
        host.update()
        for name in added:
            host.forge.publish_delta(name)
            host.update()
    assert host.installed() == "2.2"
    return host


def audit_log(host: Host) -> list[Any]:
    with SqliteStore(host.state_dir / "state.db").transaction() as tx:
        return list(tx.query("SELECT kind, body FROM audit ORDER BY seq"))


def on_disk(host: Host) -> list[str]:
    return sorted(p.name.partition("-")[0] for p in (host.state_dir / "filter" / "releases").glob("*.bundle"))


# --- rollback -------------------------------------------------------------------------------------------


def test_the_release_before_and_two_epochs_stay_on_disk(grown: Host) -> None:
    assert on_disk(grown) == ["1.0", "2.1", "2.2"]
    for epoch in (3, 4, 5):
        grown.forge.publish_base("a", epoch=epoch)
        grown.forge.publish_delta("x")
        grown.update()
    assert on_disk(grown) == ["3.1", "4.1", "5.1"]
    grown.forge.publish_delta("y")
    grown.update()
    assert on_disk(grown) == ["3.1", "4.1", "5.1", "5.2"]


def test_a_rollback_is_used_at_once_audited_and_not_undone_by_the_next_update(grown: Host) -> None:
    done = command(grown, "rollback", "--operator", "ada", "--json")
    assert done == {"release": "2.1", "previous": "2.2"}
    ((kind, body),) = audit_log(grown)
    assert kind == "filter_rollback"
    assert json.loads(body) == {"from": "2.2", "to": "2.1", "operator": "ada", "second_operator": ""}
    assert grown.finds("c", "d") == [True, False]
    held = grown.refuses(errors.HeldReleaseError, "2.2 was rolled back", "filter accept 2.2")
    assert isinstance(held, errors.HeldReleaseError)
    grown.forge.publish_delta("e")
    grown.refuses(errors.HeldReleaseError, "and 2.3 is or builds on it")
    assert command(grown, "status", "--json")["held"] == {"release": "2.2", "because": "rolled-back"}
    assert "release 2.2 is held" in command(grown, "status")
    grown.forge.publish_base("a", "b", epoch=3)
    assert grown.update() == "3.0"
    assert command(grown, "status", "--json")["held"] is None


def test_a_rollback_names_a_release_and_goes_back_step_by_step(grown: Host) -> None:
    assert command(grown, "rollback", "1.0", "--json") == {"release": "1.0", "previous": "2.2"}
    assert grown.finds("a", "c") == [True, False]
    text = command(grown, "rollback", "--json", code=3)
    assert "no older release on disk" in text
    # The newest one that was seen stays held back.
    assert command(grown, "status", "--json")["held"]["release"] == "2.2"


def test_a_rollback_to_what_is_not_there_says_what_is(grown: Host) -> None:
    text = command(grown, "rollback", "7.1", code=3)
    assert "not on disk" in text
    assert "2.1, 1.0" in text
    assert "such as 5.17" in command(grown, "rollback", "seven", code=2)
    assert grown.installed() == "2.2"


def test_a_rollback_to_damaged_bytes_is_refused(grown: Host) -> None:
    (file,) = (grown.state_dir / "filter" / "releases").glob("2.1-*.bundle")
    content = bytearray(file.read_bytes())
    content[90_000] ^= 1
    file.write_bytes(content)
    command(grown, "rollback", code=4)
    assert grown.installed() == "2.2"


def test_an_older_release_than_one_that_was_rolled_back_is_a_rollback_attack(grown: Host) -> None:
    command(grown, "rollback", "1.0")
    # Someone with both online keys now offers less than what was seen.
    grown.forge.deltas.clear()
    grown.forge.sign("delta", "snapshot", "timestamp")
    grown.refuses(errors.RollbackError, "offers release 2.0, 2.2 was seen")


def test_a_rolled_back_release_can_be_accepted_after_all(grown: Host) -> None:
    command(grown, "rollback")
    assert "is not held, 2.2 is" in command(grown, "accept", "2.1", code=2)
    assert command(grown, "accept", "2.2", "--operator", "ada", "--json") == {
        "release": "2.2",
        "accepted": True,
    }
    assert grown.update() == "2.2"
    assert "no release is held" in command(grown, "accept", "2.2", code=2)


def test_verify_reads_near_segments_too(host: Host, tmp_path: Path) -> None:
    host.forge.put_segment(tmp_path / "ledger", label="first")
    host.forge.publish_base("a")
    host.update()
    assert command(host, "verify", "--json")["verified"] is True
    (segment,) = (host.state_dir / "filter" / "near").iterdir()
    content = bytearray(segment.read_bytes())
    content[-1] ^= 1
    segment.write_bytes(content)
    assert "not the signed one" in command(host, "verify", code=4)
    assert host.update() == "1.0"
    command(host, "verify")


# --- a held release -------------------------------------------------------------------------------------


def test_a_held_release_is_accepted_by_its_name_and_what_came_after_is_judged_alone(host: Host) -> None:
    everyday = names(3_000, label="stock picture")
    host.forge.publish_base("a")
    host.update()
    remember(host, everyday)
    host.forge.publish_delta(*everyday[:5])
    text = command(host, "update", code=4)
    assert "release 1.1 is held: 5 of this host's last 3000 files" in text
    assert command(host, "status", "--json")["held"] == {"release": "1.1", "because": "negatives"}
    host.forge.publish_delta(*everyday[5:7])
    assert command(host, "accept", "1.1", "--operator", "ada", "--second", "bob")
    ((_, body),) = [row for row in audit_log(host) if row[0] == "filter_accept"]
    assert json.loads(body) == {
        "release": "1.1",
        "because": "negatives",
        "operator": "ada",
        "second_operator": "bob",
    }
    assert host.update() == "1.2"
    assert host.finds(*everyday[:8]) == [True] * 7 + [False]
    assert command(host, "status", "--json")["held"] is None


def test_an_acceptance_is_for_the_bytes_that_were_held(host: Host) -> None:
    everyday = names(3_000, label="stock picture")
    host.forge.publish_base("a")
    host.update()
    remember(host, everyday)
    host.forge.publish_delta(*everyday[:5])
    host.refuses(errors.HeldReleaseError)
    command(host, "accept", "1.1")
    host.forge.publish_delta(*everyday[5:10])
    with pytest.raises(errors.HeldReleaseError, match=r"release 1.2 is held: 5 of"):
        host.update()
    assert host.installed() == "1.1"


def test_a_damaged_note_of_a_held_release_stops_updates_and_says_so(grown: Host) -> None:
    command(grown, "rollback")
    (grown.state_dir / "filter" / "hold").write_text("{")
    grown.refuses(errors.FilterFormatError, "held release is damaged", "Remove the file")


def test_what_a_scanner_saw_holds_a_release_that_names_it(host: Host) -> None:
    """From scans to the gate, as an application does it; the files are some that nobody lists."""
    host.forge.publish_base("a")
    host.update()
    config = Config.from_mapping({"mode": "enforce", "state_dir": str(host.state_dir)})
    uploads = names(6, label="an upload")
    with Scanner.from_config(config) as scanner:
        for upload in uploads:
            assert scanner.scan(upload.encode()).verdict.outcome is Outcome.NO_MATCH
    host.forge.publish_delta(*uploads[:4])
    host.refuses(errors.HeldReleaseError, "4 of this host's last 6 files")


def test_progress_is_told_for_every_piece(host: Host) -> None:
    told: list[tuple[int, int]] = []
    host.forge.publish_base("a")
    host.updater(progress=lambda done, total: told.append((done, total))).update()
    size = host.updater().store.installed().size_bytes
    assert told[-1] == (size, size)
    assert told == sorted(told)


# --- timers and workers ---------------------------------------------------------------------------------


def test_a_timer_asks_only_when_it_is_due(host: Host) -> None:
    host.forge.publish_base("a")
    assert command(host, "update", "--if-due", "--json")["release"] == "1.0"
    host.server.requests.clear()
    assert command(host, "update", "--if-due", "--json") == {"due": False}
    assert host.server.requests == []
    assert command(host, "update", "--json")["changed"] is False  # a person is not kept waiting
    host.shift = timedelta(minutes=50)
    assert not host.updater().is_due()
    host.shift = timedelta(minutes=67)
    assert host.updater().is_due()


def test_failures_are_counted_for_all_processes_and_wait_longer_each_time(host: Host) -> None:
    host.forge.publish_base("a")
    host.update()
    host.server.fault = lambda h: not h.answer(500, b"")  # type: ignore[func-returns-value]
    for failures in (1, 2, 3):
        with pytest.raises(errors.ServiceError):
            host.update()
        status = command(host, "status", "--json")
        assert status["failures"] == failures
    assert "3 updates in a row failed" in command(host, "status")
    schedule = read_schedule(host.updater().store.schedule_path)
    assert schedule is not None
    assert timedelta(hours=1) <= schedule.due_at - schedule.attempted_at <= timedelta(hours=2)
    host.server.fault = None
    host.update()
    assert command(host, "status", "--json")["failures"] == 0


def test_a_repository_that_asks_for_time_gets_it(host: Host) -> None:
    host.forge.timestamp_fields["minimum_wait_s"] = 5 * 3600
    host.forge.publish_base("a")
    host.update()
    host.shift = timedelta(hours=4.9)
    assert host.updater().update_if_due() is None
    host.server.fault = lambda h: not h.answer(503, b"", {"Retry-After": "7200"})  # type: ignore[func-returns-value]
    with pytest.raises(errors.RateLimitedError):
        host.update()
    host.server.fault = None
    host.shift += timedelta(hours=1.9)
    assert host.updater().update_if_due() is None
    host.shift += timedelta(hours=0.2)
    assert host.updater().update_if_due() is not None


def test_of_many_workers_one_asks(host: Host) -> None:
    """Each runs its own refresher; together they ask once when it is due."""
    host.forge.publish_base("a")

    def slowly(_: Handler) -> bool:
        time.sleep(0.02)
        return False

    host.server.fault = slowly
    refreshers = [start_refresher(host.updater(), look_every_s=0.02) for _ in range(6)]
    deadline = time.monotonic() + 20
    while not (host.state_dir / "filter" / "schedule").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)
    assert all(refresher.is_running for refresher in refreshers)
    for refresher in refreshers:
        refresher.stop()
    assert not any(refresher.is_running for refresher in refreshers)
    assert host.installed() == "1.0"
    assert host.server.requests.count("/metadata/timestamp.json") == 1


def test_a_refresher_lives_through_failures_and_says_them(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is published at first; then it is."""
    host.shift = timedelta(0)
    tried = threading.Event()

    class Impatient(type(host.updater())):  # type: ignore[misc]
        def is_due(self) -> bool:
            tried.set()
            return True

    updater = Impatient(host.config, host.state_dir)
    refresher = start_refresher(updater, look_every_s=0.05)
    assert tried.wait(10)
    deadline = time.monotonic() + 20
    while "was not updated" not in caplog.text and time.monotonic() < deadline:
        time.sleep(0.02)
    host.forge.publish_base("a")
    while not (host.state_dir / "filter" / "current").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    refresher.stop()
    assert host.finds("a") == [True]


# --- a clock that is wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(("hours", "word"), [(24, "ahead of"), (-24, "behind")])
def test_a_clock_that_is_wrong_by_a_day_is_said_with_its_skew(host: Host, hours: int, word: str) -> None:
    host.forge.publish_base("a")
    host.server.date_shift = timedelta(hours=-hours)
    text = command(host, "update")
    assert f"this machine's clock is 1 day {word} the server's" in text.replace("23 hours", "1 day")


# --- a private mirror -----------------------------------------------------------------------------------


@pytest.fixture
def mirrored(host: Host, tmp_path: Path) -> Any:
    """The folder of a mirror, and a host that asks it."""
    folder = tmp_path / "mirror"
    (folder / "public").mkdir(parents=True)
    server = RepositoryServer(folder / "public")
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    config = dataclasses.replace(host.config, url=server.url)
    yield folder, dataclasses.replace(host, config=config, state_dir=tmp_path / "behind", server=server)
    server.shutdown()
    server.server_close()


def bring(host: Host, folder: Path) -> str:
    return str(mirror(host.config, host.forge.root_bytes, folder).release)


def test_a_host_behind_a_mirror_gets_the_same_verified_filter(
    host: Host, mirrored: Any, tmp_path: Path
) -> None:
    folder, behind = mirrored
    host.forge.put_segment(tmp_path / "ledger", label="first")
    host.forge.publish_base("a")
    host.forge.publish_delta("b")
    assert bring(host, folder) == "1.1"
    assert behind.update() == "1.1"
    assert behind.finds("a", "b", "c") == [True, True, False]
    host.forge.publish_delta("c")
    host.server.requests.clear()
    assert command(host, "mirror", str(folder), "--json")["files_fetched"] == 1
    assert not [path for path in host.server.requests if "base" in path or "near" in path]
    assert behind.update() == "1.2"
    host.forge.publish_base("a", epoch=2)
    assert bring(host, folder) == "2.0"
    assert behind.update() == "2.0"
    assert len(list((folder / "public" / "targets").rglob("*.bin"))) == 1


def test_a_mirror_follows_root_rotations_so_that_hosts_can(host: Host, mirrored: Any) -> None:
    folder, behind = mirrored
    host.forge.publish_base("a")
    for _ in range(3):
        host.forge.sign_root()
    assert bring(host, folder) == "1.0"
    assert behind.update() == "1.0"


def test_a_mirror_that_lies_is_refused_like_anybody(host: Host, mirrored: Any) -> None:
    folder, behind = mirrored
    host.forge.publish_base("a")
    bring(host, folder)
    (base,) = (folder / "public" / "targets").rglob("*.bin")
    base.write_bytes(bytes(base.stat().st_size))
    with pytest.raises(errors.LengthOrHashError):
        behind.update()
    # Its next run mends it.
    assert bring(host, folder) == "1.0"
    assert behind.update() == "1.0"


def test_a_mirror_keeps_two_days_of_metadata_and_every_root(host: Host, mirrored: Any) -> None:
    folder, behind = mirrored
    host.forge.publish_base("a")
    host.forge.sign_root()
    for _ in range(3):
        bring(host, folder)
        for _ in range(25):
            host.forge.sign("snapshot", "timestamp")
    bring(host, folder)
    served = {path.name for path in (folder / "public" / "metadata").iterdir()}
    assert {"1.root.json", "2.root.json", "1.targets.json", "51.snapshot.json", "76.snapshot.json"} <= served
    assert not {"1.snapshot.json", "26.snapshot.json"} & served
    assert behind.update() == "1.0"


def test_a_mirror_serves_nothing_of_keys_that_were_replaced(host: Host, mirrored: Any) -> None:
    """A thief's snapshot stands under the number that a true one gets later."""
    folder, behind = mirrored
    forge = host.forge
    forge.publish_base("a")
    true = forge.versions["snapshot"]
    for _ in range(5):
        forge.sign("snapshot", "timestamp")
    bring(host, folder)
    forge.versions["snapshot"] = true
    forge.keys.online = CryptoSigner.generate_ed25519()
    forge.sign_root()
    forge.publish_base("a", "b", epoch=2)
    assert bring(host, folder) == "2.0"
    assert not (folder / "public" / "metadata" / f"{true + 5}.snapshot.json").exists()
    assert behind.update() == "2.0"


def test_a_mirror_that_was_cut_goes_on_and_shows_no_half_state(host: Host, mirrored: Any) -> None:
    folder, behind = mirrored
    host.forge.publish_base("a")
    bring(host, folder)
    host.forge.publish_delta("b")
    host.server.fault = lambda h: h.path.startswith("/targets/") and not h.answer(404, b"")  # type: ignore[func-returns-value]
    with pytest.raises(errors.ServiceError):
        bring(host, folder)
    assert behind.update() == "1.0"
    host.server.fault = None
    bring(host, folder)
    assert behind.update() == "1.1"


def test_what_is_private_of_a_mirror_is_not_served(host: Host, mirrored: Any) -> None:
    folder, _ = mirrored
    host.forge.publish_base("a")
    bring(host, folder)
    assert (folder / "private").stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in (folder / "public").iterdir()) == ["metadata", "targets"]
    for path in (folder / "public").rglob("*"):
        assert path.stat().st_mode & 0o007 == 0
