"""The whole chain on real pictures: publish, download, hash, look up, confirm, decide, and what left."""

import contextlib
import io
import json
import re
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from iii_client import (
    Action,
    Algorithm,
    Config,
    Content,
    Decision,
    Outcome,
    Reason,
    Scanner,
    Updater,
    UploadContext,
)
from iii_client.config import GuardConfig
from iii_client.sandbox import Sandbox
from iii_client.scanner import ScanItem
from iii_client.test_picture import listed_picture_bytes

KNOWN = 20
INNOCENT = 200
HEX_RUN = re.compile(rb"[0-9a-fA-F]{16,}")


@dataclass
class RecordingProxy:
    """A TCP relay on loopback that keeps every byte that the client sends."""

    upstream: tuple[str, int]
    sent: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.upstream)
            threading.Thread(target=self._pump, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, False), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, record: bool) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                if record:
                    self.sent.append(chunk)
                target.sendall(chunk)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()

    @property
    def bytes_sent(self) -> bytes:
        return b"".join(self.sent)


@dataclass
class World:
    """A practice service that lists 20 pictures, a client with its filter, and 200 innocent pictures."""

    sandbox: Sandbox
    config: Config
    known: list[Path]
    innocent: list[Path]


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, make_pictures: Callable[[Path, int], list[Path]]
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    pictures = make_pictures(folder / "pictures", KNOWN + INNOCENT)
    known, innocent = pictures[:KNOWN], pictures[KNOWN:]
    with Sandbox.open(folder / "sandbox") as sandbox:
        sandbox.add_pictures(known)
        sandbox.publish()
        sandbox.start()
        config = Config.from_env(sandbox.env)
        Updater(config.filter, config.state_dir).update()
        # One test after the other finds all that is listed, in one state directory: no budget is meant to
        # hold here, and a cache would hide what each of them sends.
        config = replace(
            config,
            guard=GuardConfig(uploader_per_hour=0, per_hour=0, uploaders_per_hash=0),
            records=replace(config.records, cache=False),
        )
        yield World(sandbox=sandbox, config=config, known=known, innocent=innocent)


@pytest.fixture
def proxy(world: World) -> Iterator[RecordingProxy]:
    host, port = world.sandbox.url.removeprefix("http://").split(":")
    relay = RecordingProxy((host, int(port)))
    yield relay
    relay.close()


def through(config: Config, proxy: RecordingProxy, **service: object) -> Config:
    """The same client, with its service behind the recording relay."""
    url = f"http://127.0.0.1:{proxy.port}"
    return replace(config, service=replace(config.service, url=url, timeout_s=20.0, **service))  # type: ignore[arg-type]


def scan_all(config: Config, paths: list[Path]) -> list[Decision]:
    with Scanner.from_config(config) as scanner:
        items = [ScanItem(content=Content.from_path(path)) for path in paths]
        return [decision for _, decision in scanner.scan_many(items, jobs=2)]


def test_known_pictures_are_blocked_and_nothing_leaves_for_innocent_ones(
    world: World, proxy: RecordingProxy
) -> None:
    config = through(world.config, proxy)

    innocent = scan_all(config, world.innocent)
    assert [d.verdict.outcome for d in innocent] == [Outcome.NO_MATCH] * INNOCENT
    assert sum(d.verdict.hashes_sent for d in innocent) == 0
    assert proxy.bytes_sent == b"", "not one byte for an innocent file"

    known = scan_all(config, world.known)
    assert [d.verdict.outcome for d in known] == [Outcome.MATCHED] * KNOWN
    assert [d.action for d in known] == [Action.BLOCK] * KNOWN
    assert all(match.exact for d in known for match in d.verdict.matches)


def test_the_only_hashes_on_the_wire_are_one_for_each_item_that_hit(
    world: World, proxy: RecordingProxy
) -> None:
    decisions = scan_all(through(world.config, proxy), world.known + world.innocent[:20])
    expected = {
        decision.verdict.fingerprint.digest(Algorithm.SHA256).hex
        for decision in decisions
        if decision.verdict.outcome is Outcome.MATCHED
    }
    sent = proxy.bytes_sent
    asked = [entry for body in re.findall(rb"\{.*\}", sent) for entry in json.loads(body)["hashes"]]
    assert sorted(entry["value"] for entry in asked) == sorted(expected)
    assert {frozenset(entry) for entry in asked} == {frozenset({"id", "algorithm", "value"})}

    # Whatever else looks like a hash is one of the random ids of the request.
    allowed = {value.encode() for value in expected} | {entry["id"].encode() for entry in asked}
    rest = sent
    for token in sorted(allowed, key=len, reverse=True):
        rest = rest.replace(token, b"")
    assert not HEX_RUN.search(rest.replace(_authorization(rest), b""))

    for secret in (b"holiday", b".jpg", b".png", str(world.config.state_dir).encode(), b"JFIF", b"PNG"):
        assert secret not in sent
    headers = set(re.findall(rb"(?m)^([A-Za-z-]+): ", sent))
    assert {name.lower() for name in headers} <= {
        b"host",
        b"user-agent",
        b"accept-encoding",
        b"accept",
        b"connection",
        b"content-type",
        b"content-length",
        b"authorization",
    }


