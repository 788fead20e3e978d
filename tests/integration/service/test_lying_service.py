"""A service that lies, stalls, floods or breaks: the verdict is a reason, and the wait is bounded."""

import contextlib
import gzip
import json
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Protocol

import pytest

from iii_client.config import Secret, ServiceConfig
from iii_client.model import Algorithm, HashValue, Reason, Unanswered
from iii_client.service import ServiceConfirmer, make_confirmer

BUDGET_S = 0.5
#: What the issue allows on top of the budget.
TOLERANCE = 1.1

SHA1 = HashValue(algorithm=Algorithm.SHA1, value=bytes(range(20)))
Script = Callable[[socket.socket], None]


class Server(Protocol):
    """What these tests use of the fixture's servers."""

    requests: list[bytes]

    @property
    def url(self) -> str: ...


StartServer = Callable[[Script], Server]


def confirmer(url: str, protocol: str, timeout_s: float = BUDGET_S) -> ServiceConfirmer:
    return make_confirmer(
        ServiceConfig(
            url=url, protocol=protocol, username="hoster", password=Secret("word"), timeout_s=timeout_s
        )
    )


def answer(body: bytes, *, status: str = "200 OK", head: bytes = b"") -> Script:
    def play(connection: socket.socket) -> None:
        connection.sendall(
            f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n".encode() + head + b"\r\n" + body
        )

    return play


def raw(data: bytes) -> Script:
    """Bytes as they are, then the end of the connection."""

    def play(connection: socket.socket) -> None:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_RDWR)

    return play


