"""The live service's contract, byte by byte."""

import hashlib

import pytest

from iii_client.errors import WireFormatError
from iii_client.model import Algorithm, HashValue
from iii_client.service.wire_v1 import build_check, parse_check

MD5 = HashValue(algorithm=Algorithm.MD5, value=hashlib.md5(b"canary").digest())
SHA1 = HashValue(algorithm=Algorithm.SHA1, value=hashlib.sha1(b"canary").digest())
SHA256 = HashValue(algorithm=Algorithm.SHA256, value=hashlib.sha256(b"canary").digest())


@pytest.mark.parametrize("value", [MD5, SHA1])
def test_the_body_is_one_bare_lower_case_hash(value: HashValue) -> None:
    request = build_check(value)
    assert request.method == "POST"
    assert request.body == value.value.hex().encode()
    assert request.body == request.body.lower()


def test_the_path_names_the_algorithm_and_never_the_hash() -> None:
    assert build_check(MD5).path == "/v1/check/md5"
    assert build_check(SHA1, test=True).path == "/v1/test/check/sha1"


def test_a_request_does_not_show_its_hash() -> None:
    assert MD5.hex not in repr(build_check(MD5))


def test_other_algorithms_are_refused() -> None:
    with pytest.raises(ValueError, match="v1"):
        build_check(SHA256)


@pytest.mark.parametrize(
    ("body", "listed"), [(b"true", True), (b"false", False), (b"true\n", True), (b"false\n", False)]
)
def test_the_two_answers_are_read(body: bytes, listed: bool) -> None:
    assert parse_check(body) is listed


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"TRUE", b"True", b"False", b" true", b"true ", b"true\r\n", b"true\n\n", b"\ntrue"),
        *(b'"true"', b"1", b"0", b"null", b"truefalse", b"true\0", b"\xef\xbb\xbftrue", b"yes"),
        *(b"<html>true</html>", b'{"listed": true}', b"t", b"tru", b"fals", "трue".encode()),
    ],
)
def test_anything_else_is_an_error_and_not_an_answer(body: bytes) -> None:
    with pytest.raises(WireFormatError):
        parse_check(body)


def test_the_error_does_not_repeat_the_body() -> None:
    with pytest.raises(WireFormatError) as caught:
        parse_check(MD5.hex.encode())
    assert MD5.hex not in str(caught.value) + caught.value.hint