def _authorization(sent: bytes) -> bytes:
    found = re.search(rb"Authorization: Basic (\S+)", sent)
    assert found
    return found.group(1)


def test_the_library_works_through_v1_alone(world: World, proxy: RecordingProxy) -> None:
    decisions = scan_all(through(world.config, proxy, protocol="v1"), world.known + world.innocent[:20])
    assert [d.verdict.outcome for d in decisions] == [Outcome.MATCHED] * KNOWN + [Outcome.NO_MATCH] * 20
    assert [d.action for d in decisions[:KNOWN]] == [Action.BLOCK] * KNOWN
    posts = re.findall(rb"POST (\S+) HTTP", proxy.bytes_sent)
    assert posts == [b"/v1/check/sha1"] * KNOWN


def test_curl_sees_the_live_contract(world: World, tmp_path: Path) -> None:
    known, innocent = (
        build.digest(Algorithm.MD5).hex
        for build in (
            Scanner.from_config(world.config).fingerprint(path)
            for path in (world.known[0], world.innocent[0])
        )
    )
    user = f"{world.config.service.username}:{world.config.service.password.reveal()}"
    netrc = tmp_path / "curlrc"
    netrc.write_text(f'user = "{user}"\n')
    for base in ("v1", "v1/test"):
        for value, answer in ((known, "true"), (innocent, "false")):
            command = [
                "curl",
                "-sS",
                "-K",
                str(netrc),
                "--data",
                value,
                f"{world.sandbox.url}/{base}/check/md5",
            ]
            try:
                result = subprocess.run(command, capture_output=True, text=True, check=True)
            except FileNotFoundError:
                pytest.skip("curl is not installed")
            assert result.stdout == answer


def test_the_bridge_asks_about_every_picture_and_says_so(world: World, proxy: RecordingProxy) -> None:
    config = through(world.config, proxy, protocol="v1")
    config = replace(config, filter=replace(config.filter, use="none"))
    decisions = scan_all(config, [world.known[0], world.innocent[0]])
    assert [d.verdict.outcome for d in decisions] == [Outcome.MATCHED, Outcome.NO_MATCH]
    assert all(Reason.FILTER_BYPASSED in d.verdict.reasons for d in decisions)
    assert [d.verdict.hashes_sent for d in decisions] == [1, 1]
    with Scanner.from_config(config) as scanner:
        text = scanner.scan(b"not a picture at all")
    assert text.verdict.hashes_sent == 0


