"""`iii-client service`: what an operator sees and does at night."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from iii_client.cli.app import run
from iii_client.config import Config
from iii_client.model.breakers import SERVICE_REFUSED_ALARM, BreakerState
from iii_client.records import SqliteStore
from iii_client.records.breakers import Breakers
from iii_client.service import endpoint_of

Put = Callable[[BreakerState], None]


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Sets the breaker of a host's service."""
    env = {"III_MODE": "shadow", "III_STATE_DIR": str(tmp_path), "III_SERVICE_URL": "https://service.example"}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    endpoint = endpoint_of(Config.from_env(env).service)
    return lambda state: Breakers(SqliteStore(tmp_path / "state.db")).apply(endpoint, lambda _: (None, state))


def in_ms(seconds: float) -> int:
    return round((datetime.now(UTC).timestamp() + seconds) * 1000)


def test_a_service_that_is_asked_is_success(put: Put, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["service", "status"]) == 0
    assert capsys.readouterr().out.startswith("closed: ")


def test_a_service_that_is_left_alone_is_told_with_what_to_do(
    put: Put, capsys: pytest.CaptureFixture[str]
) -> None:
    put(BreakerState(wait_until_ms=in_ms(3600)))
    assert run(["service", "status"]) == 3
    said = capsys.readouterr().out
    assert re.search(r"wants to be left alone for another 3,[56]\d\d s", said)
    assert "iii-client service resume" in said
    assert run(["service", "resume", "--operator", "ann"]) == 0
    capsys.readouterr()
    assert run(["service", "status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "phase": "closed",
        "paused_s": 0.0,
        "failures": 0,
        "refused": False,
    }


def test_refused_credentials_are_not_success(put: Put, capsys: pytest.CaptureFixture[str]) -> None:
    put(BreakerState(alarm=SERVICE_REFUSED_ALARM))
    assert run(["service", "status"]) == 3
    assert "III_SERVICE_USERNAME" in capsys.readouterr().out
