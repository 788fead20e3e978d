"""Whatever a server answers, byte for byte: a named error, in bounded time, and nothing is installed."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iii_client.config import FilterConfig
from iii_client.errors import IIIError, NoFilterError
from iii_client.publisher import FilterRepository
from iii_client.updates import Updater


@dataclass
class RawServer:
    """Answers every connection with the same bytes."""

    answer: bytes = b""
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                try:
                    while b"\r\n\r\n" not in connection.recv(65536):
                        pass
                    connection.sendall(self.answer)
                except OSError:
                    continue


@pytest.fixture(scope="module")
def server() -> Iterator[RawServer]:
    raw = RawServer()
    threading.Thread(target=raw.serve, daemon=True).start()
    yield raw
    raw.listener.close()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("root")
    repository = FilterRepository.open_or_create(folder / "repository", keys_dir=folder / "keys")
    (folder / "root.json").write_bytes(repository.root_bytes)
    return folder / "root.json"


statuses = st.sampled_from([200, 204, 206, 301, 302, 304, 400, 401, 403, 404, 407, 416, 429, 500, 503, 999])
headers = st.lists(
    st.sampled_from(
        [
            "Content-Length: 10",
            "Content-Length: 99999999999999999999999",
            "Content-Length: -1",
            "Content-Length: \xb2",
            "Content-Length: " + "9" * 5000,
            "Content-Length: 3, 4",
            "Transfer-Encoding: chunked",
            "Transfer-Encoding: gzip",
            "Content-Encoding: gzip",
            "Content-Encoding: \xff",
            "Content-Range: bytes 0-",
            "Location: /",
            "Location: //",
            "Location: http://[",
            "Location: http://127.0.0.1:99999999/",
            "Location: \xff\xfe",
            "Location: javascript:alert(1)",
            "Retry-After: \xb3",
            "Retry-After: " + "9" * 400,
            "Date: Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
            "Date: x",
            "Set-Cookie: a=b; Domain=.",
            "no colon",
            ": empty",
        ]
    ),
    max_size=4,
)
bodies = st.binary(max_size=200) | st.sampled_from(
    [b"{}", b'{"signed": {}}', b"[" * 5000, b"null", b"5\r\nhello\r\n0\r\n\r\n", b"ffffffffffffffff\r\nx"]
)


def as_answer(status: int, lines: list[str], body: bytes) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} X", *lines, "", ""]).encode("latin-1") + body


answers = st.builds(as_answer, statuses, headers, bodies) | st.binary(max_size=200)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answer=answers)
def test_any_answer_is_a_named_error(server: RawServer, root: Path, tmp_path: Path, answer: bytes) -> None:
    server.answer = answer
    url = f"http://127.0.0.1:{server.listener.getsockname()[1]}"
    updater = Updater(FilterConfig(url=url, root=str(root)), tmp_path, deadline_s=5.0)
    with pytest.raises(IIIError) as caught:
        updater.update()
    assert caught.value.hint
    with pytest.raises(NoFilterError):
        updater.store.installed()
