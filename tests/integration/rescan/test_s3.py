"""A bucket of a real S3 server: moto's, or the one that III_TEST_S3_URL names (with AWS_… for its login).

It is throttled by a proxy of ours, and holds names that strangers chose.
"""

import http.client
import http.server
import importlib.util
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.rescan_site import Site

from iii_client.rescan import Rescan, RunDone
from iii_client.rescan.inventory import open_inventory

s3fs = pytest.importorskip("s3fs", reason="the extra [s3] is not installed")

#: moto takes no line breaks in a name.
ODD_NAMES = ("a//b.png", "caf\u00e9 +%20#?*[.png", "::chain.png", "-.png", "tab\t.png")
#: Every n-th request for an object is refused with 503.
THROTTLE_EVERY = 5


def moto() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while socket.socket().connect_ex(("127.0.0.1", port)):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    yield f"http://127.0.0.1:{port}"
    server.kill()
    server.wait()


class Throttled(http.server.ThreadingHTTPServer):
    """Hands requests on, and refuses some; counts those for objects."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = urlsplit(target).netloc
        self.objects = self.refused = 0
        self.on = False
        self.lock = threading.Lock()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Throttled

    def do_GET(self) -> None:
        is_object = "list-type" not in self.path and self.path.count("/") > 1
        with self.server.lock:
            self.server.objects += is_object
            refuse = self.server.on and is_object and self.server.objects % THROTTLE_EVERY == 0
            self.server.refused += refuse
        if refuse:
            self._answer(503, b"<Error><Code>SlowDown</Code></Error>", {})
            return
        onward = http.client.HTTPConnection(self.server.target)
        # The signature covers the Host header, which must stay that of the client's request.
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        onward.request(self.command, self.path, body, dict(self.headers))
        answer = onward.getresponse()
        self._answer(answer.status, answer.read(), dict(answer.getheaders()))
        onward.close()

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        length = headers.get("Content-Length", str(len(body))) if self.command == "HEAD" else str(len(body))
        for name, value in headers.items():
            if name.lower() not in {"content-length", "transfer-encoding", "connection", "date", "server"}:
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server_url() -> Iterator[str]:
    if url := os.environ.get("III_TEST_S3_URL"):
        yield url
    elif importlib.util.find_spec("moto") is not None:
        yield from moto()
    else:
        pytest.skip("neither moto nor III_TEST_S3_URL is here")


@pytest.fixture
def proxy(server_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Throttled]:
    proxy = Throttled(server_url)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    # How an operator tells the driver: the command has no options for logins.
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.server_port}")
    for name, value in {
        "ACCESS_KEY_ID": "test",
        "SECRET_ACCESS_KEY": "test",
        "DEFAULT_REGION": "us-east-1",
    }.items():
        if f"AWS_{name}" not in os.environ:
            monkeypatch.setenv(f"AWS_{name}", value)
    yield proxy
    proxy.shutdown()
    proxy.server_close()


def test_a_throttled_bucket_of_odd_names_adds_up(site: Site, proxy: Throttled) -> None:
    fs = s3fs.S3FileSystem(skip_instance_cache=True)
    bucket = f"iii-{secrets.token_hex(4)}"
    fs.mkdir(bucket)

    def put(key: str, data: bytes) -> None:
        fs.call_s3("put_object", Bucket=bucket, Key=f"up/{key}", Body=data)

    listed = (site.pictures / "user0" / "00.png").read_bytes()
    for name in ODD_NAMES:
        put(name, listed)
    for number, path in enumerate(sorted(site.pictures.glob("user2/*.png"))):
        put(f"plain/{number}.png", path.read_bytes())
    put("empty.png", b"")
    put("folder/", b"")
    put("vanishes.png", listed)
    fs.call_s3("put_object", Bucket=bucket, Key="other/not-ours.png", Body=listed)

    entries = list(open_inventory(f"s3://{bucket}/up").entries(""))
    assert len(entries) == len(ODD_NAMES) + 8 + 2
    for number, entry in enumerate(entries):
        rest = open_inventory(f"s3://{bucket}/up").entries(entry.cursor)
        assert [e.key for e in rest] == [e.key for e in entries[number + 1 :]]

    proxy.on = True
    rescan = Rescan.start(site.config, job="job", roots=[f"s3://{bucket}/up"], chunk_items=4, jobs=1)
    running = rescan.run()
    next(running)
    # By now it is listed; the listing of a large bucket is hours old.
    fs.call_s3("delete_object", Bucket=bucket, Key="up/vanishes.png")
    assert list(running)[-1] == RunDone(finished=True)
    status = rescan.ledger.status()
    assert (status.items, status.matched, status.no_match, status.unscannable, status.failed) == (
        len(entries),
        len(ODD_NAMES),
        8,
        2,
        0,
    ), [row[1:6] for row in rescan.ledger.exceptions()]
    assert status.reasons == {"empty": 1, "unreadable": 1, "vanished": 1}
    assert proxy.refused > 0
