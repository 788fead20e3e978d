"""The service as an object: its folder, its port, its filter, and a restart that changes nothing."""

import base64
import contextlib
import hashlib
import http.client
import io
import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import pytest
from PIL import Image
from skimage import data

from iii_client.config import Config, FilterConfig, Limits
from iii_client.content import Content
from iii_client.errors import AuthenticationError, ConfigurationError
from iii_client.fingerprint import RECIPES, build_fingerprint
from iii_client.model import Algorithm, HashValue, Listed, ListKind, Mode
from iii_client.publisher import ListEntry
from iii_client.sandbox import Sandbox
from iii_client.service import make_confirmer
from iii_client.updates import Updater


class Reply(Protocol):
    status: int
    headers: Mapping[str, str]
    body: bytes


class Ask(Protocol):
    def __call__(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        anonymous: bool = False,
    ) -> Reply: ...

    def login(self, part: str = "SERVICE", *, password: str | None = None) -> dict[str, str]: ...


# --- what is served beside v1 and v2 ---------------------------------------------------------------------


def test_it_shows_a_sign_of_life_to_anybody(ask: Ask) -> None:
    reply = ask("GET", "/healthz", anonymous=True)
    assert (reply.status, reply.body) == (200, b"ok")


def test_the_filter_repository_is_served_to_its_own_login_alone(ask: Ask, sandbox: Sandbox) -> None:
    path = "/filter/metadata/timestamp.json"
    assert ask("GET", path, anonymous=True).status == 401
    assert ask("GET", path, headers=ask.login("SERVICE")).status == 401
    reply = ask("GET", path, headers=ask.login("FILTER"))
    assert reply.status == 200
    assert json.loads(reply.body)["signed"]["_type"] == "timestamp"


def test_a_part_of_a_filter_file_can_be_fetched(ask: Ask) -> None:
    login = ask.login("FILTER")
    whole = ask("GET", "/filter/metadata/1.root.json", headers=login).body
    part = ask("GET", "/filter/metadata/1.root.json", headers={**login, "Range": "bytes=100-"})
    assert part.status == 206
    assert part.headers["content-range"] == f"bytes 100-{len(whole) - 1}/{len(whole)}"
    assert part.body == whole[100:]


@pytest.mark.parametrize(
    "path",
    [
        "/filter/metadata/99.root.json",
        "/filter/",
        "/filter/metadata",
        "/filter/../corpus.db",
        "/filter/%2e%2e/corpus.db",
    ],
)
def test_nothing_else_of_the_folder_is_served(ask: Ask, path: str) -> None:
    reply = ask("GET", path, headers=ask.login("FILTER"))
    assert reply.status in {404, 405}
    assert reply.headers["content-type"] == "application/problem+json"


def test_the_pinned_root_is_the_served_one(ask: Ask, sandbox: Sandbox) -> None:
    served = ask("GET", "/filter/metadata/1.root.json", headers=ask.login("FILTER")).body
    assert Path(sandbox.env["III_FILTER_ROOT"]).read_bytes() == served


def test_env_is_a_whole_configuration(sandbox: Sandbox) -> None:
    config = Config.from_env(sandbox.env)
    assert config.mode is Mode.ENFORCE
    assert config.service.url == sandbox.url
    assert config.filter.url == f"{sandbox.url}/filter"
    assert config.state_dir.name == "client-state"
    assert config.service.password != config.filter.password


# --- folder, port, restart -------------------------------------------------------------------------------


def digest(content: bytes) -> HashValue:
    return HashValue(algorithm=Algorithm.SHA256, value=hashlib.sha256(content).digest())


