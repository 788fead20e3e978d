"""The service is down for an hour of uploads at 200 a second: all are kept, and drained at the agreed rate.

The hour is simulated: the clock moves when something waits. The service is the practice service over real
HTTP; while it is down, nobody listens at its port. 1,000 items by default; III_TEST_OUTAGE_ITEMS=720000 runs
the whole hour that docs/explanation quotes.
"""

import json
import os
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.outbox_items import canary, unconfirmed

from iii_client import Config
from iii_client.config import OutboxConfig
from iii_client.decide import TablePolicy
from iii_client.drain import Drainer
from iii_client.model import Algorithm, Confirmation, HashValue, Notice, NoticeKind, UploadContext
from iii_client.protocols import Confirmer
from iii_client.records import SqliteStore, StateRecorder
from iii_client.records.audit_check import verify_audit
from iii_client.records.pseudonyms import PseudonymKey
from iii_client.sandbox import Sandbox
from iii_client.service import make_confirmer

ITEMS = int(os.environ.get("III_TEST_OUTAGE_ITEMS", "1000"))
HOUR_S = 3600.0
CALLS_PER_S = 2.0
#: Every so many-th item is one that the service lists.
LISTED_EVERY = 50


class Clock:
    """The hour, simulated."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 24, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def wait(self, _event: threading.Event, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Watched:
    """Notes when each call leaves, on the simulated clock, and how many hashes were ever asked about."""

    def __init__(self, inner: Confirmer, clock: Clock) -> None:
        self._inner = inner
        self._clock = clock
        self.calls: list[float] = []

    def supports(self, algorithm: Algorithm) -> bool:
        return self._inner.supports(algorithm)

    def confirm(self, hashes: Sequence[HashValue], *, spent_s: float = 0.0) -> Confirmation:
        self.calls.append(self._clock().timestamp())
        return self._inner.confirm(hashes, spent_s=spent_s)


class Application:
    """Counts what it is told about each reference."""

    kinds = frozenset({NoticeKind.LATE_ANSWER})

    def __init__(self) -> None:
        self.told: Counter[str] = Counter()

    def deliver(self, notice: Notice) -> None:
        self.told[notice.message.as_json()["reference"]] += 1


def test_an_hour_without_the_service_loses_nothing_and_is_drained_at_the_rate(tmp_path: Path) -> None:
    clock = Clock()
    port = free_port()
    service = Config.from_env(
        {"III_MODE": "enforce", "III_SERVICE_URL": f"http://127.0.0.1:{port}", "III_SERVICE_USERNAME": "x"}
    ).service
    store = SqliteStore(tmp_path / "state" / "state.db")
    recorder = StateRecorder(store, key=PseudonymKey(tmp_path / "key"), clock=clock)
    application = Application()
    config = OutboxConfig(calls_per_s=CALLS_PER_S)

    def drainer(confirmer: Confirmer) -> Drainer:
        return Drainer(
            store,
            confirmer,
            TablePolicy(),
            config=config,
            couriers=[application],
            clock=clock,
            wait=clock.wait,
        )

    # The hour: uploads come in, and a drainer tries every minute, in vain.
    dead = Watched(make_confirmer(service), clock)
    decision = unconfirmed(0)
    started_s = time.monotonic()
    for number in range(ITEMS):
        clock.now += timedelta(seconds=HOUR_S / ITEMS)
        value = canary(number)
        verdict = replace(
            decision.verdict,
            fingerprint=replace(decision.verdict.fingerprint, digests=(value,)),
            candidates=(replace(decision.verdict.candidates[0], hash=value),),
        )
        recorder.record(replace(decision, verdict=verdict), UploadContext(reference=f"obj/{number}"))
        if number % max(1, ITEMS // 60) == 0:
            before = clock.now
            assert drainer(dead).drain_once(10).settled == 0
            clock.now = before
    recording_s = time.monotonic() - started_s
    assert len(dead.calls) >= 60
    assert count(store, "SELECT count(*) FROM outbox WHERE state = 'pending'") == ITEMS

    # It is back.
    with Sandbox.open(tmp_path / "sandbox", port=port) as sandbox:
        sandbox.add_list(canary_list(tmp_path / "canaries.csv"))
        sandbox.start()
        alive = Watched(make_confirmer(Config.from_env(sandbox.env).service), clock)
        back_at, started_s = clock.now, time.monotonic()
        while True:
            report = drainer(alive).run_until_empty()
            if not count(store, "SELECT count(*) FROM outbox WHERE state = 'pending'"):
                break
            # Items that were tried in the hour wait out their own pauses.
            clock.now += timedelta(seconds=60)
            assert not report.problem
        draining_s = time.monotonic() - started_s

    listed = len(range(0, ITEMS, LISTED_EVERY))
    assert count(store, "SELECT count(*) FROM outbox WHERE state = 'settled'") == ITEMS
    assert count(store, "SELECT count(*) FROM follow_up") == ITEMS
    assert count(store, "SELECT count(DISTINCT encounter_id) FROM follow_up") == ITEMS
    assert count(store, "SELECT count(*) FROM follow_up WHERE outcome = 'matched'") == listed
    assert count(store, "SELECT count(*) FROM encounter_hit WHERE confirmed = 1") == listed
    assert len(application.told) == ITEMS
    assert set(application.told.values()) == {1}, "the application heard of each item once"
    assert fullest_second(dead.calls) <= CALLS_PER_S + 1
    assert fullest_second(alive.calls) <= CALLS_PER_S + 1
    assert len(alive.calls) <= ITEMS / 100 * 1.2 + 10, "asked in batches"
    assert verify_audit(store).why == ""
    figures = {
        "items": ITEMS,
        "calls_in_vain": len(dead.calls),
        "calls_to_drain": len(alive.calls),
        "fullest_second": fullest_second(alive.calls),
        "drained_after_s_of_the_simulated_clock": round((clock.now - back_at).total_seconds()),
        "recording_s": round(recording_s, 1),
        "draining_s": round(draining_s, 1),
    }
    sys.stdout.write(json.dumps(figures) + "\n")  # shown by -s: the figures of the long test
    store.close()


def fullest_second(calls: Sequence[float]) -> int:
    """Most calls within any one second."""
    most = start = 0
    for end, moment in enumerate(calls):
        while calls[start] <= moment - 1.0:
            start += 1
        most = max(most, end - start + 1)
    return most


def count(store: SqliteStore, sql: str) -> int:
    with store.transaction() as tx:
        return int(tx.query(sql)[0][0])


def canary_list(path: Path) -> Path:
    rows = ["algorithm,value,quality,list,source,scheme,code"]
    rows += [f"sha256,{canary(number).hex},100,canaries,tests,," for number in range(0, ITEMS, LISTED_EVERY)]
    path.write_text("\n".join(rows) + "\n")
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
