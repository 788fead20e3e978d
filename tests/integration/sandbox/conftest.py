"""A running practice service with a few pictures, and raw HTTP to ask it."""

import base64
import http.client
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from skimage import data

from iii_client.sandbox import Sandbox


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class RawHttp:
    """Sends what it is told and follows nothing: the contract as any client in any language sees it."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    def login(self, part: str = "SERVICE", *, password: str | None = None) -> dict[str, str]:
        env = self.sandbox.env
        word = env[f"III_{part}_PASSWORD"] if password is None else password
        pair = f"{env[f'III_{part}_USERNAME']}:{word}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}

    def __call__(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        anonymous: bool = False,
    ) -> Reply:
        connection = http.client.HTTPConnection(self.sandbox.url.removeprefix("http://"), timeout=10)
        try:
            login = {} if anonymous else self.login()
            connection.request(method, path, body or None, {**login, **(headers or {})})
            response = connection.getresponse()
            return Reply(
                status=response.status,
                headers={name.lower(): value for name, value in response.getheaders()},
                body=response.read(),
            )
        finally:
            connection.close()


def pictures() -> list[Path]:
    """Listed pictures."""
    return [Path(data.__file__).parent / name for name in ("rocket.jpg", "coffee.png")]


@pytest.fixture(scope="package")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox.open(tmp_path_factory.mktemp("practice")) as service:
        service.add_pictures(pictures(), source="example-body", categories=[("example-scheme", "1")])
        service.publish()
        service.start()
        yield service


@pytest.fixture
def ask(sandbox: Sandbox) -> RawHttp:
    return RawHttp(sandbox)


@pytest.fixture
def listed_picture() -> Path:
    return pictures()[0]
