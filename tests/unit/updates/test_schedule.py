"""When to update next: pure rules, and a file that survives damage and a wrong clock."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from iii_client.updates.schedule import Schedule, after_failure, after_success, read_schedule, write_schedule

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def wait(schedule: Schedule) -> float:
    return (schedule.due_at - NOW).total_seconds()


def test_after_a_success_the_next_update_is_due_in_an_hour_give_or_take_a_tenth() -> None:
    assert wait(after_success(NOW, random=lambda: 0.0)) == pytest.approx(3240)
    assert wait(after_success(NOW, random=lambda: 0.5)) == pytest.approx(3600)
    assert wait(after_success(NOW, random=lambda: 0.999999)) == pytest.approx(3960, abs=1)


def test_a_wait_that_the_repository_asks_for_is_kept_up_to_a_day() -> None:
    assert wait(after_success(NOW, random=lambda: 0.5, minimum_wait_s=7200)) == 7200
    assert wait(after_success(NOW, random=lambda: 0.5, minimum_wait_s=60)) == 3600
    assert wait(after_success(NOW, random=lambda: 0.5, minimum_wait_s=1e9)) == 86_400


def test_failures_wait_ever_longer_up_to_a_day() -> None:
    schedule, waits = None, []
    for _ in range(12):
        schedule = after_failure(schedule, NOW, random=lambda: 0.0)
        waits.append(wait(schedule) / 60)
    assert waits == [15, 30, 60, 120, 240, 480, 960, 1440, 1440, 1440, 1440, 1440]
    assert wait(after_failure(None, NOW, random=lambda: 0.999999)) == pytest.approx(1800, abs=1)
    assert schedule is not None
    assert schedule.failures == 12
    assert after_success(NOW, random=lambda: 0.5).failures == 0


def test_a_repository_that_asks_to_wait_is_not_asked_sooner() -> None:
    assert wait(after_failure(None, NOW, random=lambda: 0.0, retry_after_s=7200)) == 7200
    assert wait(after_failure(None, NOW, random=lambda: 0.0, retry_after_s=60)) == 900
    assert wait(after_failure(None, NOW, random=lambda: 0.0, retry_after_s=1e9)) == 86_400


def test_an_update_is_due_at_its_time_and_when_a_clock_was_wrong() -> None:
    schedule = Schedule(failures=0, attempted_at=NOW, due_at=NOW + timedelta(hours=1))
    assert not schedule.is_due(NOW)
    assert schedule.is_due(NOW + timedelta(hours=1))
    # Written by a clock that was a year ahead: nothing here ever waits so long.
    assert schedule.is_due(NOW - timedelta(days=365))


def test_the_file_is_read_as_written(tmp_path: Path) -> None:
    schedule = after_failure(None, NOW, random=lambda: 0.5)
    write_schedule(tmp_path / "schedule", schedule)
    assert read_schedule(tmp_path / "schedule") == schedule
    assert (tmp_path / "schedule").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": 2}', b'{"version": 1}', b"\xff" * 9000])
def test_a_damaged_file_means_that_an_update_is_due(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "schedule").write_bytes(content)
    assert read_schedule(tmp_path / "schedule") is None
    assert read_schedule(tmp_path / "nothing") is None


def test_a_disk_that_refuses_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_schedule(tmp_path / "no" / "folder", after_success(NOW, random=lambda: 0.5))
    assert "cannot be kept" in caplog.text
