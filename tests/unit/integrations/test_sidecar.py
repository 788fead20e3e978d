"""The sidecar's rules without a process: tenants, rates, addresses, sockets."""

import hashlib
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from iii_client.errors import ConfigurationError
from iii_client.integrations.sidecar.listening import bind_all
from iii_client.integrations.sidecar.settings import Address, ServeSettings, Speaks
from iii_client.integrations.sidecar.tenants import Pace, Tenant, read_tenants, tenant_of


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not tmp_path: the path of a socket may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="iii-") as name:
        yield Path(name)


def test_a_rate_lets_a_burst_through_and_then_one_after_the_other() -> None:
    now = [0.0]
    pace = Pace(per_minute=60, own={}, share=1.0, clock=lambda: now[0])
    assert [pace.wait_s("shop") for _ in range(10)] == [0.0] * 10
    assert 0 < pace.wait_s("shop") <= 1.0
    now[0] += 1.0
    assert pace.wait_s("shop") == 0.0
    assert pace.wait_s("shop") > 0


def test_one_tenants_uploads_use_up_nothing_of_anothers() -> None:
    pace = Pace(per_minute=6, own={"forum": 600}, share=0.5, clock=lambda: 0.0)
    assert pace.wait_s("shop") == 0.0
    assert pace.wait_s("shop") > 0
    assert [pace.wait_s("forum") for _ in range(50)] == [0.0] * 50
    assert pace.wait_s("forum") > 0


def test_no_rate_is_any_number() -> None:
    pace = Pace(per_minute=0, own={}, share=0.5, clock=lambda: 0.0)
    assert {pace.wait_s("shop") for _ in range(1000)} == {0.0}


def test_a_token_is_found_by_its_digest_alone(folder: Path) -> None:
    path = folder / "tenants.toml"
    digest = hashlib.sha256(b"secret").hexdigest()
    path.write_text(f'[shop]\ntoken_sha256 = "{digest}"\nper_minute = 5\n', encoding="utf-8")
    tenants = read_tenants(path)
    found = tenant_of("secret", tenants)
    assert found is not None
    assert (found.name, found.per_minute) == ("shop", 5)
    assert tenant_of("", tenants) is None
    assert tenant_of(digest, tenants) is None
    assert digest not in repr(tenants)
    assert repr(Tenant(name="shop", token_sha256=b"abc")).count("abc") == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[shop]",
        "shop = 1",
        "[shop",
        '[shop]\ntoken_sha256 = "abc"',
        f'[shop]\ntoken_sha256 = "{"z" * 64}"',
        f'[shop]\ntoken_sha256 = "{"0" * 64}"\nper_minute = -1',
        f'[shop]\ntoken_sha256 = "{"0" * 64}"\nper_minute = true',
        f'[shop]\ntoken_sha256 = "{"0" * 64}"\nrate = 1',
        f'["Shop!"]\ntoken_sha256 = "{"0" * 64}"',
        "#" * 100_000,
    ],
)
def test_a_tenants_file_with_a_mistake_is_refused_without_telling_what_is_in_it(
    folder: Path, text: str
) -> None:
    path = folder / "tenants.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        read_tenants(path)
    assert "0" * 64 not in str(caught.value)


def test_a_socket_may_name_its_tenant() -> None:
    assert Address.socket(Speaks.CLAMD, "/run/clamd").tenant == "sidecar"
    named = Address.socket(Speaks.CLAMD, "shop=/run/clamd")
    assert (named.tenant, named.path) == ("shop", Path("/run/clamd"))
    assert Address.socket(Speaks.CLAMD, "/run/a=b").path == Path("/run/a=b")
    for wrong in ("", "shop=", "Shop=/run/clamd", "/" + "x" * 107):
        with pytest.raises(ConfigurationError):
            Address.socket(Speaks.CLAMD, wrong)


def test_what_would_be_open_to_everybody_is_refused() -> None:
    address = Address(speaks=Speaks.CLAMD, path=Path("/run/clamd"))
    for mode in (0o666, 0o661):
        with pytest.raises(ConfigurationError):
            ServeSettings(addresses=(address,), socket_mode=mode)
    with pytest.raises(ConfigurationError, match="tokens"):
        ServeSettings(addresses=(Address(speaks=Speaks.HTTP, port=8080),))
    with pytest.raises(ConfigurationError, match="nothing to listen to"):
        ServeSettings(addresses=())


def test_a_socket_that_a_crash_left_behind_is_replaced_and_has_its_mode(folder: Path) -> None:
    path = folder / "clamd"
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(str(path))
    before = os.umask(0)
    try:
        (listener,) = bind_all([Address(speaks=Speaks.CLAMD, path=path)], mode=0o600)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(ConfigurationError, match="another process"):
        bind_all([Address(speaks=Speaks.CLAMD, path=path)], mode=0o600)
    listener.close()
    assert not path.exists()


def test_a_file_at_the_sockets_path_is_not_removed(folder: Path) -> None:
    path = folder / "letter"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="something else"):
        bind_all([Address(speaks=Speaks.CLAMD, path=path)], mode=0o600)
    assert path.read_text(encoding="utf-8") == "mine"


def test_all_sockets_or_none(folder: Path) -> None:
    addresses = [
        Address(speaks=Speaks.CLAMD, path=folder / "clamd"),
        Address(speaks=Speaks.CLAMD, path=folder / "no folder" / "clamd"),
    ]
    with pytest.raises(ConfigurationError):
        bind_all(addresses, mode=0o660)
    assert not (folder / "clamd").exists()
