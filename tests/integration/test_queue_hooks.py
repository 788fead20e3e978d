"""The hooks for task queues, with the real libraries: an id in the message, the item in the outbox."""

import json
import logging
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.outbox_items import canary, record, rows, unconfirmed

from iii_client.decide import TablePolicy
from iii_client.drain import Drainer
from iii_client.integrations.queues import MAX_RINGS, Doorbell
from iii_client.model import Algorithm, Confirmation, Decision, HashValue, NotListed, Outcome
from iii_client.records import SqliteStore, Store


class Denies:
    """A stand-in for the service: what matters here is who asks it about what."""

    def __init__(self) -> None:
        self.asked: list[HashValue] = []

    def supports(self, algorithm: Algorithm) -> bool:
        return True

    def confirm(self, hashes: Sequence[HashValue], *, spent_s: float = 0.0) -> Confirmation:
        self.asked += hashes
        return Confirmation(answers=tuple(NotListed(hash=value) for value in hashes), hashes_sent=len(hashes))


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Store]:
    store = SqliteStore(tmp_path / "state.db")
    yield store
    store.close()


@pytest.fixture
def decisions(state: Store, tmp_path: Path) -> list[Decision]:
    return [
        replace(unconfirmed(number), encounter_id=encounter_id)
        for number, encounter_id in enumerate(record(state, tmp_path, range(3)))
    ]


def settled(store: Store) -> int:
    return int(rows(store, "SELECT count(*) FROM outbox WHERE state = 'settled'")[0][0])


class TestCelery:
    @pytest.fixture
    def app(self) -> Any:
        celery = pytest.importorskip("celery")
        app = celery.Celery("tests", broker="memory://", backend="cache+memory://")
        # Its worker would take the log of all other tests away.
        app.conf.worker_hijack_root_logger = False
        return app

    def test_a_message_carries_an_id_alone_and_the_worker_asks(
        self, app: Any, state: Store, decisions: list[Decision]
    ) -> None:
        from celery.contrib.testing.worker import start_worker

        from iii_client.integrations.celery import CeleryHook

        service = Denies()
        drainer = Drainer(state, service, TablePolicy())
        hook = CeleryHook(app, drainer=lambda: drainer, delay_s=0)
        assert hook.ring(decisions[1])
        with app.connection_for_read() as connection:
            message = wait_until(lambda: connection.default_channel.basic_get("celery"))
            assert json.loads(message.body)[0] == [decisions[1].encounter_id]
            connection.default_channel.basic_reject(message.delivery_tag, requeue=True)
        with start_worker(app, perform_ping_check=False, pool="solo"):
            wait_until(lambda: settled(state) == 1)
        assert service.asked == [canary(1)]

    def test_the_sweep_finds_what_the_queue_lost(
        self, app: Any, state: Store, decisions: list[Decision]
    ) -> None:
        from iii_client.integrations.celery import CeleryHook

        drainer = Drainer(state, Denies(), TablePolicy())
        CeleryHook(app, drainer=lambda: drainer)
        entry = app.conf.beat_schedule["iii_client.sweep"]
        app.tasks[entry["task"]].apply(throw=True)
        assert settled(state) == len(decisions)
        assert app.tasks["iii_client.drain_item"].acks_late
        assert app.tasks["iii_client.drain_item"].reject_on_worker_lost


class TestDramatiq:
    @pytest.fixture
    def broker(self) -> Any:
        pytest.importorskip("dramatiq")
        from dramatiq.brokers.stub import StubBroker

        broker = StubBroker()
        broker.emit_after("process_boot")
        return broker

    def test_a_message_carries_an_id_alone_and_the_worker_asks(
        self, broker: Any, state: Store, decisions: list[Decision]
    ) -> None:
        from dramatiq import Worker

        from iii_client.integrations.dramatiq import DramatiqHook

        service = Denies()
        drainer = Drainer(state, service, TablePolicy())
        hook = DramatiqHook(broker, drainer=lambda: drainer, delay_s=0)
        worker = Worker(broker, worker_timeout=100, worker_threads=1)
        worker.start()
        try:
            assert hook.ring(decisions[2])
            wait_until(lambda: settled(state) == 1)
            assert service.asked == [canary(2)]
            hook.sweep.send()
            broker.join("default", timeout=20_000)
            worker.join()
        finally:
            worker.stop()
        assert settled(state) == 3


class TestRq:
    @pytest.fixture
    def redis_port(self, tmp_path: Path) -> Iterator[int]:
        pytest.importorskip("rq")
        server = shutil.which("redis-server")
        if server is None:
            pytest.skip("Debian's redis-server is not installed")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
        process = subprocess.Popen([server, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: _answers(port))
            yield port
        finally:
            process.terminate()
            process.wait(timeout=10)

    def test_a_message_carries_an_id_alone_and_the_worker_asks(
        self, redis_port: int, tmp_path: Path, decisions: list[Decision], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The worker's drainer comes from the environment, which is the only way in; no service is set."""
        from redis import Redis
        from rq import Queue, SimpleWorker

        from iii_client.integrations.rq import RqHook, sweep

        monkeypatch.setenv("III_MODE", "enforce")
        monkeypatch.setenv("III_STATE_DIR", str(tmp_path))
        queue = Queue(connection=Redis(port=redis_port))
        assert RqHook(queue).ring(decisions[0])
        wait_until(lambda: queue.jobs)
        (job,) = queue.jobs
        assert (job.args, job.kwargs) == ((decisions[0].encounter_id,), {})
        queue.enqueue(sweep)
        SimpleWorker([queue], connection=queue.connection).work(burst=True)
        assert queue.failed_job_registry.count == 0
        store = SqliteStore(tmp_path / "state.db")
        attempts = rows(store, "SELECT encounter_id, attempts > 0, last_reason FROM outbox")
        store.close()
        assert len(attempts) == 3
        assert {(tried, reason) for _, tried, reason in attempts} == {(1, "no_service")}

    def test_a_redis_that_is_away_holds_no_upload_up(
        self, decisions: list[Decision], caplog: pytest.LogCaptureFixture
    ) -> None:
        """The client of Redis tries for seconds."""
        pytest.importorskip("rq")
        from redis import Redis
        from rq import Queue

        from iii_client.integrations.rq import RqHook

        # A worker of Celery in this process has left the log at "errors only".
        caplog.set_level(logging.WARNING, logger="iii_client")
        hook = RqHook(Queue(connection=Redis(port=9, socket_connect_timeout=1)))
        started = time.monotonic()
        assert hook.ring(decisions[0])
        assert time.monotonic() - started < 0.5
        wait_until(lambda: "the sweep finds the item" in caplog.text)


def test_a_bell_that_nobody_hears_fills_up_and_holds_nobody_up(decisions: list[Decision]) -> None:
    released = threading.Event()
    bell = Doorbell(lambda _: released.wait(20))
    rung = [bell.ring(decisions[0]) for _ in range(MAX_RINGS + 10)]
    released.set()
    assert rung.count(False) >= 9


def test_nothing_rings_for_a_decision_that_waits_for_nobody(decisions: list[Decision]) -> None:
    rung: list[str] = []
    bell = Doorbell(rung.append)
    assert not bell.ring(replace(decisions[0], encounter_id=""))
    verdict = replace(decisions[0].verdict, outcome=Outcome.MATCHED)
    assert not bell.ring(replace(decisions[0], verdict=verdict))
    assert rung == []


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(true: Callable[[], Any], *, within_s: float = 20.0) -> Any:
    ends = time.monotonic() + within_s
    while not (found := true()):
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.05)
    return found