def trickle(head: bytes, endless: bytes) -> Script:
    """One byte every 50 ms, for ever: each read succeeds long before any timeout of its own."""

    def play(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(endless)
            time.sleep(0.05)

    return play


def flood(head: bytes) -> Script:
    def play(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(b"a" * 65536)

    return play


def silent(connection: socket.socket) -> None:
    time.sleep(5)


def reset_in_mid_body(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntr")
    time.sleep(0.05)
    # Linger 0 turns the close into a RST.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


LIES = [
    pytest.param(answer(b"TRUE"), Reason.SERVICE_BAD_ANSWER, id="TRUE in capitals"),
    pytest.param(answer(b"<html>true</html>"), Reason.SERVICE_BAD_ANSWER, id="a page with status 200"),
    pytest.param(answer(b""), Reason.SERVICE_BAD_ANSWER, id="an empty body"),
    pytest.param(answer(b"\x00\xff" * 40), Reason.SERVICE_BAD_ANSWER, id="noise as a body"),
    pytest.param(raw(b"garbage\r\n\r\ngarbage"), Reason.SERVICE_BAD_ANSWER, id="noise instead of HTTP"),
    pytest.param(
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        Reason.SERVICE_UNREACHABLE,
        id="a broken chunk",
    ),
    pytest.param(
        answer(gzip.compress(b"true"), head=b"Content-Encoding: gzip\r\n"),
        Reason.SERVICE_BAD_ANSWER,
        id="compressed without being asked",
    ),
    pytest.param(answer(b"a" * 5_000_000), Reason.SERVICE_BAD_ANSWER, id="a huge body"),
    pytest.param(
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n"),
        Reason.SERVICE_BAD_ANSWER,
        id="a huge declared length",
    ),
    pytest.param(
        flood(b"HTTP/1.1 200 OK\r\n\r\n"), Reason.SERVICE_BAD_ANSWER, id="a body without end or length"
    ),
    pytest.param(flood(b"HTTP/1.1 200 OK\r\nX: "), Reason.SERVICE_BAD_ANSWER, id="a header without end"),
    pytest.param(
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntr"), Reason.SERVICE_UNREACHABLE, id="cut"
    ),
    pytest.param(reset_in_mid_body, Reason.SERVICE_UNREACHABLE, id="reset in mid-body"),
    pytest.param(raw(b""), Reason.SERVICE_UNREACHABLE, id="closed without an answer"),
    pytest.param(answer(b"true", status="500 Oops"), Reason.SERVICE_ERROR, id="500 with the body true"),
    pytest.param(answer(b"false", status="404 No"), Reason.SERVICE_ERROR, id="404 with the body false"),
    pytest.param(answer(b"false", status="503 Busy"), Reason.SERVICE_ERROR, id="503"),
    pytest.param(answer(b"", status="204 Nothing"), Reason.SERVICE_ERROR, id="204"),
    pytest.param(answer(b"false", status="401 Who"), Reason.SERVICE_REFUSED, id="401 with the body false"),
    pytest.param(answer(b"false", status="403 No"), Reason.SERVICE_REFUSED, id="403"),
    pytest.param(
        answer(b"", status="429 Slow down", head=b"Retry-After: 86400\r\n"),
        Reason.SERVICE_RATE_LIMITED,
        id="429 with a day to wait",
    ),
    pytest.param(
        answer(b"", status="503 Busy", head=b"Retry-After: Fri, 24 Nov 2056 12:00:00 GMT\r\n"),
        Reason.SERVICE_RATE_LIMITED,
        id="503 with thirty years to wait",
    ),
    pytest.param(silent, Reason.SERVICE_TIMEOUT, id="silence"),
    pytest.param(
        trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"t"),
        Reason.SERVICE_TIMEOUT,
        id="a trickling body",
    ),
    pytest.param(
        trickle(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"), Reason.SERVICE_TIMEOUT, id="trickling headers"
    ),
    pytest.param(trickle(b"HTTP/1.1 2", b"0"), Reason.SERVICE_TIMEOUT, id="a trickling status line"),
]


@pytest.mark.parametrize("protocol", ["v1", "v2"])
@pytest.mark.parametrize(("script", "reason"), LIES)
def test_every_lie_is_unanswered_with_its_reason_within_the_budget(
    lying_server: StartServer, script: Script, reason: Reason, protocol: str
) -> None:
    with contextlib.closing(confirmer(lying_server(script).url, protocol)) as service:
        started_s = time.monotonic()
        confirmation = service.confirm([SHA1])
        waited_s = time.monotonic() - started_s
    (unanswered,) = confirmation.answers
    assert isinstance(unanswered, Unanswered)
    assert unanswered.reason is reason, unanswered.detail
    assert waited_s <= BUDGET_S * TOLERANCE
    assert confirmation.hashes_sent == 1


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_a_days_retry_after_is_reported_and_not_waited_for(lying_server: StartServer, protocol: str) -> None:
    server = lying_server(answer(b"", status="429 Slow", head=b"Retry-After: 864000\r\n"))
    started_s = time.monotonic()
    (unanswered,) = confirmer(server.url, protocol).confirm([SHA1]).answers
    assert time.monotonic() - started_s < BUDGET_S
    assert isinstance(unanswered, Unanswered)
    assert unanswered.retry_after_s == 86_400.0


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_nobody_listens(protocol: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    (unanswered,) = confirmer(f"http://127.0.0.1:{port}", protocol).confirm([SHA1]).answers
    assert isinstance(unanswered, Unanswered)
    assert unanswered.reason is Reason.SERVICE_UNREACHABLE


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 70])
def test_a_host_name_that_leads_nowhere_is_unreachable(host: str) -> None:
    (unanswered,) = confirmer(f"http://{host}", "v2", timeout_s=5).confirm([SHA1]).answers
    assert isinstance(unanswered, Unanswered)
    assert unanswered.reason in {Reason.SERVICE_UNREACHABLE, Reason.SERVICE_TIMEOUT}


def test_a_server_that_never_accepts_is_given_up_in_time() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        with contextlib.ExitStack() as filling:
            # Fill the queue, so that the next connection gets no answer at all.
            for _ in range(4):
                filler = filling.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
            service = confirmer(f"http://127.0.0.1:{listener.getsockname()[1]}", "v2")
            started_s = time.monotonic()
            (unanswered,) = service.confirm([SHA1]).answers
            waited_s = time.monotonic() - started_s
    assert isinstance(unanswered, Unanswered)
    assert unanswered.reason is Reason.SERVICE_TIMEOUT
    assert waited_s <= BUDGET_S * TOLERANCE


def test_a_tls_handshake_that_stalls_is_given_up_in_time(lying_server: StartServer) -> None:
    accepted = threading.Event()

    def stall(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        accepted.set()
        with connection:
            time.sleep(2)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=stall, args=(listener,), daemon=True).start()
        service = confirmer(f"https://127.0.0.1:{listener.getsockname()[1]}", "v2")
        started_s = time.monotonic()
        (unanswered,) = service.confirm([SHA1]).answers
        waited_s = time.monotonic() - started_s
    assert accepted.is_set()
    assert isinstance(unanswered, Unanswered)
    assert unanswered.reason is Reason.SERVICE_TIMEOUT
    assert waited_s <= BUDGET_S * TOLERANCE


def test_a_redirect_is_not_followed_and_its_body_not_read(lying_server: StartServer) -> None:
    other = lying_server(answer(b"false"))
    bomb = gzip.compress(bytes(50_000_000))
    redirecting = lying_server(
        answer(
            bomb,
            status="307 Elsewhere",
            head=f"Location: {other.url}/\r\nContent-Encoding: gzip\r\n".encode(),
        )
    )
    (unanswered,) = confirmer(redirecting.url, "v1").confirm([SHA1]).answers
    assert isinstance(unanswered, Unanswered)
    assert unanswered.reason is Reason.SERVICE_ERROR
    assert other.requests == []


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_a_500_is_asked_once_more_and_then_never_again(lying_server: StartServer, protocol: str) -> None:
    server = lying_server(answer(b"", status="500 Oops"))
    confirmer(server.url, protocol, timeout_s=5).confirm([SHA1])
    assert len(server.requests) == 2


def test_one_retry_is_shared_by_all_calls_of_a_confirmation(
    lying_server: StartServer,
) -> None:
    server = lying_server(answer(b"", status="500 Oops"))
    hashes = [HashValue(algorithm=Algorithm.SHA1, value=bytes([i] * 20)) for i in range(5)]
    confirmer(server.url, "v1", timeout_s=5).confirm(hashes)
    assert len(server.requests) == 6


def test_a_connection_that_broke_once_is_answered_by_the_retry(
    lying_server: StartServer,
) -> None:
    broken = iter([True])

    def break_first(connection: socket.socket) -> None:
        if next(broken, False):
            connection.shutdown(socket.SHUT_RDWR)
        else:
            answer(b"true")(connection)

    service = confirmer(lying_server(break_first).url, "v1", timeout_s=5)
    confirmation = service.confirm([SHA1])
    assert not isinstance(confirmation.answers[0], Unanswered)
    assert confirmation.hashes_sent == 1


@pytest.mark.parametrize("status", ["401 Who", "403 No", "429 Slow"])
def test_after_a_refusal_the_other_hashes_stay_here(lying_server: StartServer, status: str) -> None:
    server = lying_server(answer(b"", status=status))
    hashes = [HashValue(algorithm=Algorithm.SHA1, value=bytes([i] * 20)) for i in range(100)]
    confirmation = confirmer(server.url, "v1", timeout_s=5).confirm(hashes)
    assert all(isinstance(a, Unanswered) for a in confirmation.answers)
    assert confirmation.hashes_sent == len(server.requests) < 20


def test_no_time_left_means_nothing_is_sent(lying_server: StartServer) -> None:
    server = lying_server(answer(b"true"))
    confirmation = confirmer(server.url, "v2").confirm([SHA1], spent_s=BUDGET_S)
    (unanswered,) = confirmation.answers
    assert isinstance(unanswered, Unanswered)
    assert unanswered.reason is Reason.SERVICE_TIMEOUT
    assert confirmation.hashes_sent == 0
    assert server.requests == []


@pytest.mark.parametrize("protocol", ["v1", "v2"])
@pytest.mark.parametrize("script", [answer(b"", status="500 Oops"), answer(SHA1.hex.encode()), raw(b"")])
def test_logs_carry_neither_hash_nor_address_nor_password(
    lying_server: StartServer, script: Script, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = lying_server(script)
    with caplog.at_level(logging.DEBUG, logger="iii_client"):
        confirmation = confirmer(server.url, protocol).confirm([SHA1])
    logged = "\n".join(
        record.getMessage() for record in caplog.records if record.name.startswith("iii_client")
    )
    assert "unconfirmed" in logged
    for secret in (SHA1.hex, SHA1.hex[:12], "127.0.0.1", "word"):
        assert secret not in logged + repr(confirmation)


def test_a_service_that_echoes_the_hash_as_its_error_gets_no_hash_into_the_log(
    lying_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    def echo(connection: socket.socket) -> None:
        body = server.requests[-1].partition(b"\r\n\r\n")[2]
        (asked,) = json.loads(body)["hashes"]
        item = {"id": asked["id"], "error": asked["value"]}
        answer(json.dumps({"confirm_id": "c", "answers": [item]}).encode())(connection)

    server = lying_server(echo)
    with caplog.at_level(logging.DEBUG, logger="iii_client"):
        confirmation = confirmer(server.url, "v2").confirm([SHA1])
    (unanswered,) = confirmation.answers
    assert isinstance(unanswered, Unanswered)
    assert unanswered.reason is Reason.SERVICE_ERROR
    assert "unconfirmed" in caplog.text
    assert SHA1.hex[:12] not in caplog.text + repr(confirmation)
