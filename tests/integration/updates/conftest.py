"""A real HTTP server over a real repository, with faults to choose."""

import functools
import hashlib
import http.server
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from iii_client.config import FilterConfig, Secret
from iii_client.model import Algorithm, Fingerprint, HashValue
from iii_client.publisher import FilterRepository, ListEntry
from iii_client.updates import LiveFilter, Updater

#: Answers a request in place of the folder; returns False to let the folder answer.
Fault = Callable[["Handler"], bool]


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the repository's public folder, with ranges, behind whatever fault the server has."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "RepositoryServer"

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        self.server.authorizations.append(self.headers.get("Authorization", ""))
        if self.server.fault is None or not self.server.fault(self):
            self.answer_from_folder()

    def answer_from_folder(self) -> None:
        path = Path(self.translate_path(self.path))
        content = path.read_bytes() if path.is_file() else b"not here"
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        if not path.is_file():
            self.answer(404, content)
        elif not start or not self.server.ranges:
            self.answer(200, content)
        elif start >= len(content):
            self.answer(416, b"")
        else:
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.answer(206, content[start:], {"Content-Range": span})

    def answer(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, *, declared: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if declared is None else declared))
        self.end_headers()
        self.server.bytes_sent += len(body)
        self.wfile.write(body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return format_datetime(datetime.now(UTC) + self.server.date_shift, usegmt=True)

    def log_message(self, *_: object) -> None:
        pass


class RepositoryServer(http.server.ThreadingHTTPServer):
    """Holds the fault and what was asked."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        self.fault: Fault | None = None
        self.ranges = True
        self.date_shift = timedelta(0)
        self.requests: list[str] = []
        self.authorizations: list[str] = []
        self.bytes_sent = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is what these tests are about."""


@dataclass
class Chain:
    """A publisher, its server, and a client with its own state directory."""

    folder: Path
    repository: FilterRepository
    server: RepositoryServer
    root: Path
    config: FilterConfig
    state_dir: Path
    _servers: list[RepositoryServer] = field(default_factory=list)

    @property
    def updater(self) -> Updater:
        return Updater(self.config, self.state_dir)

    def publish(self, *names: str) -> None:
        self.repository.publish_base([listed(name) for name in names])

    def finds(self, *names: str) -> list[bool]:
        filters = LiveFilter(self.updater.store).current()
        return [bool(hits.candidates) for hits in filters.look_up([item(name) for name in names])]

    def live(self) -> LiveFilter:
        return LiveFilter(self.updater.store)


def digest(name: str) -> HashValue:
    return HashValue(algorithm=Algorithm.SHA256, value=hashlib.sha256(name.encode()).digest())


def listed(name: str) -> ListEntry:
    return ListEntry(hash=digest(name), quality=100, list_name="list", source="body")


def item(name: str) -> Fingerprint:
    return Fingerprint(recipe="fast-v1", size_bytes=1, kind="unknown", digests=(digest(name),))


ChainMaker = Callable[..., Chain]


@pytest.fixture
def make_chain(tmp_path: Path) -> Iterator[ChainMaker]:
    servers = []

    def make(name: str = "chain", *, clock_shift: timedelta = timedelta(0), practice: bool = False) -> Chain:
        folder = tmp_path / name
        repository = FilterRepository.open_or_create(
            folder / "repository",
            keys_dir=folder / "keys",
            practice=practice,
            clock=lambda: datetime.now(UTC) + clock_shift,
        )
        server = RepositoryServer(repository.public_dir)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        root = folder / "root.json"
        root.write_bytes(repository.root_bytes)
        config = FilterConfig(
            url=server.url, root=str(root), username="hoster", password=Secret("correct horse")
        )
        return Chain(folder, repository, server, root, config, folder / "state")

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def chain(make_chain: ChainMaker) -> Chain:
    """A published list of two files."""
    made = make_chain()
    made.publish("a", "b")
    return made


def trickle(handler: Handler) -> bool:
    """One byte at a time, for ever."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    while True:
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(0.02)
