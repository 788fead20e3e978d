"""`iii-client outbox` and `alarm` as an operator runs them, with the service down and back again."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from iii_client import Config, Updater
from iii_client.records import SqliteStore
from iii_client.records.alarms import raise_alarm
from iii_client.sandbox import Sandbox
from iii_client.test_picture import listed_picture_bytes

COMMAND = [sys.executable, "-m", "iii_client"]
#: Nobody listens there.
NOWHERE = "http://127.0.0.1:9"
KEY = "a key of the tests, long enough"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox.open(tmp_path_factory.mktemp("sandbox")) as sandbox:
        sandbox.publish()
        sandbox.start()
        yield sandbox


@pytest.fixture
def env(service: Sandbox, tmp_path: Path) -> dict[str, str]:
    env = {**service.env, "III_STATE_DIR": str(tmp_path / "state")}
    config = Config.from_env(env)
    Updater(config.filter, config.state_dir).update()
    return env


@pytest.fixture
def held(env: dict[str, str], tmp_path: Path) -> Path:
    """The test picture, scanned while the service was down."""
    picture = tmp_path / "holiday.png"
    picture.write_bytes(listed_picture_bytes())
    assert run("scan", picture, env={**env, "III_SERVICE_URL": NOWHERE}).returncode == 3
    return picture


def run(*arguments: object, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env=clean(env),
        check=False,
    )
    assert "Traceback" not in result.stderr + result.stdout, result.stderr
    assert result.returncode != 5, result.stderr
    return result


def clean(env: dict[str, str]) -> dict[str, str]:
    others = {name: value for name, value in os.environ.items() if not name.startswith("III_")}
    return {**others, "COLUMNS": "200", **env}


def lines(result: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_an_empty_outbox_is_success(env: dict[str, str]) -> None:
    result = run("outbox", "drain", "--json", env=env)
    assert result.returncode == 0
    assert lines(result)[0]["asked"] == 0
    assert "0 items wait" in run("outbox", "list", env=env).stdout


def test_what_was_held_while_the_service_was_down_is_answered_when_it_is_back(
    env: dict[str, str], held: Path
) -> None:
    (row,) = lines(run("outbox", "list", "--json", env=env))
    assert (row["state"], row["action"], row["reference"]) == ("pending", "quarantine", str(held))
    down = run("outbox", "drain", env={**env, "III_SERVICE_URL": NOWHERE})
    assert down.returncode == 3
    assert "the service gave no answers: service_unreachable" in down.stdout
    assert "1 item left" in down.stdout
    retried = run("outbox", "retry", "--json", "--operator", "ann", env=env)
    assert lines(retried) == [{"due": 1}]
    back = run("outbox", "drain", "--json", env=env)
    (report,) = lines(back)
    assert back.returncode == 0
    assert (report["matched"], report["left"], report["hashes_sent"]) == (1, 0, 1)
    assert run("outbox", "list", "--json", env=env).stdout == ""
    (settled,) = lines(run("outbox", "list", "--json", "--settled", env=env))
    assert settled["encounter_id"] == row["encounter_id"]


def test_no_hash_of_the_item_is_listed(env: dict[str, str], held: Path) -> None:
    shown = run("outbox", "list", "--json", env=env).stdout
    assert str(held) in shown
    for digest in (hashlib.sha256, hashlib.sha1, hashlib.md5):
        assert digest(held.read_bytes()).hexdigest() not in shown


class Application(ThreadingHTTPServer):
    """The hoster's own application: takes notices."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Takes)
        self.taken: list[tuple[dict[str, str], bytes]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Takes(BaseHTTPRequestHandler):
    server: Application

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.taken.append((dict(self.headers), body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


def test_the_webhook_hears_of_a_late_answer_with_the_reference(env: dict[str, str], held: Path) -> None:
    with Application() as application:
        env = {
            **env,
            "III_WEBHOOK_URL": f"http://127.0.0.1:{application.server_port}/iii",
            "III_WEBHOOK_KEY": KEY,
        }
        (report,) = lines(run("outbox", "drain", "--json", env=env))
        application.shutdown()
    assert report["notices_delivered"] == 1
    ((_, body),) = application.taken
    told = json.loads(body)
    assert told["kind"] == "late_answer"
    assert told["data"]["reference"] == str(held)
    assert (told["data"]["outcome"], told["data"]["action"]) == ("matched", "block")


def test_a_short_webhook_key_is_refused_with_the_way_out(env: dict[str, str]) -> None:
    result = run(
        "outbox", "drain", env={**env, "III_WEBHOOK_URL": "http://127.0.0.1:9/", "III_WEBHOOK_KEY": "short"}
    )
    assert result.returncode == 2
    assert "openssl rand" in result.stderr


def test_watching_goes_on_until_it_is_stopped(env: dict[str, str], held: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "outbox", "drain", "--watch", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean(env),
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["matched"] == 1
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_alarms_are_listed_and_dismissed_by_a_named_person(env: dict[str, str]) -> None:
    assert run("alarm", "list", env=env).returncode == 0
    store = SqliteStore(Path(env["III_STATE_DIR"]) / "state.db")
    with store.transaction() as tx:
        raise_alarm(tx, "outbox_overdue", "Look at [bold]it[/].", now=datetime.now(UTC))
    listed = run("alarm", "list", env=env)
    assert listed.returncode == 3
    assert "Look at [bold]it[/]." in listed.stdout
    (alarm,) = lines(run("alarm", "list", "--json", env=env))
    assert (alarm["alarm"], alarm["times"]) == ("outbox_overdue", 1)
    assert run("alarm", "dismiss", "outbox_overdue", "--operator", "ann", env=env).returncode == 0
    again = run("alarm", "dismiss", "outbox_overdue", env=env)
    assert again.returncode == 2
    assert "no alarm outbox_overdue is open" in again.stderr
    with store.transaction() as tx:
        ((body,),) = tx.query("SELECT body FROM audit WHERE kind = 'alarm_dismissed'")
    store.close()
    assert json.loads(body)["operator"] == "ann"


def test_who_looks_after_the_outbox_needs_to_choose_no_mode(env: dict[str, str], held: Path) -> None:
    env = {name: value for name, value in env.items() if name != "III_MODE"}
    assert len(lines(run("outbox", "list", "--json", env=env))) == 1
    assert run("outbox", "retry", env=env).returncode == 0
    assert "1 matched" in run("outbox", "drain", env=env).stdout
