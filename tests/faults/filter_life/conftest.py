"""A repository made by hand behind a real HTTP server, and a client with its own state directory."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from iii_client.config import FilterConfig
from iii_client.errors import IIIError
from iii_client.model import Fingerprint
from iii_client.updates import LiveFilter, RecentNegatives, Updater

from ...integration.updates.conftest import RepositoryServer  # noqa: TID252 - tests are no package on the path
from .forge import Forge, digest


def item(name: str) -> Fingerprint:
    """A file of which only the SHA-256 is known."""
    return Fingerprint(recipe="fast-v1", size_bytes=1, kind="unknown", digests=(digest(name),))


@dataclass
class Host:
    """One client of a forged repository."""

    forge: Forge
    server: RepositoryServer
    state_dir: Path
    config: FilterConfig
    shift: timedelta = timedelta(0)
    alarms: list[tuple[str, str]] = field(default_factory=list)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.shift

    def updater(self, **options: Any) -> Updater:
        alarm = lambda kind, detail: self.alarms.append((kind, detail))  # noqa: E731
        return Updater(self.config, self.state_dir, clock=self.now, alarm=alarm, **options)

    def update(self) -> str:
        return str(self.updater().update().release)

    def installed(self) -> str:
        return str(self.updater().store.verify().id)

    def finds(self, *names: str) -> list[bool]:
        pinned = LiveFilter(self.updater().store, clock=self.now).current()
        return [bool(found.candidates) for found in pinned.look_up([item(name) for name in names])]

    def negatives(self) -> RecentNegatives:
        return RecentNegatives(self.state_dir)

    def refuses(self, kind: type[IIIError], *words: str) -> IIIError:
        """The update raises exactly this, with a hint, and what was installed is whole and in use."""
        store = self.updater().store
        before = self.installed() if (self.state_dir / "filter" / "current").exists() else None
        with pytest.raises(kind) as caught:
            self.update()
        error = caught.value
        assert type(error) is kind, repr(error)
        text = f"{error} {error.hint}"
        assert len(error.hint) > 20
        for word in words:
            assert word in text, text
        assert str(self.state_dir) not in text
        assert "127.0.0.1" not in text
        if before:
            assert str(store.verify().id) == before
        assert not list((self.state_dir / "filter").rglob(".*.new"))
        return error


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """Nothing is published and nothing is installed."""
    forge = Forge(tmp_path / "repository")
    server = RepositoryServer(forge.folder)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    root = tmp_path / "root.json"
    root.write_bytes(forge.root_bytes)
    yield Host(forge, server, tmp_path / "state", FilterConfig(url=server.url, root=str(root)))
    server.shutdown()
    server.server_close()