def test_a_dead_service_holds_what_hit_and_nothing_else(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    config = replace(world.config, service=replace(world.config.service, url=f"http://127.0.0.1:{port}"))
    hit, innocent = scan_all(config, [world.known[0], world.innocent[0]])
    assert (hit.verdict.outcome, hit.action) == (Outcome.UNCONFIRMED, Action.QUARANTINE)
    assert hit.verdict.reasons == (Reason.SERVICE_UNREACHABLE,)
    assert innocent.verdict.outcome is Outcome.NO_MATCH


def test_without_a_filter_nothing_is_innocent(world: World, tmp_path: Path) -> None:
    decision = scan_all(replace(world.config, state_dir=tmp_path), [world.innocent[0]])[0]
    assert (decision.verdict.outcome, decision.verdict.reasons) == (Outcome.UNSCANNABLE, (Reason.NO_FILTER,))
    assert decision.action is Action.QUARANTINE


def test_the_test_picture_is_blocked_in_every_release(world: World) -> None:
    with Scanner.from_config(world.config) as scanner:
        decision = scanner.scan(listed_picture_bytes())
    assert (decision.action, decision.rule) == (Action.BLOCK, "matched_test")
    assert all(match.is_test for match in decision.verdict.matches)


@pytest.mark.parametrize("known_first", [True, False])
def test_a_frame_of_the_test_picture_opens_no_door(world: World, known_first: bool) -> None:
    with Image.open(world.known[0]) as image:
        known = image.convert("RGB")
    with Image.open(io.BytesIO(listed_picture_bytes())) as image:
        cover = image.convert("RGB").resize(known.size)
    frames = [known, cover] if known_first else [cover, known]
    animation = io.BytesIO()
    frames[0].save(animation, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    with Scanner.from_config(world.config) as scanner:
        decision = scanner.scan(animation.getvalue())
    assert (decision.verdict.outcome, decision.action) == (Outcome.MATCHED, Action.QUARANTINE)
    assert decision.rule == "matched_near"


def test_stored_fingerprints_are_checked_again_without_reading_a_file(world: World) -> None:
    with Scanner.from_config(world.config) as scanner:
        fingerprints = [scanner.fingerprint(path) for path in (world.known[1], world.innocent[1])]
        outcomes = [decision.verdict.outcome for decision in scanner.check(fingerprints)]
    assert outcomes == [Outcome.MATCHED, Outcome.NO_MATCH]


def test_an_upload_is_hashed_while_it_streams_and_recorded_with_its_context(world: World) -> None:
    content = world.known[2].read_bytes()
    with Scanner.from_config(world.config) as scanner:
        builder = scanner.start_fingerprint()
        for start in range(0, len(content), 10_000):
            builder.update(content[start : start + 10_000])
        context = UploadContext(route="streamed", uploader="u")
        (decision,) = scanner.check([builder.finish()], contexts=[context])
        with pytest.raises(ValueError, match="contexts"):
            scanner.check([decision.verdict.fingerprint] * 2, contexts=[context])
    assert (decision.verdict.outcome, decision.action) == (Outcome.MATCHED, Action.BLOCK)
    with sqlite3.connect(world.config.state_dir / "state.db") as db:
        found = db.execute("SELECT route FROM encounter WHERE id = ?", [decision.encounter_id]).fetchone()
    assert found == ("streamed",)


def test_edited_copies_are_found_held_and_named_by_the_listed_hash(
    world: World, proxy: RecordingProxy, tmp_path: Path
) -> None:
    """Re-encoded, resized and mirrored copies of photographs: none blocks, each sends at most two hashes."""
    edits: dict[str, Callable[[Image.Image], Image.Image]] = {
        "re-encoded": lambda image: image,
        "resized": lambda image: image.resize((image.width * 2 // 3, image.height * 2 // 3)),
        "mirrored": ImageOps.mirror,
    }
    found = dict.fromkeys(edits, 0)
    with Scanner.from_config(through(world.config, proxy)) as scanner:
        for kind, edit in edits.items():
            for path in world.known:
                copy = tmp_path / f"{kind}-{path.stem}.jpg"
                with Image.open(path) as image:
                    edit(image.convert("RGB")).save(copy, quality=70)
                decision = scanner.scan(copy)
                assert decision.action is not Action.BLOCK
                assert decision.verdict.hashes_sent <= 2
                if decision.verdict.outcome is Outcome.MATCHED:
                    found[kind] += 1
                    assert decision.action is Action.QUARANTINE
                    assert all(not match.exact for match in decision.verdict.matches)
    # Three in four: some of these pictures are textures that the perceptual hash itself cannot tell.
    assert all(count >= KNOWN * 3 // 4 for count in found.values()), found


def test_under_v1_an_edited_copy_is_unconfirmed_allowed_and_recorded(
    world: World, proxy: RecordingProxy, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.jpg"
    with Image.open(world.known[0]) as image:
        image.convert("RGB").save(copy, quality=70)
    with Scanner.from_config(through(world.config, proxy, protocol="v1")) as scanner:
        decision = scanner.scan(copy)
    assert (decision.verdict.outcome, decision.action) == (Outcome.UNCONFIRMED, Action.ALLOW)
    assert decision.verdict.reasons == (Reason.SERVICE_CANNOT_CONFIRM,)
    assert decision.encounter_id
    assert proxy.bytes_sent == b""


def test_views_can_be_switched_off(world: World, tmp_path: Path) -> None:
    copy = tmp_path / "mirrored.png"
    with Image.open(world.known[0]) as image:
        ImageOps.mirror(image.convert("RGB")).save(copy)
    outcomes = []
    for views in (("upright", "mirror"), ("upright",)):
        config = replace(world.config, filter=replace(world.config.filter, views=views))
        with Scanner.from_config(config) as scanner:
            outcomes.append(scanner.scan(copy).verdict.outcome)
    assert outcomes == [Outcome.MATCHED, Outcome.NO_MATCH]
