"""Commands of manage.py: thin, with the settings of the project, and with exit codes for a timer."""

import io
import json
import os
import sqlite3
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command

from iii_client.config import Secret
from iii_client.errors import ConfigurationError
from iii_client.integrations.django import signals
from iii_client.integrations.django.bridge import as_toml, run_client
from iii_client.integrations.django.management.commands.iii import Command as Client
from iii_client.integrations.django.management.commands.iii_filter_update import Command as FilterUpdate
from iii_client.integrations.django.scanning import scan_upload

HERE = Path(__file__).parent

#: A project whose settings hold everything, secrets included, and whose environment holds nothing.
MANAGE = """
import json, sys
sys.path.insert(0, {here!r})
from django.conf import settings
settings.configure(INSTALLED_APPS=["iii_client.integrations.django"], III_CLIENT=json.loads({settings!r}))
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", *sys.argv[1:]])
"""


def manage(given: dict[str, Any], *arguments: str) -> subprocess.CompletedProcess[str]:
    script = MANAGE.format(here=str(HERE), settings=json.dumps(given))
    env = {name: value for name, value in os.environ.items() if not name.startswith("III_")}
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=env | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def drain(**options: Any) -> str:
    said = io.StringIO()
    call_command("iii_drain", stdout=said, **options)
    return said.getvalue()


def test_doctor_knows_the_settings_of_the_project(site: Any) -> None:
    given = site.client_settings | {"policy": {"rules": {"filter_stale": "quarantine"}}}
    doctor = manage(given, "iii_doctor", "--json")
    checks = {check["name"]: check for check in json.loads(doctor.stdout)["checks"]}
    assert checks["mode"]["state"] == "ok"
    assert checks["service"]["state"] == "ok", "the login of the settings is accepted"
    assert checks["policy"]["says"] == "1 row of your own", "what no environment variable can say"
    assert site.client_settings["service"]["password"] not in doctor.stdout + doctor.stderr


def test_any_command_of_the_client_runs_and_its_exit_code_is_kept(
    site: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    assert FilterUpdate().run([]) == 0
    assert "is the newest" in capfd.readouterr().out
    assert Client().run(["case", "XXXX-XXXX-XXXX"]) == 3
    assert "no such case" in capfd.readouterr().err
    with pytest.raises(CommandError) as caught:
        call_command("iii", "no-such-command")
    assert caught.value.returncode == 2


def test_settings_become_toml_that_reads_the_same() -> None:
    tree = {
        "mode": "enforce",
        "state_dir": Path("/var/lib/a b"),
        "service": {"password": Secret('q"\\\n\x7fé☃'), "timeout_s": 0.5, "send_own_hash": False},
        "policy": {"rules": {"no_filter": "block"}, "matches": [{"name": "x", "within_bits": 3}]},
        "filter": {"views": ("upright", "mirror")},
    }
    read = tomllib.loads(as_toml(tree))
    assert read["service"] == {"password": 'q"\\\n\x7fé☃', "timeout_s": 0.5, "send_own_hash": False}
    assert read["policy"] == tree["policy"]
    assert (read["state_dir"], read["filter"]["views"]) == ("/var/lib/a b", ["upright", "mirror"])
    with pytest.raises(ConfigurationError, match="object"):
        as_toml({"mode": object()})


def test_settings_that_fill_a_pipe_are_refused_and_not_waited_for(site: Any) -> None:
    with site.changed(contact="x" * 70_000), pytest.raises(ConfigurationError, match="larger"):
        run_client(["doctor"])


# --- iii_drain ------------------------------------------------------------------------------------------


def test_a_late_answer_reaches_every_receiver_with_the_name_of_the_file(site: Any, pictures: Any) -> None:
    told: list[Any] = []

    def receiver(*, answer: Any, **_: Any) -> None:
        told.append(answer)

    rules = {"rules": {"unconfirmed_no_answer": "allow"}}
    with site.changed(service={"url": "http://127.0.0.1:9"}, policy=rules):
        name = default_storage.save("x.png", ContentFile(pictures.listed))
    signals.late_answer.connect(receiver)
    try:
        said = drain(json=True)
    finally:
        signals.late_answer.disconnect(receiver)
    assert json.loads(said)["matched"] == 1
    (answer,) = told
    assert (answer.reference, answer.action.value, answer.previous_action.value) == (name, "block", "allow")


def test_a_receiver_that_raises_is_told_again_and_the_others_hear_it_too(site: Any, pictures: Any) -> None:
    told: list[str] = []

    def broken(**_: Any) -> None:
        told.append("broken")
        raise RuntimeError

    def sound(**_: Any) -> None:
        told.append("sound")

    with site.down():
        scan_upload(ContentFile(pictures.listed))
    signals.late_answer.connect(broken)
    signals.late_answer.connect(sound)
    try:
        drain()
        assert sorted(told) == ["broken", "sound"]
    finally:
        signals.late_answer.disconnect(broken)
        signals.late_answer.disconnect(sound)
    with sqlite3.connect(site.state_dir / "state.db") as db:
        assert db.execute("SELECT state FROM notice WHERE kind = 'late_answer'").fetchall() == [("pending",)]


def test_without_receivers_notices_are_left_for_whoever_takes_them(site: Any, pictures: Any) -> None:
    with site.down():
        scan_upload(ContentFile(pictures.listed))
    drain()
    told: list[Any] = []

    def receiver(*, answer: Any, **_: Any) -> None:
        told.append(answer)

    signals.late_answer.connect(receiver)
    try:
        drain()
    finally:
        signals.late_answer.disconnect(receiver)
    assert len(told) == 1


def test_while_the_service_is_down_drain_ends_with_3_and_says_what_waits(site: Any, pictures: Any) -> None:
    with site.down():
        scan_upload(ContentFile(pictures.listed))
        with pytest.raises(CommandError, match="1 wait for the service") as caught:
            drain()
    assert caught.value.returncode == 3


# --- iii_scan -------------------------------------------------------------------------------------------


def test_what_is_stored_already_is_scanned_and_left_where_it_is(site: Any, pictures: Any) -> None:
    for name, data in (("a/x.jpg", pictures.innocent), ("a/b/y.png", pictures.listed), ("z.txt", b"text")):
        (site.media / name).parent.mkdir(parents=True, exist_ok=True)
        (site.media / name).write_bytes(data)
    said = io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("iii_scan", json=True, stdout=said, stderr=io.StringIO())
    assert caught.value.returncode == 1
    lines = {line["name"]: line["outcome"] for line in map(json.loads, said.getvalue().splitlines())}
    assert lines == {"a/x.jpg": "no_match", "a/b/y.png": "matched", "z.txt": "no_match"}
    assert len(site.stored()) == 3
    assert site.encounters("reference, stored") == [("a/b/y.png", 1)]


def test_a_folder_of_the_storage_is_enough_and_what_cannot_be_opened_ends_with_3(
    site: Any, pictures: Any
) -> None:
    (site.media / "a").mkdir()
    (site.media / "a" / "gone.jpg").symlink_to(site.media / "nowhere")
    (site.media / "x.png").write_bytes(pictures.listed)
    with pytest.raises(CommandError) as caught:
        call_command("iii_scan", "a", stdout=io.StringIO(), stderr=io.StringIO())
    assert caught.value.returncode == 3
    assert site.encounters("outcome, reference") == [("unscannable", "a/gone.jpg")]
