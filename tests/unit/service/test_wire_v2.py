"""The richer contract: what is built, and what is accepted as an answer."""

import hashlib
import json
from typing import Any

import pytest

from iii_client.errors import WireFormatError
from iii_client.model import Algorithm, Category, HashValue, Listed, NotListed, Reason, Unanswered
from iii_client.service.wire_v2 import (
    ERROR_OUT_OF_FORM,
    MAX_CACHE_S,
    MAX_HASHES_PER_CALL,
    PADDING_BYTES,
    ConfirmReply,
    build_confirm,
    parse_confirm,
    parse_status,
)

SHA256 = HashValue(algorithm=Algorithm.SHA256, value=hashlib.sha256(b"canary").digest())
PDQ = HashValue(algorithm=Algorithm.PDQ, value=bytes(range(32)))
MATCH = {
    "algorithm": "pdq",
    "distance_bits": 7,
    "sources": ["nl-police"],
    "categories": [{"scheme": "interpol-baseline", "code": "1", "source": "nl-police"}],
    "list_version": "2026-11",
}
LISTED = {"id": "a", "listed": True, "matches": [MATCH], "withdrawn": False, "cache_s": 86400}
NOT_LISTED = {"id": "a", "listed": False, "matches": [], "cache_s": 60}


def reply(*answers: Any, **fields: Any) -> bytes:
    return json.dumps({"confirm_id": "c-1", "minimum_wait_s": 0, "answers": answers, **fields}).encode()


def parse_one(answer: Any, value: HashValue = PDQ) -> Any:
    return parse_confirm(reply(answer), [value], ["a"]).answers[0]


# --- requests --------------------------------------------------------------------------------------------


def test_a_request_holds_id_algorithm_and_hex_and_nothing_else() -> None:
    request = build_confirm([SHA256, PDQ], ["a", "b"])
    assert request.path == "/v2/confirm"
    assert json.loads(request.body) == {
        "hashes": [
            {"id": "a", "algorithm": "sha256", "value": SHA256.value.hex()},
            {"id": "b", "algorithm": "pdq", "value": PDQ.value.hex()},
        ]
    }


def test_one_hash_and_five_make_bodies_of_equal_length() -> None:
    lengths = {
        len(build_confirm([PDQ] * count, [str(i) for i in range(count)]).body) for count in range(1, 6)
    }
    assert lengths == {PADDING_BYTES}


def test_more_than_a_hundred_hashes_are_refused() -> None:
    ids = [str(i) for i in range(MAX_HASHES_PER_CALL + 1)]
    with pytest.raises(ValueError, match="100"):
        build_confirm([PDQ] * len(ids), ids)


def test_a_repeated_id_is_refused() -> None:
    with pytest.raises(ValueError, match="id"):
        build_confirm([PDQ, SHA256], ["a", "a"])


# --- answers ---------------------------------------------------------------------------------------------


def test_a_listed_answer_keeps_everything_that_was_published() -> None:
    answer = parse_one(LISTED)
    assert isinstance(answer, Listed)
    assert answer.cache_s == 86400
    (match,) = answer.matches
    assert match.hash == PDQ
    assert match.distance_bits == 7
    assert not match.exact
    assert match.sources == ("nl-police",)
    assert match.categories == (Category(scheme="interpol-baseline", code="1", source="nl-police"),)
    assert match.list_version == "2026-11"


def test_only_a_digest_is_exact_however_small_the_distance() -> None:
    pdq = parse_one({**LISTED, "matches": [{**MATCH, "distance_bits": 0}]})
    digest = parse_one({**LISTED, "matches": [{"algorithm": "sha256"}]}, SHA256)
    assert not pdq.matches[0].exact
    assert digest.matches[0].exact


def test_not_listed_is_an_answer_with_its_own_time() -> None:
    assert parse_one(NOT_LISTED) == NotListed(hash=PDQ, cache_s=60)


def test_a_withdrawn_hash_is_not_listed() -> None:
    assert parse_one({**NOT_LISTED, "withdrawn": True}) == NotListed(hash=PDQ, withdrawn=True, cache_s=60)


