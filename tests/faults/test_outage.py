"""The service is down for an hour of uploads at 200 a second: all are kept, and drained at the agreed rate.

The hour is simulated: the clock moves when something waits. The service is the practice service over real
HTTP; while it is down, nobody listens at its port. 1,000 items by default; III_TEST_OUTAGE_ITEMS=720000 runs
an hour of nothing but hits, III_TEST_OUTAGE_UPLOADS=720000 an hour of uploads through the whole checker, of
which one in a hundred hits (the live service's rate was 4 in 10,000).
"""

import hashlib
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

from iii_client import Config, Updater
from iii_client.config import OutboxConfig
from iii_client.decide import TablePolicy
from iii_client.drain import Drainer
from iii_client.model import (
    Action,
    Algorithm,
    Confirmation,
    Fingerprint,
    HashValue,
    Notice,
    NoticeKind,
    Outcome,
    Remembered,
    UploadContext,
)
from iii_client.parts import Parts
from iii_client.protocols import Confirmer
from iii_client.records import SqliteStore, StateRecorder, Store
from iii_client.records.audit_check import verify_audit
from iii_client.records.pseudonyms import PseudonymKey
from iii_client.sandbox import Sandbox
from iii_client.service import make_confirmer

ITEMS = int(os.environ.get("III_TEST_OUTAGE_ITEMS", "1000"))
UPLOADS = int(os.environ.get("III_TEST_OUTAGE_UPLOADS", "4000"))
#: Of the uploads that go through the whole checker, every so many-th hits.
HIT_EVERY = 100
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


def test_an_hour_of_uploads_through_the_whole_checker_loses_none_that_hit(tmp_path: Path) -> None:
    clock = Clock()
    with Sandbox.open(tmp_path / "sandbox", port=free_port()) as sandbox:
        sandbox.add_list(hit_list(tmp_path / "hits.csv"))
        sandbox.publish()
        sandbox.start()
        # What is measured here is what is kept and asked; a cache of 720,000 files would only fill the disk.
        config = Config.from_env({**sandbox.env, "III_CACHE": "false"})
        Updater(config.filter, config.state_dir).update()
    parts = Parts.from_config(config)
    recorder = StateRecorder(
        parts.store, key=parts.pseudonyms, policy=parts.policy.version, clock=clock, counts_hits=True
    )
    checker = parts.checker(recorder=recorder)
    outcomes: Counter[Outcome] = Counter()
    let_through, started_s, waited_s = 0, time.monotonic(), 0.0
    for start in range(0, UPLOADS, 100):
        clock.now += timedelta(seconds=100 * HOUR_S / UPLOADS)
        numbers = range(start, min(start + 100, UPLOADS))
        before_s = time.monotonic()
        decisions = checker.check(
            [Remembered(fingerprint=upload(number)) for number in numbers],
            [UploadContext(uploader=f"user-{number}", reference=f"obj/{number}") for number in numbers],
        )
        waited_s = max(waited_s, time.monotonic() - before_s)
        outcomes.update(decision.verdict.outcome for decision in decisions)
        for decision in decisions:
            hit = decision.verdict.outcome is Outcome.UNCONFIRMED
            let_through += int(hit and decision.action is Action.ALLOW)
    uploading_s = time.monotonic() - started_s
    hits = len(range(0, UPLOADS, HIT_EVERY))
    assert outcomes == {Outcome.UNCONFIRMED: hits, Outcome.NO_MATCH: UPLOADS - hits}
    assert let_through == 0
    assert count(parts.store, "SELECT count(*) FROM outbox WHERE state = 'pending'") == hits

    application = Application()
    with Sandbox.open(tmp_path / "sandbox", port=int(config.service.url.rpartition(":")[2])) as sandbox:
        sandbox.start()
        alive = Watched(make_confirmer(config.service), clock)
        drainer = Drainer(
            parts.store,
            alive,
            parts.policy,
            config=OutboxConfig(calls_per_s=CALLS_PER_S),
            couriers=[application],
            clock=clock,
            wait=clock.wait,
        )
        while count(parts.store, "SELECT count(*) FROM outbox WHERE state = 'pending'"):
            assert not drainer.run_until_empty().problem
            clock.now += timedelta(seconds=60)
    assert count(parts.store, "SELECT count(*) FROM follow_up WHERE outcome = 'matched'") == hits
    assert len(application.told) == hits
    assert set(application.told.values()) == {1}, "the application heard of each item once"
    assert fullest_second(alive.calls) <= CALLS_PER_S + 1
    assert verify_audit(parts.store).why == ""
    figures = {
        "uploads": UPLOADS,
        "hits": hits,
        "lost": hits - len(application.told),
        "calls_to_drain": len(alive.calls),
        "uploading_s": round(uploading_s, 1),
        "longest_batch_of_100_s": round(waited_s, 2),
    }
    sys.stdout.write(json.dumps(figures) + "\n")
    parts.store.close()


def upload(number: int) -> Fingerprint:
    """A fingerprint as an upload gives it, all three digests; a listed one now and then."""
    if number % HIT_EVERY == 0:
        digests: tuple[HashValue, ...] = (canary(number),)
    else:
        seed = b"innocent %d" % number
        digests = (
            HashValue(algorithm=Algorithm.MD5, value=hashlib.md5(seed).digest()),
            HashValue(algorithm=Algorithm.SHA1, value=hashlib.sha1(seed).digest()),
            HashValue(algorithm=Algorithm.SHA256, value=hashlib.sha256(seed).digest()),
        )
    return Fingerprint(recipe="fast-v2", size_bytes=9, kind="png", digests=digests)


def hit_list(path: Path) -> Path:
    rows = ["algorithm,value,quality,list,source,scheme,code"]
    rows += [f"sha256,{canary(number).hex},100,canaries,tests,," for number in range(0, UPLOADS, HIT_EVERY)]
    path.write_text("\n".join(rows) + "\n")
    return path


def fullest_second(calls: Sequence[float]) -> int:
    """Most calls within any one second."""
    most = start = 0
    for end, moment in enumerate(calls):
        while calls[start] <= moment - 1.0:
            start += 1
        most = max(most, end - start + 1)
    return most


def count(store: Store, sql: str) -> int:
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
