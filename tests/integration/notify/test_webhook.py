"""The webhook over real HTTP: signed, bounded in time, followed nowhere, silent about what it carries."""

import hashlib
import hmac
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.outbox_items import NOON

from iii_client.config import NotifyConfig, Secret
from iii_client.errors import ConfigurationError, NotifyError
from iii_client.model import AlarmRaised, Notice
from iii_client.notify import WebhookCourier, make_couriers
from iii_client.notify.webhook import encode_notice, sign

ROOT = Path(__file__).parents[3]
KEY = Secret("a key of the tests, long enough")
NOTICE = Notice(
    id="n-1", message=AlarmRaised(alarm="flood", detail="Sehen Sie nach: ü.", at=NOON), attempts=1
)

Respond = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def application(respond: Respond) -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    taken: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.append(({name.lower(): value for name, value in self.headers.items()}, body))
            respond(self)

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook", taken
        server.shutdown()


def status(code: int, **headers: str) -> Respond:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()

    return respond


def courier(url: str, **options: Any) -> WebhookCourier:
    return WebhookCourier(url, KEY, clock=lambda: NOON, **options)


@pytest.mark.parametrize("code", [200, 202, 204])
def test_a_signed_notice_arrives_and_any_2xx_has_taken_it(code: int) -> None:
    with application(status(code)) as (url, taken):
        courier(url).deliver(NOTICE)
    ((headers, body),) = taken
    assert json.loads(body) == {
        "id": "n-1",
        "kind": "alarm",
        "data": {"alarm": "flood", "detail": "Sehen Sie nach: ü.", "at": "2026-11-24T12:00:00.000+00:00"},
    }
    assert headers["iii-notice-id"] == "n-1"
    assert headers["content-type"] == "application/json"
    # As the reference tells receivers to verify it.
    timestamp = headers["iii-timestamp"]
    assert timestamp == str(int(NOON.timestamp()))
    expected = hmac.new(KEY.reveal().encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    assert headers["iii-signature"] == f"v1={expected}"
    assert "authorization" not in headers


def test_the_snippet_of_the_reference_verifies_what_is_sent_and_nothing_else() -> None:
    page = (ROOT / "docs/reference/outbox.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec(page.split("```python\n")[1].split("```")[0], names)
    verify = names["verify"]
    with application(status(204)) as (url, taken):
        courier(url).deliver(NOTICE)
    ((lowered, body),) = taken
    headers = {name: lowered[name.lower()] for name in ("III-Timestamp", "III-Signature")}
    key, now = KEY.reveal(), NOON.timestamp

    assert verify(headers, body, key, now=now)
    assert not verify(headers, body + b" ", key, now=now)
    assert not verify(headers, body, key + "x", now=now)
    assert not verify(headers, body, key, now=lambda: now() + 301), "old"
    assert not verify({**headers, "III-Timestamp": str(int(now()) + 1)}, body, key, now=now)
    assert not verify({**headers, "III-Timestamp": "x"}, body, key, now=now)


def test_the_signature_depends_on_key_time_and_body() -> None:
    body = encode_notice(NOTICE)
    signatures = {
        sign(body, timestamp="1", key="k"),
        sign(body, timestamp="2", key="k"),
        sign(body, timestamp="1", key="l"),
        sign(body + b" ", timestamp="1", key="k"),
    }
    assert len(signatures) == 4


@pytest.mark.parametrize("code", [400, 401, 404, 410, 500, 503])
def test_any_other_status_means_again(code: int) -> None:
    with (
        application(status(code, Retry_After="120")) as (url, _),
        pytest.raises(NotifyError, match=str(code)) as caught,
    ):
        courier(url).deliver(NOTICE)
    assert caught.value.retry_after_s == 120


def test_a_redirect_is_followed_nowhere() -> None:
    with (
        application(status(204)) as (elsewhere, never),
        application(status(307, Location=elsewhere)) as (url, taken),
    ):
        with pytest.raises(NotifyError, match="307"):
            courier(url).deliver(NOTICE)
        assert len(taken) == 1
        assert never == []


def test_an_answer_that_never_ends_costs_nothing() -> None:
    """The status has taken it; the body is not read, so an endless one holds nobody."""
    done = threading.Event()

    def respond(handler: BaseHTTPRequestHandler) -> None:
        status(200)(handler)
        try:
            while not done.is_set():
                handler.wfile.write(bytes(65536))
        except OSError:
            pass

    with application(respond) as (url, _):
        started = time.monotonic()
        courier(url).deliver(NOTICE)
        done.set()
    assert time.monotonic() - started < 5


def test_a_trickle_of_headers_ends_at_the_deadline() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()

    def trickle() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            try:
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                while not done.wait(0.1):
                    connection.sendall(b"X-A: 1\r\n")
            except OSError:
                pass

    threading.Thread(target=trickle, daemon=True).start()
    started = time.monotonic()
    with pytest.raises(NotifyError, match="in time"):
        courier(f"http://127.0.0.1:{listening.getsockname()[1]}/", timeout_s=0.6).deliver(NOTICE)
    done.set()
    listening.close()
    assert time.monotonic() - started < 2


def test_nobody_there_is_a_named_error_without_the_address() -> None:
    with pytest.raises(NotifyError, match="could not be reached") as caught:
        courier("http://127.0.0.1:9/secret-path").deliver(NOTICE)
    assert "secret-path" not in str(caught.value) + caught.value.hint


def test_no_password_is_taken_from_the_home_directory(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The only door to this file is the environment.
    netrc = tmp_path_factory.mktemp("home") / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with application(status(204)) as (url, taken):
        courier(url).deliver(NOTICE)
    assert "authorization" not in taken[0][0]


def test_a_configuration_without_a_good_key_is_refused() -> None:
    assert make_couriers(NotifyConfig()) == ()
    for key in ("", "short"):
        with pytest.raises(ConfigurationError, match="fewer than 16"):
            make_couriers(NotifyConfig(webhook_url="https://host/x", webhook_key=Secret(key)))


def test_neither_repr_nor_log_shows_address_key_or_content(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="iii_client")
    with application(status(500)) as (url, _):
        sender = courier(url)
        with pytest.raises(NotifyError):
            sender.deliver(NOTICE)
    assert repr(sender) == "WebhookCourier()"
    assert url not in caplog.text
    assert "Sehen Sie" not in caplog.text