def test_opened_again_it_is_the_same_service_on_another_port(tmp_path: Path, listed_picture: Path) -> None:
    folder = tmp_path / "practice"
    with Sandbox.open(folder) as first:
        first.add_pictures([listed_picture])
        released = first.publish()
        first.start()
        before = first.env
    with Sandbox.open(folder) as second:
        second.add_pictures([listed_picture])
        assert second.publish() == released
        second.start()
        after = second.env
        (answer,) = (
            make_confirmer(Config.from_env(after).service)
            .confirm([digest(listed_picture.read_bytes())])
            .answers
        )
    assert isinstance(answer, Listed)
    same = {name for name in before if before[name] == after[name]}
    assert set(before) - same <= {"III_SERVICE_URL", "III_FILTER_URL"}


def found(sandbox: Sandbox, *pictures: Path) -> list[list[str]]:
    """Sections that hit, for re-encoded copies of these pictures, after an update."""
    config = Config.from_env(sandbox.env)
    updater = Updater(config.filter, config.state_dir)
    updater.update()
    snapshot = updater.store.snapshot()
    sections = []
    for picture in pictures:
        copy = io.BytesIO()
        with Image.open(picture) as image:
            image.convert("RGB").save(copy, "JPEG", quality=80)
        fingerprint = build_fingerprint(
            Content.from_bytes(copy.getvalue()), recipe=RECIPES["fast"], limits=Limits()
        )
        sections.append(sorted({hit.section for hit in snapshot.look_up([fingerprint])[0].candidates}))
    return sections


def test_pictures_that_are_added_later_make_a_further_segment(tmp_path: Path) -> None:
    one, two, innocent = (Path(data.__file__).parent / f"{n}.png" for n in ("coffee", "chelsea", "astronaut"))
    with Sandbox.open(tmp_path / "practice") as service:
        service.start()
        service.add_pictures([one])
        service.publish()
        assert found(service, one, two, innocent) == [["near/pdq/1"], [], []]
        service.add_pictures([two])
        second = service.publish()
        assert found(service, one, two, innocent) == [["near/pdq/1"], ["near/pdq/2"], []]
        assert service.publish() == second


def test_what_is_withdrawn_is_a_candidate_no_more(tmp_path: Path) -> None:
    one, two = (Path(data.__file__).parent / name for name in ("coffee.png", "chelsea.png"))
    with Sandbox.open(tmp_path / "practice") as service:
        service.start()
        service.add_pictures([one, two])
        service.publish()
        fingerprint = build_fingerprint(Content.from_path(one), recipe=RECIPES["exact"], limits=Limits())
        for value in fingerprint.hash_values():
            service.corpus.withdraw(value)
        service.publish()
        assert found(service, one, two) == [[], ["near/pdq/1"]]


def test_when_there_is_no_room_for_a_segment_new_hashes_wait_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Sandbox.open(tmp_path / "practice") as service:
        for number in range(17):
            value = HashValue(algorithm=Algorithm.PDQ, value=hashlib.sha256(b"%d" % number).digest())
            entry = ListEntry(hash=value, quality=90, list_name="known", source="body")
            service.corpus.add_entries([entry])
            if number < 16:
                last = service.publish()
        assert service.publish() == last
        assert "all 16 near segments of pdq are used: 1 new hashes wait" in caplog.text
        service.start()
        assert Updater(*_filter_of(service)).update().release == last


def _filter_of(service: Sandbox) -> tuple[FilterConfig, Path]:
    config = Config.from_env(service.env)
    return config.filter, config.state_dir


def test_a_chosen_port_is_used_again_right_after_a_stop(tmp_path: Path) -> None:
    with Sandbox.open(tmp_path / "practice") as first:
        first.start()
        port = int(first.url.rpartition(":")[2])
        make_confirmer(Config.from_env(first.env).service).status()
    with Sandbox.open(tmp_path / "practice", port=port) as second:
        second.start()
        assert second.url == first.url