def test_an_unknown_algorithm_means_that_the_service_cannot_tell() -> None:
    answer = parse_one({"id": "a", "error": "unknown_algorithm"})
    assert isinstance(answer, Unanswered)
    assert answer.reason is Reason.SERVICE_CANNOT_CONFIRM


def test_another_error_is_a_fault_and_not_an_inability() -> None:
    # A policy may let pass what a service can never answer; it must not let pass what failed today.
    assert parse_one({"id": "a", "error": "database_down"}).reason is Reason.SERVICE_ERROR


def test_an_error_code_is_kept_for_the_log() -> None:
    for code in ("database_down", "e404", "x" * 40, "ab_12_cafe"):
        answer = parse_one({"id": "a", "error": code})
        assert isinstance(answer, Unanswered)
        assert answer.detail == code


@pytest.mark.parametrize(
    "error",
    [
        PDQ.hex,
        PDQ.hex[:32],
        f"no_{PDQ.hex[:32]}",
        f"{PDQ.hex[:16]}_{PDQ.hex[16:32]}",
        PDQ.hex.upper(),
        f"cannot look up {PDQ.hex}",
        "x" * 41,
        "Database down",
    ],
)
def test_an_error_that_may_echo_a_hash_is_an_error_without_its_words(error: str) -> None:
    """What a confirmer says about an unanswered hash goes to the log, where no full hash may be."""
    answer = parse_one({"id": "a", "error": error})
    assert isinstance(answer, Unanswered)
    assert (answer.reason, answer.detail) == (Reason.SERVICE_ERROR, ERROR_OUT_OF_FORM)


def test_answers_are_aligned_by_id_whatever_their_order() -> None:
    body = reply({**NOT_LISTED, "id": "b"}, LISTED)
    answers = parse_confirm(body, [PDQ, SHA256], ["a", "b"]).answers
    assert [answer.hash for answer in answers] == [PDQ, SHA256]
    assert isinstance(answers[0], Listed)
    assert isinstance(answers[1], NotListed)


def test_unknown_fields_are_ignored_everywhere() -> None:
    body = reply(
        {**LISTED, "new": [1], "matches": [{**MATCH, "new": {}, "sources": ["a"]}]}, new={"deep": [None, 1.5]}
    )
    assert isinstance(parse_confirm(body, [PDQ], ["a"]).answers[0], Listed)


def test_null_stands_for_an_absent_field() -> None:
    assert parse_one({**NOT_LISTED, "error": None, "matches": None, "withdrawn": None}) == NotListed(
        hash=PDQ, cache_s=60
    )


def test_a_cache_time_of_years_is_cut_to_the_cap() -> None:
    assert parse_one({**NOT_LISTED, "cache_s": 86_400_000_000}).cache_s == MAX_CACHE_S


