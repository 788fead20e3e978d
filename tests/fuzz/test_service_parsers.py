"""Bytes from a lying service: every parser returns a value of its type or raises `WireFormatError`."""

import json

from hypothesis import example, given, settings
from hypothesis import strategies as st

from iii_client.errors import WireFormatError
from iii_client.model import Algorithm, HashValue
from iii_client.service.wire_v1 import parse_check
from iii_client.service.wire_v2 import ConfirmReply, ServiceStatus, parse_confirm, parse_status

PDQ = HashValue(algorithm=Algorithm.PDQ, value=bytes(32))
GOOD_CONFIRM = json.dumps(
    {
        "confirm_id": "c",
        "minimum_wait_s": 0,
        "answers": [
            {
                "id": "a",
                "listed": True,
                "matches": [
                    {
                        "algorithm": "pdq",
                        "distance_bits": 3,
                        "sources": ["s"],
                        "categories": [{"scheme": "x", "code": "1", "source": "s"}],
                        "list_version": "1",
                    }
                ],
                "withdrawn": False,
                "cache_s": 60,
            }
        ],
    }
).encode()
GOOD_STATUS = json.dumps(
    {
        "version": "2",
        "algorithms": ["pdq"],
        "category_schemes": [],
        "lists": [{"name": "a", "version": "1"}],
        "limits": {"max_hashes_per_call": 100, "max_bytes": 1},
        "minimum_wait_s": 0,
    }
).encode()


@st.composite
def mutated(draw: st.DrawFn, good: bytes) -> bytes:
    """A good body with a few bytes replaced, cut out or put in: far deeper into a parser than noise gets."""
    body = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(body)))
        end = min(len(body), start + draw(st.integers(0, 12)))
        body[start:end] = draw(
            st.sampled_from([b"null", b"true", b"[]", b"{}", b'"a"', b"-1", b"1e9", b'"', b"\\ud800"])
            | st.binary(max_size=6)
        )
    return bytes(body)


@settings(max_examples=400)
@given(st.binary(max_size=64))
@example(b"true\r\n")
def test_v1_answers(body: bytes) -> None:
    try:
        listed = parse_check(body)
    except WireFormatError:
        assert body.rstrip(b"\n") not in {b"true", b"false"} or body.endswith(b"\n\n")
    else:
        assert body in ({b"true", b"true\n"} if listed else {b"false", b"false\n"})


@settings(max_examples=400)
@given(st.binary(max_size=200) | mutated(GOOD_CONFIRM))
@example(b"[" * 100_000)
@example(b'{"answers":' * 50_000)
def test_v2_confirm_answers(body: bytes) -> None:
    try:
        reply = parse_confirm(body, [PDQ], ["a"])
    except WireFormatError:
        return
    assert isinstance(reply, ConfirmReply)
    assert [answer.hash for answer in reply.answers] == [PDQ]


@settings(max_examples=400)
@given(st.binary(max_size=200) | mutated(GOOD_STATUS))
def test_v2_status_answers(body: bytes) -> None:
    try:
        status = parse_status(body)
    except WireFormatError:
        return
    assert isinstance(status, ServiceStatus)


def test_the_good_bodies_are_good() -> None:
    parse_confirm(GOOD_CONFIRM, [PDQ], ["a"])
    parse_status(GOOD_STATUS)