def test_a_list_file_is_added_whole_or_not_at_all(tmp_path: Path) -> None:
    header = "algorithm,value,quality,list,source,scheme,code\n"
    row = f"sha256,{digest(b'a').hex},100,mine,body,scheme,7\n"
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_text(header + row)
    bad.write_text(header + row.replace("mine", "other") + "nonsense\n")
    with Sandbox.open(tmp_path / "practice") as service:
        assert service.add_list(good) == 1
        with pytest.raises(ConfigurationError, match="line 3"):
            service.add_list(bad)
        with pytest.raises(ConfigurationError, match="cannot be read"):
            service.add_list(tmp_path / "missing.csv")
        assert [info.name for info in service.corpus.lists()] == ["iii-test", "mine"]


def test_a_withdrawn_hash_is_answered_as_withdrawn(tmp_path: Path, listed_picture: Path) -> None:
    value = digest(listed_picture.read_bytes())
    with Sandbox.open(tmp_path / "practice") as service:
        service.add_pictures([listed_picture])
        service.start()
        confirmer = make_confirmer(Config.from_env(service.env).service)
        assert isinstance(confirmer.confirm([value]).answers[0], Listed)
        service.corpus.withdraw(value)
        assert confirmer.confirm([value]).answers[0].withdrawn  # type: ignore[union-attr]


def test_a_folder_is_used_by_one_service_at_a_time(tmp_path: Path) -> None:
    with (
        Sandbox.open(tmp_path / "practice"),
        pytest.raises(ConfigurationError, match="another practice service") as caught,
    ):
        Sandbox.open(tmp_path / "practice")
    assert caught.value.hint
    Sandbox.open(tmp_path / "practice").stop()


def test_a_taken_port_is_said_with_a_hint(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"port {port} is taken") as caught:
            Sandbox.open(tmp_path / "practice", port=port)
    assert "free" in caught.value.hint
    Sandbox.open(tmp_path / "practice").stop()


@pytest.mark.parametrize("port", [-1, 70_000])
def test_a_port_that_is_none_is_said(tmp_path: Path, port: int) -> None:
    with pytest.raises(ConfigurationError, match="not available"):
        Sandbox.open(tmp_path / "practice", port=port)


def test_a_folder_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "practice").write_text("")
    with pytest.raises(ConfigurationError, match="folder cannot be used"):
        Sandbox.open(tmp_path / "practice")


def test_damaged_credentials_are_said_and_not_replaced(tmp_path: Path) -> None:
    Sandbox.open(tmp_path / "practice").stop()
    (tmp_path / "practice" / "credentials.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="credentials"):
        Sandbox.open(tmp_path / "practice")
    assert (tmp_path / "practice" / "credentials.json").read_text() == "{}"


def test_it_listens_on_loopback_only_and_not_before_start(tmp_path: Path) -> None:
    with Sandbox.open(tmp_path / "practice") as service:
        host, port = service.url.removeprefix("http://").split(":")
        assert host == "127.0.0.1"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)), timeout=2)
        service.start()
        service.start()
        socket.create_connection((host, int(port)), timeout=2).close()
        listening = Path("/proc/net/tcp")
        if listening.exists():
            local = {line.split()[1] for line in listening.read_text().splitlines()[1:]}
            assert {address for address in local if address.endswith(f":{int(port):04X}")} == {
                f"0100007F:{int(port):04X}"
            }


def test_its_secrets_are_for_its_owner_alone(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        with Sandbox.open(tmp_path / "practice") as service:
            folder = tmp_path / "practice"
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert stat.S_IMODE((folder / "credentials.json").stat().st_mode) == 0o600
            assert service.env["III_SERVICE_PASSWORD"] not in repr(service)
    finally:
        os.umask(umask)


def test_wait_ends_when_another_thread_stops_the_service(tmp_path: Path) -> None:
    service = Sandbox.open(tmp_path / "practice")
    waiting = threading.Thread(target=service.serve_forever)
    waiting.start()
    while not service.is_serving:
        time.sleep(0.01)
    service.stop()
    waiting.join(10)
    assert not waiting.is_alive()
    service.stop()
    with pytest.raises(ConfigurationError, match="stopped"):
        service.start()


def test_stopping_while_it_starts_leaves_nothing_behind(tmp_path: Path) -> None:
    for _ in range(5):
        service = Sandbox.open(tmp_path / "practice")
        starting = threading.Thread(target=lambda service=service: _start(service))
        starting.start()
        service.stop()
        starting.join(10)
        assert not service.is_serving
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(service.url.rpartition(":")[2])), timeout=2)


