"""Servers that lie, made of bare sockets: each plays a script on every connection that it accepts."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from tests.http_messages import read_message

#: Plays one connection. The request was read; returning closes the connection.
Script = Callable[[socket.socket], None]


class LyingServer:
    """Listens on a free loopback port and plays its script. Keeps what it was sent."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open = True
        self.requests: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self._open = False
        self._listener.close()

    def _accept(self) -> None:
        while self._open:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._play, args=(connection,), daemon=True).start()

    def _play(self, connection: socket.socket) -> None:
        # The client hangs up whenever it has had enough: that is what is being tested.
        with connection, contextlib.suppress(OSError):
            while request := read_message(connection):
                self.requests.append(request)
                self._script(connection)


@pytest.fixture
def lying_server() -> Iterator[Callable[[Script], LyingServer]]:
    """Starts servers; closes them all at the end."""
    servers: list[LyingServer] = []

    def start(script: Script) -> LyingServer:
        servers.append(LyingServer(script))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
