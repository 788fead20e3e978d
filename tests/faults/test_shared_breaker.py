"""One breaker for all worker processes, over a real database and a real HTTP server."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from iii_client.config import ServiceConfig
from iii_client.model import Algorithm, HashValue, Reason, Unanswered
from iii_client.model.breakers import BreakerState
from iii_client.records import Store
from iii_client.records.breakers import Breakers
from iii_client.service import GuardedConfirmer, endpoint_of, make_confirmer
from iii_client.service.breaker import OPEN_AFTER

HASH = HashValue(algorithm=Algorithm.SHA256, value=bytes(32))
WORKERS = 8
#: How long the service takes: long enough that all workers ask meanwhile.
SLOW_S = 0.4


class Service(ThreadingHTTPServer):
    """Answers every request alike, slowly, and counts."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 500
        self.headers: dict[str, str] = {}
        self.asked = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def config(self) -> ServiceConfig:
        return ServiceConfig(url=f"http://127.0.0.1:{self.server_port}", timeout_s=5)


class _Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        self.server.asked += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(SLOW_S)
        self.send_response(self.server.status)
        for name, value in {"Content-Length": "0", **self.server.headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as server:
        yield server
        server.shutdown()


def ask(service: Service, store: Store, *, ahead_s: float = 0) -> Reason:
    """One confirmation of a worker; why there is no answer."""
    guarded = GuardedConfirmer(
        make_confirmer(service.config),
        endpoint=endpoint_of(service.config),
        breaker=Breakers(store),
        clock=lambda: datetime.now(UTC) + timedelta(seconds=ahead_s),
    )
    (answer,) = guarded.confirm([HASH]).answers
    assert isinstance(answer, Unanswered)
    return answer.reason


def in_workers(work: Callable[[], Reason]) -> list[Reason]:
    """What processes of their own got, all started at once."""
    reader, writer = os.pipe()
    children = []
    for _ in range(WORKERS):
        child = os.fork()
        if child == 0:
            try:
                os.write(writer, f"{work().value}\n".encode())
            finally:
                os._exit(0)
        children.append(child)
    os.close(writer)
    for child in children:
        os.waitpid(child, 0)
    with os.fdopen(reader) as lines:
        return [Reason(line.strip()) for line in lines]


def test_of_all_workers_of_all_processes_one_probes(service: Service, store: Store) -> None:
    endpoint = endpoint_of(service.config)
    Breakers(store).apply(endpoint, lambda _: (None, BreakerState(failures=OPEN_AFTER, open_until_ms=1)))
    store.close()
    reasons = in_workers(lambda: ask(service, store))
    assert sorted(reasons) == [Reason.SERVICE_ERROR, *[Reason.SERVICE_PAUSED] * (WORKERS - 1)]
    # The probe and its one retry.
    assert service.asked == 2


def test_a_wait_that_one_process_was_told_is_kept_by_the_others_and_after_a_restart(
    service: Service, store: Store
) -> None:
    service.status, service.headers = 429, {"Retry-After": "3600"}
    assert ask(service, store) is Reason.SERVICE_RATE_LIMITED
    store.close()
    assert in_workers(lambda: ask(service, store)) == [Reason.SERVICE_PAUSED] * WORKERS
    assert in_workers(lambda: ask(service, store, ahead_s=3590)) == [Reason.SERVICE_PAUSED] * WORKERS
    assert service.asked == 1
    assert ask(service, store, ahead_s=3601) is Reason.SERVICE_RATE_LIMITED


def test_failures_in_different_processes_add_up(service: Service, store: Store) -> None:
    store.close()
    reasons = in_workers(lambda: ask(service, store))
    # All asked at once, before any failed; one more opening does not follow from each.
    assert set(reasons) <= {Reason.SERVICE_ERROR, Reason.SERVICE_PAUSED}
    state = Breakers(store).get(endpoint_of(service.config))
    assert state.failures == OPEN_AFTER
    assert state.open_until_ms > 0
