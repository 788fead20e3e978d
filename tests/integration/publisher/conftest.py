"""A publisher's folder behind the plainest web server there is, and real clients of it."""

import functools
import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from iii_client.config import FilterConfig
from iii_client.model import Algorithm, Fingerprint, HashValue
from iii_client.publisher import FilterRepository, ListEntry
from iii_client.updates import LiveFilter, Updater


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@dataclass
class Clock:
    """A clock that publisher and clients share, moved by hand; it starts at the real time."""

    ahead: timedelta = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Client:
    """A hoster's host."""

    updater: Updater

    def update(self) -> str:
        return str(self.updater.update().release)

    def finds(self, *names: str) -> list[bool]:
        filters = LiveFilter(self.updater.store).current()
        items = [
            Fingerprint(recipe="fast-v1", size_bytes=1, kind="unknown", digests=(digest(name),))
            for name in names
        ]
        return [bool(hits.candidates) for hits in filters.look_up(items)]


@dataclass
class Publication:
    """A publisher, and a web server that knows nothing of it."""

    folder: Path
    url: str
    clock: Clock
    clients: int = field(default=0)

    def open(self) -> FilterRepository:
        return FilterRepository.open_or_create(
            self.folder / "repository", keys_dir=self.folder / "private", clock=self.clock
        )

    def publish(self, *names: str, base: bool | None = None) -> str:
        return str(self.open().publish([listed(name) for name in names], base=base).release)

    def client(self) -> Client:
        self.clients += 1
        root = self.folder / "root.json"
        if not root.exists():
            root.write_bytes(self.open().root_bytes)
        config = FilterConfig(url=self.url, root=str(root))
        return Client(Updater(config, self.folder / f"client-{self.clients}", clock=self.clock))


def digest(name: str) -> HashValue:
    return HashValue(algorithm=Algorithm.SHA256, value=hashlib.sha256(name.encode()).digest())


def listed(name: str) -> ListEntry:
    return ListEntry(hash=digest(name), quality=100, list_name="list", source="body")


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    servers = []

    def start(folder: Path) -> str:
        handler = functools.partial(Handler, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def publication(tmp_path: Path, serve: Callable[[Path], str]) -> Publication:
    return Publication(tmp_path, serve(tmp_path / "repository" / "public"), Clock())