def _start(service: Sandbox) -> None:
    with contextlib.suppress(ConfigurationError):
        service.start()


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_without_its_extra_it_says_how_to_install_it(missing: str) -> None:
    program = (
        f"import sys\nsys.modules[{missing!r}] = None\n"
        "from iii_client.errors import MissingExtraError\n"
        "try:\n    import iii_client.sandbox\n"
        "except MissingExtraError as error:\n    print(error.hint)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "iii-client[sandbox]" in result.stdout


# --- tiers and deltas ----------------------------------------------------------------------------------


def status_of(path: str, env: Mapping[str, str]) -> int:
    """Ask for a path as it is written, dots and all."""
    login = f"{env['III_FILTER_USERNAME']}:{env['III_FILTER_PASSWORD']}".encode()
    address = env["III_FILTER_URL"].removeprefix("http://").partition("/")[0]
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        headers = {"Authorization": f"Basic {base64.b64encode(login).decode()}"}
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_login_for_exact_sections_does_not_open_near_segments(tmp_path: Path) -> None:
    with Sandbox.open(tmp_path / "data") as service:
        service.add_pictures([Path(data.__file__).parent / "rocket.jpg"])
        service.publish()
        service.start()
        (segment,) = (tmp_path / "data/filter/public/targets/near/pdq").iterdir()
        env, full_env = service.exact_only_env, service.env
        for path in (
            f"near/pdq/{segment.name}",
            f"base/1/../../near/pdq/{segment.name}",
            f"base//..//near/pdq/{segment.name}",
            f"%6eear/pdq/{segment.name}",
        ):
            assert status_of(f"/filter/targets/{path}", env) == 403
        assert status_of(f"/filter/targets/near/pdq/{segment.name}", full_env) == 200
        assert status_of("/filter/metadata/timestamp.json", env) == 200
        assert status_of("/filter/metadata/timestamp.json", {**env, "III_FILTER_PASSWORD": "x"}) == 401
        config = Config.from_env({**env, "III_STATE_DIR": str(tmp_path / "state")})
        updater = Updater(config.filter, config.state_dir)
        assert str(updater.update().release) == "1.0"
        assert updater.store.installed().near == ()
        wrong = Config.from_env({**env, "III_FILTER_NEAR": "true", "III_STATE_DIR": str(tmp_path / "other")})
        with pytest.raises(AuthenticationError):
            Updater(wrong.filter, wrong.state_dir).update()


def test_a_practice_publisher_can_publish_deltas(tmp_path: Path) -> None:
    rows = [f"md5,{hashlib.md5(name).hexdigest()},100,list,body,,\n" for name in (b"a", b"b")]
    header = "algorithm,value,quality,list,source,scheme,code\n"
    for number, row in enumerate(rows):
        (tmp_path / f"{number}.csv").write_text(header + row)
    with Sandbox.open(tmp_path / "data") as service:
        service.add_list(tmp_path / "0.csv")
        assert str(service.publish(deltas=True)) == "1.0"
        service.add_list(tmp_path / "1.csv")
        assert str(service.publish(deltas=True)) == "1.1"
        service.start()
        config = Config.from_env({**service.env, "III_STATE_DIR": str(tmp_path / "state")})
        updater = Updater(config.filter, config.state_dir)
        assert str(updater.update().release) == "1.1"
        kinds = {row.list_name: row.kind for row in updater.store.installed().coverage}
        assert kinds == {"iii-test": ListKind.TEST, "list": ListKind.OTHER}
