"""The door itself, against real sockets: TLS, credentials, reuse, threads, forks."""

import base64
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import pytest
from tests.certificates import self_signed
from tests.http_messages import read_message

from iii_client.config import Secret
from iii_client.errors import ConfigurationError, ConnectError, ServiceTimeoutError
from iii_client.service import deadline as deadline_module
from iii_client.service.deadline import MAX_LOOKUPS, Deadline, look_up
from iii_client.service.http import HttpClient
from iii_client.service.wire import WireRequest

REQUEST = WireRequest(method="POST", path="/v1/check/sha1", body=b"00" * 20, max_answer_bytes=100)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue"
Script = Callable[[socket.socket], None]


class Server(Protocol):
    """What these tests use of the fixture's servers."""

    requests: list[bytes]

    @property
    def url(self) -> str: ...


StartServer = Callable[[Script], Server]


def say_true(connection: socket.socket) -> None:
    connection.sendall(OK)


def ask(client: HttpClient) -> bytes:
    return client.exchange(REQUEST, deadline=Deadline.after(5))


def test_credentials_go_as_basic_in_utf_8(lying_server: StartServer) -> None:
    server = lying_server(say_true)
    client = HttpClient(server.url, username="hôster", password=Secret("wørd€"))
    assert ask(client) == b"true"
    expected = base64.b64encode("hôster:wørd€".encode())
    assert b"Authorization: Basic " + expected in server.requests[0]
    assert "wørd€" not in repr(client)


def test_without_a_username_no_credentials_are_looked_for(
    lying_server: StartServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server = lying_server(say_true)
    ask(HttpClient(server.url))
    assert b"authorization" not in server.requests[0].lower()


def test_cookies_are_not_kept(lying_server: StartServer) -> None:
    server = lying_server(
        lambda c: c.sendall(b"HTTP/1.1 200 OK\r\nSet-Cookie: track=me\r\nContent-Length: 4\r\n\r\ntrue")
    )
    client = HttpClient(server.url)
    ask(client)
    ask(client)
    assert len(server.requests) == 2
    assert b"track" not in server.requests[1]


def test_a_connection_is_used_again(lying_server: StartServer) -> None:
    ports: list[int] = []

    def remember(connection: socket.socket) -> None:
        ports.append(connection.getpeername()[1])
        connection.sendall(OK)

    client = HttpClient(lying_server(remember).url)
    for _ in range(3):
        ask(client)
    assert len(ports) == 3
    assert len(set(ports)) == 1


def test_a_proxy_of_the_environment_is_used_and_bounded_too(
    lying_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trickle(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            connection.sendall(b"X: y\r\n")
            time.sleep(0.05)

    good, bad = lying_server(say_true), lying_server(trickle)
    monkeypatch.setenv("http_proxy", good.url)
    monkeypatch.delenv("no_proxy", raising=False)
    assert ask(HttpClient("http://service.example")) == b"true"
    assert good.requests[0].startswith(b"POST http://service.example/v1/check/sha1 ")
    monkeypatch.setenv("http_proxy", bad.url)
    started_s = time.monotonic()
    with pytest.raises(ServiceTimeoutError):
        HttpClient("http://service.example").exchange(REQUEST, deadline=Deadline.after(0.3))
    assert time.monotonic() - started_s < 0.4


def test_threads_share_a_client(lying_server: StartServer) -> None:
    client = HttpClient(lying_server(say_true).url)
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(lambda _: ask(client), range(200))) == {b"true"}


def test_a_forked_child_opens_connections_of_its_own(lying_server: StartServer) -> None:
    ports: list[int] = []

    def remember(connection: socket.socket) -> None:
        ports.append(connection.getpeername()[1])
        connection.sendall(OK)

    client = HttpClient(lying_server(remember).url)
    ask(client)
    child = os.fork()
    if child == 0:
        os._exit(0 if ask(client) == b"true" else 1)
    _, status = os.waitpid(child, 0)
    ask(client)
    assert os.waitstatus_to_exitcode(status) == 0
    assert ports[0] == ports[2] != ports[1]


# --- TLS -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key, in one PEM file."""
    return self_signed(tmp_path_factory.mktemp("tls") / "server.pem")


@pytest.fixture
def tls_url(certificate: Path) -> str:
    """A server with that certificate, for one connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener:
            connection, _ = listener.accept()
            try:
                with context.wrap_socket(connection, server_side=True) as secured:
                    read_message(secured)
                    secured.sendall(OK)
            except OSError:
                connection.close()

    threading.Thread(target=serve, daemon=True).start()
    return f"https://127.0.0.1:{listener.getsockname()[1]}"


def test_an_unknown_certificate_is_refused(tls_url: str) -> None:
    with pytest.raises(ConnectError, match="TLS") as caught:
        ask(HttpClient(tls_url))
    assert "III_SERVICE_CA_FILE" in caught.value.hint


def test_a_certificate_of_the_given_ca_file_is_trusted(tls_url: str, certificate: Path) -> None:
    client = HttpClient(tls_url, ca_file=str(certificate))
    assert client.encrypted
    assert ask(client) == b"true"


def test_a_certificate_for_another_name_is_refused(tls_url: str, certificate: Path) -> None:
    client = HttpClient(tls_url.replace("127.0.0.1", "localhost"), ca_file=str(certificate))
    with pytest.raises(ConnectError, match="TLS"):
        ask(client)


@pytest.mark.parametrize("content", [None, "", "not a certificate"])
def test_a_ca_file_that_is_none_is_a_configuration_error(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigurationError, match="CA file"):
        HttpClient("https://service.example", ca_file=str(path))


@pytest.mark.parametrize("url", ["https://", "https://*.example", "https://host:port", "nonsense", ""])
def test_a_url_that_is_none_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigurationError, match="URL"):
        HttpClient(url)


# --- name look-up ----------------------------------------------------------------------------------------


def test_a_name_look_up_that_hangs_is_not_waited_for() -> None:
    release = threading.Event()

    def hang(*args: object, **kwargs: object) -> list[object]:
        release.wait(10)
        return []

    deadline = Deadline.after(0.2)
    with pytest.raises(TimeoutError):
        look_up("service.example", 443, 0.2, resolve=hang)
    assert Deadline.after(0).at_s - deadline.at_s < 0.1
    release.set()


def test_look_ups_that_hang_do_not_pile_up_threads() -> None:
    release = threading.Event()

    def hang(*args: object, **kwargs: object) -> list[object]:
        release.wait(10)
        return []

    before = threading.active_count()
    for _ in range(MAX_LOOKUPS + 10):
        with pytest.raises(TimeoutError):
            look_up("service.example", 443, 0.005, resolve=hang)
    assert threading.active_count() - before <= MAX_LOOKUPS
    release.set()
    for thread in threading.enumerate():
        if thread.name == "iii-lookup":
            thread.join(5)
    assert look_up("127.0.0.1", 443, 1.0) == ["127.0.0.1"]


def test_a_deadline_counts_on_the_clock_that_it_was_given() -> None:
    now_s = 10.0
    deadline = Deadline.after(2, clock=lambda: now_s)
    assert deadline.remaining_s() == 2.0
    now_s = 13.0
    assert deadline.passed
    assert deadline.remaining_s() == 0.0
    assert deadline_module.SHORTEST_TIMEOUT_S > 0


def test_a_passed_deadline_reaches_no_network(lying_server: StartServer) -> None:
    server = lying_server(say_true)
    with pytest.raises(ServiceTimeoutError):
        HttpClient(server.url).exchange(REQUEST, deadline=Deadline.after(0))
    assert server.requests == []
