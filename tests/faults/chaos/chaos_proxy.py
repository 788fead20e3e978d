"""A proxy between client and service that misbehaves as it is told: what networks and services do at night.

    client ──► ChaosProxy ──► service
                  │
               fault(exchange): answers, or not, or wrongly

A fault is a function of one exchange, so each is a few lines; `proxy.fault` may be changed at any time.
"""

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from tests.http_messages import read_message

Fault = Callable[["Exchange"], None]


class Exchange:
    """One request that came in, and the client that waits for its answer."""

    def __init__(self, client: socket.socket, request: bytes, service: tuple[str, int]) -> None:
        self.client = client
        self._request = request
        self._service = service

    def answer(self) -> bytes:
        """What the service really says."""
        with socket.create_connection(self._service, timeout=10) as upstream:
            upstream.sendall(self._request)
            return read_message(upstream)

    def say(self, data: bytes) -> None:
        """Send bytes to the client."""
        self.client.sendall(data)


class ChaosProxy:
    """Listens on a free loopback port. Use it as a context manager.

    Args:
        service: host and port that it stands in front of.
        certificate: a PEM file with key, to speak TLS with the client; may be changed at any time.
    """

    def __init__(self, service: tuple[str, int], *, certificate: Path | None = None) -> None:
        self.fault: Fault = healthy
        self.certificate = certificate
        self.requests = 0
        self._service = service
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._clients: set[socket.socket] = set()

    @property
    def url(self) -> str:
        """Where clients connect to."""
        scheme = "https" if self.certificate else "http"
        return f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._listener.close()
        self.hang_up()

    def hang_up(self) -> None:
        """Close every connection that is open, as a restart does."""
        for client in list(self._clients):
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._clients.add(client)
        # The client hangs up whenever it has had enough: that is what is being tested.
        with client, contextlib.suppress(OSError):
            secured = self._secured(client)
            with secured:
                while request := read_message(secured):
                    self.requests += 1
                    self.fault(Exchange(secured, request, self._service))
        self._clients.discard(client)

    def _secured(self, client: socket.socket) -> socket.socket:
        if self.certificate is None:
            return client
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        return context.wrap_socket(client, server_side=True)


# --- faults ----------------------------------------------------------------------------------------------


def healthy(exchange: Exchange) -> None:
    """Hand the service's answer on."""
    exchange.say(exchange.answer())


def latency(seconds: float) -> Fault:
    """Answer late."""

    def fault(exchange: Exchange) -> None:
        answer = exchange.answer()
        time.sleep(seconds)
        exchange.say(answer)

    return fault


def cut(at_byte: int) -> Fault:
    """Close the connection after so many bytes of the answer; a negative number counts from its end."""

    def fault(exchange: Exchange) -> None:
        exchange.say(exchange.answer()[:at_byte])
        exchange.client.shutdown(socket.SHUT_RDWR)

    return fault


def trickle(bytes_per_s: float) -> Fault:
    """Send the answer one byte at a time."""

    def fault(exchange: Exchange) -> None:
        for byte in exchange.answer():
            exchange.say(bytes([byte]))
            time.sleep(1 / bytes_per_s)

    return fault


def silence(exchange: Exchange) -> None:
    """Take the request and never answer."""
    exchange.client.recv(1)


def reset(exchange: Exchange) -> None:
    """Answer with a TCP reset."""
    exchange.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    exchange.client.close()


def wrong_length(by: int) -> Fault:
    """Declare more or fewer bytes than there are."""

    def fault(exchange: Exchange) -> None:
        head, _, body = exchange.answer().partition(b"\r\n\r\n")
        declared = b"content-length: %d" % len(body)
        exchange.say(head.replace(declared, b"content-length: %d" % (len(body) + by)) + b"\r\n\r\n" + body)
        exchange.client.shutdown(socket.SHUT_RDWR)

    return fault


def says(status: str, body: bytes = b"", *headers: str) -> Fault:
    """Answer with something else."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    answer = "\r\n".join(lines).encode() + body
    return lambda exchange: exchange.say(answer)


def endless(exchange: Exchange) -> None:
    """An answer that does not end."""
    exchange.say(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while True:
        exchange.say(b" " * 65536)


def no_http(exchange: Exchange) -> None:
    """Something that is not HTTP at all."""
    exchange.say(b"SSH-2.0-OpenSSH_9.2\r\n")
    exchange.client.shutdown(socket.SHUT_RDWR)
