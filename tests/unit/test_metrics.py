"""The numbers of one host, as Prometheus reads them."""

import json
import stat
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from iii_client.cli.app import run
from iii_client.config import Config
from iii_client.errors import ConfigurationError
from iii_client.metrics import Metric, as_text, gather, write_textfile
from iii_client.model.breakers import SERVICE_REFUSED_ALARM, BreakerState
from iii_client.records import SqliteStore
from iii_client.records.alarms import raise_alarm
from iii_client.records.breakers import Breakers
from iii_client.records.store import as_ms
from iii_client.records.tallies import add
from iii_client.service import endpoint_of

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config.from_mapping(
        {
            "mode": "enforce",
            "state_dir": str(tmp_path / "state"),
            "service": {"url": "https://secret-host.example", "username": "some-hoster"},
        }
    )


@pytest.fixture
def store(config: Config) -> SqliteStore:
    return SqliteStore(config.state_dir / "state.db")


def values(config: Config, *, now: datetime = NOON) -> Mapping[tuple[str, ...], float]:
    return {
        (metric.name, *labels.values()): value
        for metric in gather(config, now=now)
        for labels, value in metric.samples
    }


def test_a_host_that_has_nothing_yet_says_so(config: Config) -> None:
    found = values(config)
    assert found["iii_filter_freshness", "none"] == 1
    assert found["iii_filter_freshness", "fresh"] == 0
    assert found["iii_state_readable",] == 1
    assert found["iii_outbox_items", "pending"] == 0
    assert found["iii_outbox_oldest_seconds",] == 0
    assert found["iii_service_phase", "closed"] == 1
    assert found["iii_cache_bytes",] == 0
    assert not config.state_dir.exists(), "whoever only looks makes nothing"


def test_a_bypassed_filter_has_no_age_to_alarm_about(tmp_path: Path) -> None:
    config = Config.from_mapping({"mode": "shadow", "state_dir": str(tmp_path), "filter": {"use": "none"}})
    assert not any(name.startswith("iii_filter") for name, *_ in values(config))


def test_what_stands_in_the_store_is_told(config: Config, store: SqliteStore) -> None:
    with store.transaction() as tx:
        raise_alarm(tx, "outbox_overdue", "1 item is overdue.", now=NOON)
        raise_alarm(tx, "outbox_overdue", "2 items are overdue.", now=NOON)
        add(tx, "2026-11-23", "scanned_no_match", 7)
        add(tx, "2026-11-24", "scanned_no_match", 2)
    Breakers(store).apply(
        endpoint_of(config.service),
        lambda _: (
            None,
            BreakerState(failures=3, open_until_ms=as_ms(NOON) + 4000, alarm=SERVICE_REFUSED_ALARM),
        ),
    )
    found = values(config)
    assert found["iii_alarms", "outbox_overdue"] == 2
    assert found["iii_tally_total", "scanned_no_match"] == 9
    assert found["iii_service_phase", "open"] == 1
    assert found["iii_service_phase", "closed"] == 0
    assert found["iii_service_paused_seconds",] == 4
    assert found["iii_service_refused",] == 1


def test_a_state_that_cannot_be_read_hides_nothing_else(config: Config) -> None:
    config.state_dir.mkdir()
    (config.state_dir / "state.db").write_bytes(b"not a database" * 100)
    found = values(config)
    assert found["iii_state_readable",] == 0
    assert found["iii_filter_freshness", "none"] == 1
    assert ("iii_outbox_items", "pending") not in found


def test_nothing_in_the_text_names_a_service_or_an_account(config: Config, store: SqliteStore) -> None:
    Breakers(store).apply(endpoint_of(config.service), lambda _: (None, BreakerState(failures=1)))
    text = as_text(gather(config, now=NOON + timedelta(days=1)))
    assert "secret-host" not in text
    assert "some-hoster" not in text


def test_the_text_is_what_prometheus_reads() -> None:
    parser = pytest.importorskip("prometheus_client.parser", reason="the extra [prometheus] is not installed")
    odd = 'a "quoted" \\ back\nslash'
    metrics = [
        Metric(
            name="iii_a_total", explained="One.", kind="counter", samples=(({"name": odd, "x": "1"}, 1e12),)
        ),
        Metric(name="iii_b_seconds", explained="Two.", samples=(({}, -0.25),)),
    ]
    first, second = parser.text_string_to_metric_families(as_text(metrics))
    assert (first.name, first.type, first.samples[0].labels) == ("iii_a", "counter", {"name": odd, "x": "1"})
    assert first.samples[0].value == 1e12
    assert (second.documentation, second.samples[0].value) == ("Two.", -0.25)


def test_counts_keep_every_digit() -> None:
    metric = Metric(name="iii_n", explained="N.", samples=(({}, 123_456_789.0), ({}, 0.125)))
    assert as_text([metric]).splitlines()[2:] == ["iii_n 123456789", "iii_n 0.125"]


def test_the_command_tells_them_as_text_as_json_and_in_a_file(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("III_MODE", "shadow")
    monkeypatch.setenv("III_STATE_DIR", str(config.state_dir))
    assert run(["metrics"]) == 0
    assert "# TYPE iii_outbox_items gauge" in capsys.readouterr().out
    assert run(["metrics", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"name": "iii_state_readable", "labels": {}, "value": 1.0} in lines
    assert run(["metrics", "--textfile", str(tmp_path / "iii.prom")]) == 0
    assert "iii_state_readable 1\n" in (tmp_path / "iii.prom").read_text()
    assert capsys.readouterr().out == ""


def test_a_textfile_is_replaced_at_once_and_readable_for_the_collector(tmp_path: Path) -> None:
    path = tmp_path / "iii.prom"
    path.write_text("old")
    write_textfile(path, "new\n")
    assert path.read_text() == "new\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_a_textfile_that_cannot_be_written_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be written"):
        write_textfile(tmp_path / "nowhere" / "iii.prom", "text")
