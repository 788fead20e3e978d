"""The live contract over raw HTTP, exactly as curl speaks it, and through the library."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import pytest

from iii_client.config import Config, Secret, ServiceConfig
from iii_client.model import Algorithm, HashValue, Listed, Match, NotListed, Reason, Unanswered
from iii_client.sandbox import Sandbox
from iii_client.service import make_confirmer
from iii_client.test_picture import listed_picture_bytes as picture_bytes


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


BASES = ("/v1/check", "/v1/test/check")


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("algorithm", ["md5", "sha1"])
def test_a_listed_hash_is_true_and_another_false(
    ask: Ask, listed_picture: Path, base: str, algorithm: str
) -> None:
    listed = hashlib.new(algorithm, listed_picture.read_bytes()).hexdigest().encode()
    other = hashlib.new(algorithm, b"an innocent file").hexdigest().encode()
    for value, expected in ((listed, b"true"), (other, b"false")):
        reply = ask("POST", f"{base}/{algorithm}", value)
        assert (reply.status, reply.body) == (200, expected)
        assert reply.headers["content-type"].startswith("text/plain")


def test_the_shipped_test_picture_is_listed(ask: Ask) -> None:
    reply = ask("POST", "/v1/check/md5", hashlib.md5(picture_bytes()).hexdigest().encode())
    assert reply.body == b"true"


@pytest.mark.parametrize("base", BASES)
def test_without_a_login_nothing_is_answered(ask: Ask, base: str) -> None:
    reply = ask("POST", f"{base}/md5", b"0" * 32, anonymous=True)
    assert reply.status == 401
    assert reply.headers["www-authenticate"].startswith("Basic")
    assert reply.body not in {b"true", b"false"}


@pytest.mark.parametrize(
    "header",
    ["", "Basic", "Basic !!!", "Bearer abc", "Basic cHJhY3RpY2Utc2VydmljZTp3cm9uZw=="],
)
def test_a_wrong_login_is_refused(ask: Ask, header: str) -> None:
    assert ask("POST", "/v1/check/md5", b"0" * 32, headers={"Authorization": header}).status == 401


def test_the_filter_login_does_not_open_the_service(ask: Ask) -> None:
    assert ask("POST", "/v1/check/md5", b"0" * 32, headers=ask.login("FILTER")).status == 401


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"0" * 31,
        b"0" * 33,
        b"A" * 32,
        b"g" * 32,
        b"0" * 32 + b"\n",
        b'"' + b"0" * 30 + b'"',
        b"\xff" * 32,
    ],
)
def test_a_malformed_hash_is_refused_and_not_answered_false(ask: Ask, body: bytes) -> None:
    reply = ask("POST", "/v1/check/md5", body)
    assert reply.status == 400
    assert reply.headers["content-type"] == "application/problem+json"


def test_a_huge_body_is_cut_off(ask: Ask) -> None:
    assert ask("POST", "/v1/check/md5", b"0" * 100_000).status == 413


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/check/sha256", 404),
        ("POST", "/v1/check/", 404),
        ("GET", "/v1/check/md5", 405),
        ("GET", "/nowhere", 404),
    ],
)
def test_other_routes_are_problems(ask: Ask, method: str, path: str, status: int) -> None:
    reply = ask(method, path)
    assert reply.status == status
    assert reply.headers["content-type"] == "application/problem+json"


# --- through the library ---------------------------------------------------------------------------------


def v1(sandbox: Sandbox, **changes: object) -> ServiceConfig:
    service = Config.from_env(sandbox.env | {"III_SERVICE_PROTOCOL": "v1"}).service
    fields = {name: getattr(service, name) for name in service.__slots__}
    return ServiceConfig(**{**fields, "timeout_s": 5.0, **changes})


@pytest.mark.parametrize("test_base", [False, True])
def test_the_library_confirms_and_denies(sandbox: Sandbox, listed_picture: Path, test_base: bool) -> None:
    listed = HashValue(algorithm=Algorithm.SHA1, value=hashlib.sha1(listed_picture.read_bytes()).digest())
    other = HashValue(algorithm=Algorithm.MD5, value=hashlib.md5(b"innocent").digest())
    near = HashValue(algorithm=Algorithm.PDQ, value=bytes(32))
    confirmation = make_confirmer(v1(sandbox, v1_test=test_base)).confirm([other, listed, near, listed])
    match = Match(hash=listed, distance_bits=0, exact=True)
    assert confirmation.answers == (
        NotListed(hash=other),
        Listed(hash=listed, matches=(match,)),
        Unanswered(hash=near, reason=Reason.SERVICE_CANNOT_CONFIRM),
        Listed(hash=listed, matches=(match,)),
    )
    assert confirmation.hashes_sent == 2


def test_wrong_credentials_are_refused_and_never_not_listed(sandbox: Sandbox, listed_picture: Path) -> None:
    listed = HashValue(algorithm=Algorithm.SHA1, value=hashlib.sha1(listed_picture.read_bytes()).digest())
    (answer,) = make_confirmer(v1(sandbox, password=Secret("wrong"))).confirm([listed]).answers
    assert isinstance(answer, Unanswered)
    assert answer.reason is Reason.SERVICE_REFUSED


def test_a_hundred_hashes_are_answered_in_one_confirmation(sandbox: Sandbox) -> None:
    hashes = [HashValue(algorithm=Algorithm.SHA1, value=bytes([i]) * 20) for i in range(100)]
    confirmation = make_confirmer(v1(sandbox)).confirm(hashes)
    assert all(isinstance(answer, NotListed) for answer in confirmation.answers)
    assert confirmation.hashes_sent == 100


def test_status_says_what_v1_can(sandbox: Sandbox) -> None:
    report = make_confirmer(v1(sandbox)).status()
    assert (report.protocol, report.algorithms) == ("v1", (Algorithm.SHA1, Algorithm.MD5))
