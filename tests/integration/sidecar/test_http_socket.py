"""`iii-client serve --http-socket`: uploads, bad input, tokens, health, the description."""

import hashlib
import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.integration.sidecar.conftest import Sidecar, StartSidecar

from iii_client.integrations.sidecar.openapi import OPENAPI
from iii_client.testing.pictures import broken_picture, innocent_picture, known_picture, near_copy

#: In full: III_TEST_MALFORMED=1000.
MALFORMED = int(os.environ.get("III_TEST_MALFORMED", "60"))


@pytest.fixture(scope="module")
def http_sidecar(start_sidecar: StartSidecar) -> Iterator[Sidecar]:
    with start_sidecar("--workers", "1", III_CONTACT="abuse@example.org") as running:
        yield running


@pytest.fixture
def client(http_sidecar: Sidecar) -> Iterator[httpx.Client]:
    with client_of(http_sidecar) as made:
        yield made


def client_of(sidecar: Sidecar) -> httpx.Client:
    transport = httpx.HTTPTransport(uds=sidecar.http)
    return httpx.Client(transport=transport, base_url="http://sidecar", timeout=30)


def test_an_innocent_picture_is_allowed_raw_and_in_a_form(client: httpx.Client) -> None:
    picture = innocent_picture()
    for reply in (
        client.post("/scan", content=picture.data),
        client.post("/scan", files={"file": picture.as_upload()}),
    ):
        assert reply.status_code == 200
        assert reply.json() == {
            "allowed": True,
            "action": "allow",
            "outcome": "no_match",
            "case_reference": "",
            "contact": "abuse@example.org",
            "message": "",
        }


def test_what_is_not_allowed_reads_the_same_whatever_the_reason(client: httpx.Client) -> None:
    told = {}
    for picture in (known_picture(), near_copy(), broken_picture()):
        reply = client.post("/scan", files={"file": picture.as_upload()}, data={"uploader": "u1"}).json()
        assert reply["allowed"] is False
        assert set(reply) == {"allowed", "action", "outcome", "case_reference", "contact", "message"}
        told[reply["action"], reply["outcome"]] = reply["message"].replace(reply["case_reference"], "…")
        assert reply["case_reference"]
    assert set(told) == {("block", "matched"), ("quarantine", "matched"), ("quarantine", "unscannable")}
    assert set(told.values()) == {"This file cannot be taken. Reference: …. Questions: abuse@example.org."}


