"""A real server: a client that goes away midway, a large upload in little memory, workers that are forked."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from django.test import override_settings

HANDLER = "iii_client.integrations.django.uploads.HashingUploadHandler"

#: Of a large upload: only so much may be added to what the process has, in bytes.
MOST_ADDED = 20 << 20


def test_an_upload_of_200_mb_adds_less_than_20_mb(site: Any, tmp_path: Path) -> None:
    size = 200 << 20
    if shutil.disk_usage(tmp_path).free < 3 * size:
        pytest.skip("not enough disk for a large upload")
    # In a process of its own, because memory is a process's.
    script = Path(__file__).with_name("large_upload.py")
    done = subprocess.run(
        [sys.executable, str(script), json.dumps(site.client_settings), str(site.media), str(size)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["status"] == 200, told
    (stored,) = [path for path in site.media.rglob("*") if path.is_file() and path.stat().st_size == size]
    stored.unlink()
    assert told["added"] < MOST_ADDED, f"{told['added'] / 2**20:.1f} MiB"


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(site: Any) -> Iterator[tuple[str, int]]:
    """Django's own threaded server in this process."""
    with override_settings(FILE_UPLOAD_HANDLERS=[HANDLER]):
        httpd = ThreadedWSGIServer(("127.0.0.1", 0), Quiet, ipv6=False)
        httpd.set_app(get_wsgi_application())
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        yield ("127.0.0.1", httpd.server_port)
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def body_of(data: bytes) -> bytes:
    head = b'--B\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\n\r\n'
    return head + data + b"\r\n--B--\r\n"


def request_head(path: str, length: int) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n"
        "Content-Type: multipart/form-data; boundary=B\r\n\r\n"
    ).encode()


def exchange(address: tuple[str, int], sent: bytes, *, cut: bool = False) -> bytes:
    with socket.create_connection(address, timeout=30) as client:
        client.sendall(sent)
        if cut:
            client.shutdown(socket.SHUT_WR)
        received = b""
        while part := client.recv(65536):
            received += part
        return received


@pytest.mark.parametrize("padding", [0, 3_000_000])
def test_a_client_that_goes_away_midway_has_uploaded_nothing(
    site: Any, pictures: Any, server: tuple[str, int], padding: int
) -> None:
    """Half a listed picture is no innocent one: nothing of it is decided, recorded or stored."""
    body = body_of(pictures.listed + bytes(padding))
    half = request_head("/form/", len(body)) + body[: len(body) // 2]
    exchange(server, half, cut=True)
    assert (site.stored(), site.encounters()) == ([], [])
    whole = exchange(server, request_head("/form/", len(body)) + body)
    assert whole.startswith(b"HTTP/1.1 400"), "the server still serves, and refuses the whole one"
    assert site.encounters("outcome") == [("matched",)]


def test_a_refusal_over_http_is_422_and_neutral(site: Any, pictures: Any, server: tuple[str, int]) -> None:
    body = body_of(pictures.listed)
    answer = exchange(server, request_head("/storage/", len(body)) + body)
    assert answer.startswith(b"HTTP/1.1 422")
    assert re.search(rb"This file cannot be taken\. Reference: [\w-]{14}\. Questions: ", answer)


def test_workers_that_were_forked_after_an_upload_scan_too(site: Any, pictures: Any) -> None:
    """As under gunicorn --preload, where the application is loaded, and perhaps used, before the fork."""
    from django.core.files.base import ContentFile

    from iii_client.integrations.django.scanning import scan_upload

    with site.changed(isolation="on"):
        assert scan_upload(ContentFile(pictures.innocent)).allowed
        children = []
        for _ in range(3):
            child = os.fork()
            if not child:
                code = 1
                try:
                    refused = not scan_upload(ContentFile(pictures.listed)).allowed
                    code = 0 if refused and scan_upload(ContentFile(pictures.innocent)).allowed else 2
                finally:
                    os._exit(code)
            children.append(child)
        assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]
    assert site.encounters() == [("matched", "block")] * 3
