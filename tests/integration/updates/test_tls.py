"""Certificates are always verified: an unknown authority is refused, a named one is enough."""

import dataclasses
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.certificates import self_signed

from iii_client.errors import ConfigurationError, ConnectError

from .conftest import Chain, RepositoryServer


@pytest.fixture(params=["127.0.0.1"])
def https(chain: Chain, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Serve the chain's repository over TLS too; the chain's client is pointed there."""
    pem = self_signed(tmp_path / "server.pem", request.param)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server = RepositoryServer(chain.repository.public_dir)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    chain.config = dataclasses.replace(chain.config, url=f"https://127.0.0.1:{server.server_port}")
    yield pem
    server.shutdown()
    server.server_close()


def test_an_unknown_authority_is_refused(chain: Chain, https: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    with pytest.raises(ConnectError, match="not trusted") as caught:
        chain.updater.update()
    assert "REQUESTS_CA_BUNDLE" in caught.value.hint


def test_an_authority_that_the_environment_names_is_trusted(
    chain: Chain, https: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(https))
    assert chain.updater.update().changed
    assert chain.finds("a", "c") == [True, False]


@pytest.mark.parametrize("https", ["127.0.0.2"], indirect=True)
def test_a_certificate_for_another_host_is_refused(
    chain: Chain, https: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(https))
    with pytest.raises(ConnectError, match="not trusted"):
        chain.updater.update()


def test_a_bundle_of_authorities_that_is_missing_is_named(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "nothing.pem"))
    with pytest.raises(ConfigurationError, match="certificate authorities"):
        chain.updater.update()
