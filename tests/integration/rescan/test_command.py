"""`iii-client rescan` as people run it: exit codes, JSON, signals, reports."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.rescan_site import Site, noise


def run(site: Site, *arguments: object) -> Any:
    result = subprocess.run(
        [sys.executable, "-m", "iii_client", "rescan", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(site),
    )
    assert "Traceback" not in result.stderr + result.stdout, result.stderr
    assert result.returncode != 5, result.stderr
    return result


def environment(site: Site) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("III_")}
    return {**clean, **site.env, "COLUMNS": "200"}


def test_start_status_recheck_report(site: Site, tmp_path: Path) -> None:
    listed = run(site, "start", "--dry-run", site.pictures, "--json")
    assert (listed.returncode, json.loads(listed.stdout)["items"]) == (0, 27)
    started = run(site, "start", "--job", "uploads", site.pictures, "--json", "--nice", 0)
    assert started.returncode == 1
    status = run(site, "status", "uploads", "--json")
    assert json.loads(status.stdout) == json.loads(started.stdout)
    counts = {name: json.loads(status.stdout)[name] for name in ("items", "matched", "unscannable", "failed")}
    assert counts == {"items": 27, "matched": 2, "unscannable": 1, "failed": 0}
    again = run(site, "start", "--job", "uploads", site.pictures)
    assert again.returncode == 2
    assert "resume" in again.stderr
    rechecked = run(site, "recheck", "uploads", "--json")
    assert json.loads(rechecked.stdout)["rechecked"]["items"] == 27
    page = tmp_path / "report.html"
    assert run(site, "report", "uploads", "--out", page).returncode == 1
    assert page.stat().st_mode & 0o777 == 0o600
    assert "2</b> of 27 items matched" in page.read_text()
    assert run(site, "status").stdout.startswith("uploads finished")
    folder = site.config.state_dir / "rescan" / "uploads"
    assert folder.exists()
    assert run(site, "forget", "uploads", "--yes").returncode == 0
    assert not folder.exists()
    assert run(site, "status", "uploads").returncode == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_resumable(site: Site, number: signal.Signals) -> None:
    for extra in range(60):
        noise(site.pictures / "more" / f"{extra}.png")
    driver = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "iii_client",
            "rescan",
            "start",
            "--job",
            "uploads",
            str(site.pictures),
            "--objects-per-s",
            "4",
            "--jobs",
            "1",
        ],
        env=environment(site),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert driver.stdout is not None
    driver.stdout.readline()  # the first find
    driver.send_signal(number)
    _, said = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert "rescan resume uploads" in said
    left = json.loads(run(site, "status", "uploads", "--json").stdout)
    assert left["state"] == "open"
    assert 0 < left["items"] < 87
    resumed = run(site, "resume", "uploads", "--json")
    assert resumed.returncode == 1
    done = json.loads(resumed.stdout)
    assert (done["state"], done["items"], done["matched"], done["redone"]) == ("finished", 87, 2, 0)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["start", "/"], "--job"),
        (["start", "--job", "x", "/nowhere"], "spelling"),
        (["resume", "unknown"], "rescan status"),
        (["start", "--job", "x", "nosuch://bucket"], "driver"),
        (["start", "--job", "x", "--engine", "spark", "/etc/hostname"], "module:factory"),
    ],
)
def test_what_cannot_work_says_what_to_do(site: Site, arguments: list[str], hint: str) -> None:
    refused = run(site, *arguments)
    assert refused.returncode == 2
    assert hint in refused.stderr