def test_a_form_without_a_file_with_an_empty_one_and_with_two(client: httpx.Client) -> None:
    picture = innocent_picture()
    # What a browser sends for a field that was left empty.
    nothing = '--b\r\nContent-Disposition: form-data; name="file"; filename=""\r\n\r\n\r\n--b--\r\n'
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    reply = client.post("/scan", content=nothing, headers=form)
    assert (reply.status_code, reply.json()["error"]) == (400, "no_file")
    reply = client.post("/scan", files={"file": ("a.png", b"", "image/png")})
    assert (reply.status_code, reply.json()["outcome"], reply.json()["allowed"]) == (
        200,
        "unscannable",
        False,
    )
    reply = client.post("/scan", content=b"")
    assert (reply.status_code, reply.json()["error"]) == (400, "no_file")
    two = [("file", picture.as_upload()), ("file", picture.as_upload())]
    reply = client.post("/scan", files=two)
    assert (reply.status_code, reply.json()["error"]) == (400, "too_many_files")
    reply = client.post("/scan", data={"file": "a text"})
    assert reply.status_code == 415


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"--b\r\n" + b"X: y\r\n" * 100_000 + b"\r\n", "malformed_form"),
        (b"--b\r\nContent-Disposition: " + b"a" * 1_000_000, "malformed_form"),
        (b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n' * 5000, "too_many_parts"),
        (b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + b"a" * 9000, "field_too_large"),
        (b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\nabc', "malformed_form"),
        (b"", "malformed_form"),
    ],
    ids=["headers", "header", "parts", "field", "broken off", "empty"],
)
def test_a_multipart_bomb_is_refused(client: httpx.Client, body: bytes, error: str) -> None:
    reply = client.post("/scan", content=body, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert reply.json()["error"] == error
    assert reply.status_code in {400, 413}


def test_malformed_forms_neither_crash_it_nor_pass(http_sidecar: Sidecar, client: httpx.Client) -> None:
    chance, before = random.Random(3), http_sidecar.workers()
    picture = innocent_picture()
    whole = client.build_request("POST", "/scan", files={"file": picture.as_upload()})
    body, kind = whole.read(), whole.headers["Content-Type"]
    for _ in range(MALFORMED):
        start = chance.randrange(len(body))
        broken = bytearray(body[:start] if chance.random() < 0.5 else body)
        for _ in range(chance.randrange(1, 20)):
            if broken:
                broken[chance.randrange(min(len(broken), 300))] = chance.randrange(256)
        reply = client.post("/scan", content=bytes(broken), headers={"Content-Type": kind})
        assert reply.status_code < 500
        if len(broken) < len(body):
            assert not reply.json().get("allowed")
    assert http_sidecar.workers() == before


def test_an_upload_that_breaks_off_leaves_nothing_behind(http_sidecar: Sidecar, client: httpx.Client) -> None:
    (worker,) = http_sidecar.workers()
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(http_sidecar.http)
            raw.sendall(b"POST /scan HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 900_000)
    assert client.get("/healthz").status_code == 200
    held = [link for link in Path(f"/proc/{worker}/fd").iterdir() if "deleted" in _target(link)]
    assert len(held) <= 2


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def test_a_large_upload_is_not_held_in_memory(http_sidecar: Sidecar, client: httpx.Client) -> None:
    (worker,) = http_sidecar.workers()
    piece = bytes(1 << 20)
    Path(f"/proc/{worker}/clear_refs").write_text("5", encoding="ascii")  # the peak is what is used now
    before = peak_kib(worker)
    assert client.post("/scan", content=(piece for _ in range(90))).json()["allowed"] is True
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(http_sidecar.clamd)
        raw.sendall(b"zINSTREAM\0")
        for _ in range(90):
            raw.sendall(len(piece).to_bytes(4, "big") + piece)
        raw.sendall(b"\0\0\0\0")
        assert raw.recv(100) == b"stream: OK\0"
    assert peak_kib(worker) - before < 20 * 1024


def peak_kib(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(text.split("VmHWM:")[1].split()[0])


def test_too_large_is_refused_and_not_decided(start_sidecar: StartSidecar, tmp_path: Path) -> None:
    settings = tmp_path / "iii.toml"
    settings.write_text("[limits]\nmax_content_bytes = 100000\n", encoding="utf-8")
    with start_sidecar("--workers", "1", III_CONFIG=str(settings)) as small, client_of(small) as client:
        for reply in (
            client.post("/scan", content=b"x" * 100_001),
            client.post("/scan", content=iter([b"x" * 60_000] * 3)),
            client.post("/scan", files={"file": ("a", b"x" * 100_001)}),
        ):
            assert (reply.status_code, reply.json()["error"]) == (413, "too_large")
        assert client.post("/scan", content=b"x" * 100_000).json()["allowed"] is True


def test_digests_find_what_is_listed_and_never_call_a_picture_clean(client: httpx.Client) -> None:
    def item(data: bytes, **more: object) -> dict[str, object]:
        return {"sha256": hashlib.sha256(data).hexdigest(), "md5": hashlib.md5(data).hexdigest(), **more}

    items = [
        item(known_picture().data),
        item(innocent_picture().data, size_bytes=len(innocent_picture().data)),
        item(b"a letter", is_picture=False, size_bytes=8.0),
    ]
    reply = client.post("/fingerprints", json={"items": items})
    assert [(one["action"], one["outcome"]) for one in reply.json()["items"]] == [
        ("block", "matched"),
        ("quarantine", "unscannable"),
        ("allow", "no_match"),
    ]
    # What was claimed of these digests says nothing about the file itself.
    lie = item(near_copy().data, is_picture=False)
    assert client.post("/fingerprints", json={"items": [lie]}).json()["items"][0]["allowed"] is True
    assert client.post("/scan", content=near_copy().data).json()["allowed"] is False


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b'{"items": []}', b'{"items": [{}]}', b'{"items": [{"md5": "zz"}]}', b"[" * 100_000],
)
def test_digests_that_are_none_are_refused(client: httpx.Client, body: bytes) -> None:
    reply = client.post("/fingerprints", content=body)
    assert (reply.status_code, reply.json()["error"]) == (400, "malformed_items")


def test_pict_rs_looks_at_the_status_alone(client: httpx.Client) -> None:
    codes = [
        client.post("/pict-rs", content=picture.data, headers={"Content-Type": "image/png"}).status_code
        for picture in (innocent_picture(), known_picture(), near_copy())
    ]
    assert codes == [200, 422, 422]


def test_what_operators_ask(client: httpx.Client) -> None:
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").text == "ready\n"
    assert "iii_filter" in client.get("/metrics").text
    assert client.get("/openapi.json").json() == OPENAPI
    assert client.get("/nothing").json()["error"] == "no_such_call"
    assert client.get("/scan").status_code == 405


def test_without_a_filter_it_lives_and_is_not_ready(start_sidecar: StartSidecar, tmp_path: Path) -> None:
    with (
        start_sidecar("--workers", "1", III_STATE_DIR=str(tmp_path / "empty")) as bare,
        client_of(bare) as client,
    ):
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 503
        assert client.post("/scan", content=innocent_picture().data).json()["outcome"] == "unscannable"


def test_tokens_tell_tenants_apart(start_sidecar: StartSidecar, tmp_path: Path) -> None:
    tokens = tmp_path / "tenants.toml"
    tokens.write_text(
        "".join(
            f'[{name}]\ntoken_sha256 = "{hashlib.sha256(name.encode()).hexdigest()}"\nper_minute = {rate}\n'
            for name, rate in (("shop", 6), ("forum", 6000))
        ),
        encoding="utf-8",
    )
    with start_sidecar("--workers", "1", "--tokens", str(tokens)) as guarded, client_of(guarded) as client:

        def scan(token: str) -> int:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            return client.post("/scan", content=b"a letter", headers=headers).status_code

        assert [scan(""), scan("nobody"), scan("shop"), scan("shop"), scan("forum"), scan("forum")] == [
            401,
            401,
            200,
            429,
            200,
            200,
        ]
        assert client.get("/metrics").status_code == 401
        assert client.get("/healthz").status_code == 200


def test_headers_that_never_end_keep_nobody_out(start_sidecar: StartSidecar) -> None:
    with start_sidecar("--workers", "1", "--connections", "20") as small:
        slow = []
        for _ in range(40):
            raw = socket.socket(socket.AF_UNIX)
            raw.connect(small.http)
            raw.sendall(b"POST /scan HTTP/1.1\r\nX-A: ")
            slow.append(raw)
        with client_of(small) as client:
            assert client.post("/scan", content=innocent_picture().data).json()["allowed"] is True
        for raw in slow:
            raw.close()
