"""The richer contract over raw HTTP and through the library, and the document that describes it."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest

from iii_client.config import Config
from iii_client.errors import AuthenticationError
from iii_client.model import (
    TEST_CATEGORY_CODE,
    TEST_CATEGORY_SCHEME,
    Algorithm,
    Category,
    HashValue,
    Listed,
    NotListed,
)
from iii_client.publisher import test_picture_entries as picture_entries
from iii_client.sandbox import Sandbox
from iii_client.service import make_confirmer
from iii_client.service.wire_v2 import PADDING_BYTES


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


def question(*hashes: tuple[str, str]) -> bytes:
    items = [{"id": str(i), "algorithm": name, "value": value} for i, (name, value) in enumerate(hashes)]
    return json.dumps({"hashes": items}).encode()


@pytest.fixture
def listed_pdq(sandbox: Sandbox) -> HashValue:
    return next(
        item.hash
        for item in sandbox.corpus.entries()
        if item.list_name == "known" and item.hash.algorithm is Algorithm.PDQ
    )


def flipped(value: HashValue, bits: int) -> HashValue:
    number = int.from_bytes(value.value) ^ ((1 << bits) - 1)
    return HashValue(algorithm=value.algorithm, value=number.to_bytes(len(value.value)))


def test_a_near_hash_is_listed_with_its_distance_and_labels(ask: Ask, listed_pdq: HashValue) -> None:
    reply = ask("POST", "/v2/confirm", question(("pdq", flipped(listed_pdq, 9).hex)))
    assert reply.status == 200
    assert len(reply.body) % PADDING_BYTES == 0
    (answer,) = json.loads(reply.body)["answers"]
    assert answer["listed"] is True
    assert answer["matches"] == [
        {
            "algorithm": "pdq",
            "distance_bits": 9,
            "sources": ["example-body"],
            "categories": [{"scheme": "example-scheme", "code": "1", "source": "example-body"}],
            "list_version": "known@1",
        }
    ]


def test_hits_and_misses_have_answers_of_equal_length(ask: Ask, listed_pdq: HashValue) -> None:
    hit = ask("POST", "/v2/confirm", question(("pdq", listed_pdq.hex)))
    miss = ask("POST", "/v2/confirm", question(("pdq", flipped(listed_pdq, 200).hex)))
    assert len(hit.body) == len(miss.body)


def test_not_listed_is_an_answer_and_an_unknown_algorithm_an_error_in_one(ask: Ask) -> None:
    reply = ask("POST", "/v2/confirm", question(("md5", "0" * 32), ("photodna", "00")))
    first, second = json.loads(reply.body)["answers"]
    assert reply.status == 200
    assert (first["listed"], first["matches"], first["withdrawn"]) == (False, [], False)
    assert second == {"id": "1", "error": "unknown_algorithm"}


def test_the_test_picture_is_listed_in_its_own_category(sandbox: Sandbox) -> None:
    hashes = [entry.hash for entry in picture_entries()]
    answers = make_confirmer(Config.from_env(sandbox.env).service).confirm(hashes).answers
    for answer in answers:
        assert isinstance(answer, Listed)
        assert {(c.scheme, c.code) for match in answer.matches for c in match.categories} == {
            (TEST_CATEGORY_SCHEME, TEST_CATEGORY_CODE)
        }
        assert all(match.is_test for match in answer.matches)


def test_the_library_confirms_a_batch_in_order(
    sandbox: Sandbox, listed_picture: Path, listed_pdq: HashValue
) -> None:
    exact = HashValue(algorithm=Algorithm.SHA256, value=hashlib.sha256(listed_picture.read_bytes()).digest())
    near = flipped(listed_pdq, 31)
    far = flipped(listed_pdq, 32)
    hashes = [far, exact, near, exact]
    confirmation = make_confirmer(Config.from_env(sandbox.env).service).confirm(hashes)
    assert [answer.hash for answer in confirmation.answers] == hashes
    assert [type(answer) for answer in confirmation.answers] == [NotListed, Listed, Listed, Listed]
    assert confirmation.hashes_sent == 3
    assert confirmation.confirm_id
    (match,) = confirmation.answers[1].matches  # type: ignore[union-attr]
    assert match.exact
    assert match.categories == (Category(scheme="example-scheme", code="1", source="example-body"),)
    (match,) = confirmation.answers[2].matches  # type: ignore[union-attr]
    assert (match.exact, match.distance_bits) == (False, 31)


def test_more_than_a_hundred_hashes_make_several_calls(sandbox: Sandbox) -> None:
    hashes = [HashValue(algorithm=Algorithm.SHA1, value=i.to_bytes(20)) for i in range(250)]
    confirmation = make_confirmer(Config.from_env(sandbox.env).service).confirm(hashes)
    assert [answer.hash for answer in confirmation.answers] == hashes
    assert confirmation.hashes_sent == 250


def test_status_tells_lists_and_limits(sandbox: Sandbox) -> None:
    report = make_confirmer(Config.from_env(sandbox.env).service).status()
    assert report.protocol == "v2"
    assert set(report.algorithms) == set(Algorithm)
    assert report.lists == ("iii-test", "known")


def test_status_with_wrong_credentials_says_so(sandbox: Sandbox) -> None:
    env = sandbox.env | {"III_SERVICE_PASSWORD": "wrong"}
    with pytest.raises(AuthenticationError) as caught:
        make_confirmer(Config.from_env(env).service).status()
    assert "III_SERVICE_PASSWORD" in caught.value.hint


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"[]", id="array"),
        pytest.param(b'{"hashes": []}', id="no hash"),
        pytest.param(b'{"hashes": "all"}', id="text"),
        pytest.param(question(("md5", "0" * 31)), id="short value"),
        pytest.param(question(("md5", "zz" * 16)), id="no digits"),
        pytest.param(question(*[("md5", "0" * 32)] * 101), id="too many"),
        pytest.param(question(("md5", "0" * 32)).replace(b'"id": "0"', b'"id": ""'), id="no id"),
        pytest.param(
            question(("md5", "0" * 32), ("md5", "1" * 32)).replace(b'"id": "1"', b'"id": "0"'),
            id="an id twice",
        ),
        pytest.param(b"[" * 10_000, id="deep nesting"),
    ],
)
def test_a_malformed_question_is_a_problem_that_does_not_repeat_it(ask: Ask, body: bytes) -> None:
    reply = ask("POST", "/v2/confirm", body)
    assert reply.status == 400
    assert b"000000" not in reply.body
    assert b"zzz" not in reply.body


def test_a_huge_question_is_cut_off(ask: Ask) -> None:
    assert ask("POST", "/v2/confirm", b" " * 1_000_000).status == 413


FEEDBACK = json.dumps({"confirm_id": "c", "kind": "dispute", "code": "innocent", "secret": "x"}).encode()


def test_feedback_is_stored_once_for_a_key(ask: Ask) -> None:
    first = ask("POST", "/v2/feedback", FEEDBACK, headers={"Idempotency-Key": "once"})
    again = ask("POST", "/v2/feedback", FEEDBACK, headers={"Idempotency-Key": "once"})
    other = ask("POST", "/v2/feedback", FEEDBACK, headers={"Idempotency-Key": "twice"})
    assert (first.status, again.status, other.status) == (200, 200, 200)
    assert first.body == again.body != other.body


def test_a_key_is_not_taken_for_other_feedback(ask: Ask) -> None:
    ask("POST", "/v2/feedback", FEEDBACK, headers={"Idempotency-Key": "mine"})
    changed = FEEDBACK.replace(b"innocent", b"mistaken")
    assert ask("POST", "/v2/feedback", changed, headers={"Idempotency-Key": "mine"}).status == 409


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (FEEDBACK, {}),
        (FEEDBACK, {"Idempotency-Key": "x" * 257}),
        (b"{}", {"Idempotency-Key": "k"}),
        (FEEDBACK.replace(b"dispute", b"praise"), {"Idempotency-Key": "k"}),
    ],
)
def test_malformed_feedback_is_refused(ask: Ask, body: bytes, headers: dict[str, str]) -> None:
    assert ask("POST", "/v2/feedback", body, headers=headers).status == 400


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v2/status"), ("POST", "/v2/confirm"), ("POST", "/v2/feedback")]
)
def test_without_a_login_there_is_nothing(ask: Ask, method: str, path: str) -> None:
    assert ask(method, path, anonymous=True).status == 401


# --- the document ----------------------------------------------------------------------------------------

#: Everything that the document's schemas use. An unknown keyword would be a promise that nobody checks.
KEYWORDS = {
    *("type", "properties", "required", "items", "enum", "oneOf", "$ref", "description", "pattern"),
    *("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems"),
}
TYPES: dict[str, type] = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}


class Document:
    """The served OpenAPI document, and a validator of just what it uses."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content

    def resolve(self, node: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in node:
            target: Any = self.content
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            node = target
        return node

    def faults(self, value: Any, schema: dict[str, Any], where: str = "$") -> Iterator[str]:
        schema = self.resolve(schema)
        assert schema.keys() <= KEYWORDS, schema.keys() - KEYWORDS
        if "oneOf" in schema:
            fitting = sum(not list(self.faults(value, option, where)) for option in schema["oneOf"])
            if fitting != 1:
                yield f"{where} fits {fitting} of the options"
            return
        kind = TYPES[schema["type"]]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            yield f"{where} is not of type {schema['type']}"
            return
        if "enum" in schema and value not in schema["enum"]:
            yield f"{where} is none of the values"
        if isinstance(value, str):
            if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
                yield f"{where} has a wrong length"
            if "pattern" in schema and not re.search(schema["pattern"], value):
                yield f"{where} has a wrong form"
        if isinstance(value, int) and not (
            schema.get("minimum", value) <= value <= schema.get("maximum", value)
        ):
            yield f"{where} is out of range"
        if isinstance(value, list):
            if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
                yield f"{where} has a wrong count"
            for index, item in enumerate(value):
                yield from self.faults(item, schema["items"], f"{where}[{index}]")
        if isinstance(value, dict) and "properties" in schema:
            yield from (f"{where}.{key} is missing" for key in schema["required"] if key not in value)
            # The document describes this service wholly, although clients must ignore what they do not know.
            yield from (f"{where}.{key} is not described" for key in value if key not in schema["properties"])
            for key, inner in schema["properties"].items():
                if key in value:
                    yield from self.faults(value[key], inner, f"{where}.{key}")

    def check(self, method: str, path: str, reply: Reply) -> None:
        """Assert that a reply is one that the document promises."""
        operation = self.content["paths"][path][method.lower()]
        described = self.resolve(operation["responses"][str(reply.status)])
        media_type = reply.headers["content-type"].partition(";")[0]
        assert list(described["content"]) == [media_type]
        schema = described["content"][media_type]["schema"]
        assert list(self.faults(json.loads(reply.body), schema)) == []
        for name in described.get("headers", {}):
            assert name.lower() in reply.headers


@pytest.fixture
def document(ask: Ask) -> Document:
    reply = ask("GET", "/v2/openapi.json", anonymous=True)
    assert reply.status == 200
    return Document(json.loads(reply.body))


def test_every_answer_is_as_the_document_says(ask: Ask, document: Document, listed_pdq: HashValue) -> None:
    confirm, feedback = "/v2/confirm", "/v2/feedback"
    good = question(("pdq", listed_pdq.hex), ("sha1", "0" * 40), ("photodna", "00"))
    key = {"Idempotency-Key": "document"}
    seen = [
        ("GET", "/v2/status", ask("GET", "/v2/status")),
        ("GET", "/v2/status", ask("GET", "/v2/status", anonymous=True)),
        ("POST", confirm, ask("POST", confirm, good)),
        ("POST", confirm, ask("POST", confirm, b"{}")),
        ("POST", confirm, ask("POST", confirm, good, anonymous=True)),
        ("POST", confirm, ask("POST", confirm, b" " * 1_000_000)),
        ("POST", feedback, ask("POST", feedback, FEEDBACK, headers=key)),
        ("POST", feedback, ask("POST", feedback, FEEDBACK.replace(b"innocent", b"other"), headers=key)),
        ("POST", feedback, ask("POST", feedback, b"{}", headers=key)),
        ("GET", "/v2/openapi.json", ask("GET", "/v2/openapi.json", anonymous=True)),
    ]
    for method, path, reply in seen:
        document.check(method, path, reply)
    described = {
        (method.upper(), path, int(status))
        for path, methods in document.content["paths"].items()
        for method, operation in methods.items()
        for status in operation["responses"]
    }
    checked = {(method, path, reply.status) for method, path, reply in seen}
    # Not provoked here: a full house, and two refusals that all routes share.
    assert {item for item in described - checked if item[2] != 503} == {
        ("POST", feedback, 401),
        ("POST", feedback, 413),
    }


def test_the_librarys_own_question_is_as_the_document_says(document: Document, listed_pdq: HashValue) -> None:
    from iii_client.service.wire_v2 import build_confirm

    schema = document.content["components"]["schemas"]["ConfirmRequest"]
    asked = json.loads(build_confirm([listed_pdq], ["id"]).body)
    assert list(document.faults(asked, schema)) == []


def test_the_validator_finds_faults(document: Document) -> None:
    schema = {"$ref": "#/components/schemas/Answer"}
    good = {"id": "a", "listed": False, "matches": [], "withdrawn": False, "cache_s": 0}
    assert list(document.faults(good, schema)) == []
    for fault in ({"listed": "no"}, {"cache_s": -1}, {"cache_s": True}, {"id": ""}, {"extra": 1}):
        assert list(document.faults({**good, **fault}, schema))
