"""The examples of web servers, real ones: a login opens what its tier says, and nothing once it is revoked.

nginx and Caddy are Debian packages; where they are not installed the tests are skipped by name. Set
III_TEST_NGINX or III_TEST_CADDY to the path of a binary that is not on the path.
"""

import base64
import contextlib
import http.client
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from iii_client.config import FilterConfig, Secret
from iii_client.errors import AuthenticationError
from iii_client.publisher.access import AccessList
from iii_client.publisher.choices import Tier
from iii_client.updates import Updater

from .conftest import Publication, listed
from .test_publish_and_update import pictures

EXAMPLES = Path(__file__).parents[3] / "examples" / "publisher"
NGINX = os.environ.get("III_TEST_NGINX") or shutil.which("nginx")
CADDY = os.environ.get("III_TEST_CADDY") or shutil.which("caddy")
NOW = datetime(2030, 1, 1, tzinfo=UTC)


@dataclass
class Site:
    """A repository behind a real web server."""

    publication: Publication
    port: int
    access: AccessList

    def add(self, name: str, tier: Tier) -> FilterConfig:
        password = self.access.add(name, tier=tier, now=NOW)
        return self.config(name, password.reveal())

    def config(self, name: str, password: str) -> FilterConfig:
        root = self.publication.folder / "root.json"
        root.write_bytes(self.publication.open().root_bytes)
        return FilterConfig(
            url=f"http://127.0.0.1:{self.port}", root=str(root), username=name, password=Secret(password)
        )

    def status(self, path: str, config: FilterConfig | None = None) -> int:
        headers = {}
        if config:
            login = f"{config.username}:{config.password.reveal()}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(login).decode()}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", path, headers=headers)
            return connection.getresponse().status

    def segment(self) -> str:
        (file,) = (self.publication.folder / "repository/public/targets/near/pdq").iterdir()
        return f"near/pdq/{file.name}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], port: int, log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def site(publication: Publication) -> Iterator[Site]:
    publication.open().publish([listed("a"), *pictures(10_000)])
    folder, port = publication.folder, free_port()
    access = AccessList(folder / "private" / "access.json", folder / "access")
    access.add("placeholder", tier=Tier.ALL, now=NOW)
    text = (EXAMPLES / "nginx.conf").read_text()
    server = "\n".join(line for line in text.splitlines() if "ssl_" not in line)
    server = server.replace("listen 443 ssl", f"listen 127.0.0.1:{port}")
    server = server.replace("/srv/iii-publisher", str(folder))
    temporary = "\n".join(
        f"{name}_temp_path {folder}/tmp-{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # Run by root, as in CI, its workers would be `nobody`, who may not look into a test's folder.
    user = "user root;" if os.getuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; {user} pid {folder}/nginx.pid; error_log {folder}/nginx.log;\n"
        f"events {{}}\nhttp {{ access_log off; {temporary}\n{server}\n}}\n"
    )
    command = [str(NGINX), "-p", str(folder), "-e", str(folder / "nginx.log"), "-c", str(config)]
    with running(command, port, folder / "nginx.out"):
        yield Site(publication, port, access)


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_behind_nginx_each_hoster_fetches_what_its_login_opens_until_it_is_revoked(site: Site) -> None:
    full, exact = site.add("big.example", Tier.ALL), site.add("small.example", Tier.EXACT)
    folder = site.publication.folder
    everything = Updater(full, folder / "full")
    assert str(everything.update().release) == "1.0"
    assert len(everything.store.installed().near) == 1
    with pytest.raises(AuthenticationError):
        Updater(exact, folder / "too-much").update()
    part = Updater(replace(exact, near=False), folder / "exact")
    assert str(part.update().release) == "1.0"
    assert part.store.installed().near == ()
    site.publication.open().publish([listed("a"), listed("b"), *pictures(10_000)])
    site.access.revoke("big.example")
    with pytest.raises(AuthenticationError):
        everything.update()
    assert part.update().changed


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_nginx_shows_nothing_to_strangers_and_near_segments_by_no_detour(site: Site) -> None:
    exact, segment = site.add("small.example", Tier.EXACT), site.segment()
    for path in ("/metadata/timestamp.json", "/metadata/1.root.json", f"/targets/{segment}"):
        assert site.status(path) == 401
    assert site.status("/metadata/timestamp.json", exact) == 200
    for path in (
        f"/targets/{segment}",
        f"/targets/base/../{segment}",
        f"/targets//{segment}",
        f"/metadata/../targets/{segment}",
        f"/targets/%6eear/{segment.removeprefix('near/')}",
    ):
        assert site.status(path, exact) == 401, path
    for path in (
        "/",
        "/targets/",
        "/private/access.json",
        "/../private/access.json",
        "/metadata/..%2f..%2flock",
    ):
        assert site.status(path, exact) in {400, 403, 404}, path


@pytest.mark.skipif(CADDY is None, reason="Caddy is not installed")
def test_behind_caddy_a_login_opens_what_it_should(publication: Publication) -> None:
    publication.open().publish([listed("a"), *pictures(10_000)])
    folder, port = publication.folder, free_port()
    text = (EXAMPLES / "Caddyfile").read_text()
    for placeholder, password in (("BIG.HOSTER", "correct horse"), ("SMALL.HOSTER", "battery staple")):
        hashed = subprocess.run(
            [str(CADDY), "hash-password", "--plaintext", password], capture_output=True, text=True, check=True
        ).stdout.strip()
        text = text.replace(f"$2a$14$REPLACE.{placeholder}", hashed)
    text = text.replace("filter.example.org {", f"http://127.0.0.1:{port} {{")
    config = folder / "Caddyfile"
    config.write_text(
        "{\n\tadmin off\n\tauto_https off\n}\n" + text.replace("/srv/iii-publisher", str(folder))
    )
    command = [str(CADDY), "run", "--config", str(config), "--adapter", "caddyfile"]
    with running(command, port, folder / "caddy.out"):
        site = Site(publication, port, AccessList(folder / "unused.json", folder / "unused"))
        full = site.config("big-hoster.example", "correct horse")
        exact = site.config("small-hoster.example", "battery staple")
        segment = site.segment()
        assert site.status("/metadata/timestamp.json") == 401
        assert site.status(f"/targets/{segment}", full) == 200
        for path in (segment, f"base/../{segment}", f"/{segment}", f"%6eear/{segment.removeprefix('near/')}"):
            assert site.status(f"/targets/{path}", exact) in {401, 404, 308}, path
        assert site.status("/lock", full) == 404
        assert str(Updater(full, folder / "full").update().release) == "1.0"
        part = Updater(replace(exact, near=False), folder / "exact")
        assert str(part.update().release) == "1.0"