def test_the_confirm_id_and_the_wait_are_kept() -> None:
    parsed = parse_confirm(reply(NOT_LISTED, minimum_wait_s=5), [PDQ], ["a"])
    assert parsed == ConfirmReply(
        answers=(NotListed(hash=PDQ, cache_s=60),), confirm_id="c-1", minimum_wait_s=5
    )


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({"id": "a"}, id="neither listed nor not"),
        pytest.param({**LISTED, "listed": "true"}, id="listed is a text"),
        pytest.param({**LISTED, "listed": 1}, id="listed is a number"),
        pytest.param({**LISTED, "matches": []}, id="listed without a match"),
        pytest.param({**NOT_LISTED, "matches": [MATCH]}, id="not listed with a match"),
        pytest.param({**LISTED, "withdrawn": True}, id="listed and withdrawn"),
        pytest.param({**LISTED, "withdrawn": "no"}, id="withdrawn is a text"),
        pytest.param({**LISTED, "cache_s": -1}, id="negative time"),
        pytest.param({**LISTED, "cache_s": 1.5}, id="fraction of a second"),
        pytest.param({**LISTED, "cache_s": True}, id="time is a flag"),
        pytest.param({**LISTED, "matches": [{**MATCH, "distance_bits": 257}]}, id="wider than the hash"),
        pytest.param({**LISTED, "matches": [{**MATCH, "distance_bits": -1}]}, id="negative distance"),
        pytest.param({**LISTED, "matches": [{**MATCH, "distance_bits": None}]}, id="no distance"),
        pytest.param({**LISTED, "matches": [{**MATCH, "algorithm": "pdq-512"}]}, id="other convention"),
        pytest.param({**LISTED, "matches": [{**MATCH, "algorithm": ["pdq"]}]}, id="algorithm is an array"),
        pytest.param({**LISTED, "matches": [{**MATCH, "sources": "nl"}]}, id="sources is a text"),
        pytest.param({**LISTED, "matches": [{**MATCH, "sources": ["x" * 257]}]}, id="long source"),
        pytest.param({**LISTED, "matches": [{**MATCH, "sources": ["a\x1b[2J"]}]}, id="control characters"),
        pytest.param({**LISTED, "matches": [{**MATCH, "sources": ["\ud800"]}]}, id="lone surrogate"),
        pytest.param({**LISTED, "matches": [{**MATCH, "categories": [{"code": "1"}]}]}, id="no scheme"),
        pytest.param({**LISTED, "matches": [{**MATCH, "categories": ["1"]}]}, id="bare category"),
        pytest.param(
            {
                **LISTED,
                "matches": [{**MATCH, "categories": [{"scheme": "s", "code": 1}]}],
            },
            id="code is a number",
        ),
        pytest.param({**LISTED, "matches": [MATCH] * 65}, id="too many matches"),
        pytest.param({"id": "a", "error": 7}, id="error is a number"),
        pytest.param({"id": "b", "listed": False}, id="another id"),
        pytest.param("a", id="answer is a text"),
    ],
)
def test_a_malformed_answer_is_refused(answer: Any) -> None:
    with pytest.raises(WireFormatError):
        parse_one(answer)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(reply(), id="no answers"),
        pytest.param(reply(NOT_LISTED, NOT_LISTED), id="an id twice"),
        pytest.param(reply(NOT_LISTED, {**NOT_LISTED, "id": "b"}), id="an id too many"),
        pytest.param(reply(NOT_LISTED)[:-1], id="cut"),
        pytest.param(b"[]", id="array"),
        pytest.param(b"true", id="v1 answer"),
        pytest.param(b"", id="empty"),
        pytest.param(b"<html></html>", id="page"),
        pytest.param(b"\xff\xfe" + reply(NOT_LISTED).decode().encode("utf-16-le"), id="UTF-16"),
        pytest.param(b"\xef\xbb\xbf" + reply(NOT_LISTED), id="byte order mark"),
        pytest.param(b"[" * 200_000, id="deep nesting"),
        pytest.param(reply(NOT_LISTED).replace(b"60", b"9" * 10_000), id="endless number"),
        pytest.param(reply(NOT_LISTED).replace(b"60", b"NaN"), id="NaN"),
        pytest.param(
            reply(NOT_LISTED).replace(b'"listed": false', b'"listed": true, "listed": false'), id="twice"
        ),
        pytest.param(reply(NOT_LISTED).replace(b'"c-1"', b'""'), id="empty confirm id"),
    ],
)
def test_a_malformed_body_is_refused(body: bytes) -> None:
    with pytest.raises(WireFormatError):
        parse_confirm(body, [PDQ], ["a"])


# --- status ----------------------------------------------------------------------------------------------


def test_status_keeps_known_algorithms_and_ignores_others() -> None:
    status = parse_status(
        json.dumps(
            {
                "version": "2.0",
                "algorithms": ["sha256", "photodna", "pdq"],
                "category_schemes": ["interpol-baseline"],
                "lists": [{"name": "known", "version": "3"}],
                "limits": {"max_hashes_per_call": 50, "max_bytes": 4096},
                "minimum_wait_s": 10**9,
            }
        ).encode()
    )
    assert status.algorithms == (Algorithm.SHA256, Algorithm.PDQ)
    assert status.lists == (("known", "3"),)
    assert status.max_hashes_per_call == 50
    assert status.minimum_wait_s == 86_400


def test_a_status_without_a_version_is_refused() -> None:
    with pytest.raises(WireFormatError, match="version"):
        parse_status(b"{}")
