"""What the doctor says about records, outbox, alarms and webhook."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from iii_client.cli.checks.finding import State
from iii_client.cli.checks.records import records
from iii_client.cli.checks.service import webhook
from iii_client.config import NotifyConfig, RecordsConfig, Secret
from iii_client.model import (
    Action,
    Algorithm,
    Candidate,
    Decision,
    Fingerprint,
    HashValue,
    Mode,
    Outcome,
    Reason,
    ReleaseId,
    UploadContext,
    Verdict,
)
from iii_client.records import SqliteStore, StateRecorder
from iii_client.records.alarms import raise_alarm

HIT = HashValue(algorithm=Algorithm.SHA256, value=bytes(32))


def held() -> Decision:
    verdict = Verdict(
        outcome=Outcome.UNCONFIRMED,
        fingerprint=Fingerprint(recipe="fast-v1", size_bytes=1, kind="png", digests=(HIT,)),
        candidates=(Candidate(hash=HIT, section="sha256"),),
        reasons=(Reason.SERVICE_TIMEOUT,),
        release=ReleaseId(epoch=1, sequence=0),
    )
    return Decision(
        action=Action.QUARANTINE,
        ruled=Action.QUARANTINE,
        rule="unconfirmed_no_answer",
        verdict=verdict,
        mode=Mode.ENFORCE,
    )


def states(state_dir: Path) -> dict[str, State]:
    return {check.name: check.state for check in records(RecordsConfig(), state_dir)}


def test_nothing_is_made_by_looking(tmp_path: Path) -> None:
    assert states(tmp_path / "state") == {"records": State.OK}
    assert not (tmp_path / "state").exists()


def test_what_waits_a_short_while_is_fine_and_a_long_while_a_warning_that_says_what_to_do(
    tmp_path: Path,
) -> None:
    StateRecorder.in_directory(tmp_path).record(held(), UploadContext())
    assert states(tmp_path) == {"records": State.OK, "outbox": State.OK, "alarms": State.OK}

    long_ago = datetime.now(UTC) - timedelta(hours=5)
    StateRecorder.in_directory(tmp_path, clock=lambda: long_ago).record(held(), UploadContext())
    (outbox,) = (check for check in records(RecordsConfig(), tmp_path) if check.name == "outbox")
    assert outbox.state is State.WARN
    assert "2 items" in outbox.says
    assert "5 hours" in outbox.says
    assert "drain" in outbox.todo


def test_an_open_alarm_is_named(tmp_path: Path) -> None:
    with SqliteStore(tmp_path / "state.db").transaction() as tx:
        raise_alarm(tx, "service_refused", "credentials", now=datetime.now(UTC))
    (alarms,) = (check for check in records(RecordsConfig(), tmp_path) if check.name == "alarms")
    assert alarms.state is State.WARN
    assert "service_refused" in alarms.says


def test_a_webhook_without_a_key_is_a_warning() -> None:
    assert webhook(NotifyConfig()).state is State.OK
    url = "https://site.example/hook"
    assert webhook(NotifyConfig(webhook_url=url)).state is State.WARN
    assert webhook(NotifyConfig(webhook_url=url, webhook_key=Secret("k" * 32))).state is State.OK
