"""The richer contract, served: status, confirmations in batches, feedback, and the document of it all.

The OpenAPI document ships beside this module; a test checks it against the answers given here.
"""

import json
import secrets
from collections.abc import Sequence
from http import HTTPStatus
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from iii_client.errors import WireFormatError
from iii_client.model import Algorithm, HashValue
from iii_client.sandbox.corpus import Corpus, Found
from iii_client.sandbox.guard import Credentials, Problem, guarded, read_body
from iii_client.service.strict_json import Fields, parse_object
from iii_client.service.wire_v2 import ERROR_UNKNOWN_ALGORITHM, MAX_HASHES_PER_CALL, MAX_TEXT, pad

#: A hundred hashes with their ids take 13 KB.
MAX_CONFIRM_BYTES = 64 << 10
MAX_FEEDBACK_BYTES = 64 << 10
#: How long an answer may be kept: a listed hash rarely goes, a hash that is not listed may come any hour.
CACHE_LISTED_S = 24 * 3600
CACHE_NOT_LISTED_S = 3600
MINIMUM_WAIT_S = 0

FEEDBACK_KINDS = ("dispute", "follow_up")

_LONGEST_HEX = max(algorithm.width_bits for algorithm in Algorithm) // 4
_BY_NAME = {str(algorithm): algorithm for algorithm in Algorithm}


def openapi_bytes() -> bytes:
    """The OpenAPI document, as it ships."""
    return (files("iii_client.sandbox") / "openapi.json").read_bytes()


def v2_routes(corpus: Corpus, credentials: Credentials) -> Sequence[Route]:
    """`/v2/status`, `/v2/confirm`, `/v2/feedback`, and `/v2/openapi.json`, which needs no login."""

    @guarded(credentials)
    async def status(_: Request) -> Response:
        return JSONResponse(await run_in_threadpool(_status, corpus))

    @guarded(credentials)
    async def confirm(request: Request) -> Response:
        asked = _parse_confirm(await read_body(request, at_most=MAX_CONFIRM_BYTES))
        answers = await run_in_threadpool(lambda: [_answer(corpus, *item) for item in asked])
        reply = {
            "confirm_id": secrets.token_hex(16),
            "minimum_wait_s": MINIMUM_WAIT_S,
            "answers": answers,
        }
        # Padded like the question: on an encrypted line, the length would tell a hit from a miss.
        return Response(pad(json.dumps(reply).encode()), media_type="application/json")

    @guarded(credentials)
    async def feedback(request: Request) -> Response:
        key = request.headers.get("idempotency-key", "")
        if not 1 <= len(key) <= MAX_TEXT or not key.isprintable():
            raise Problem(HTTPStatus.BAD_REQUEST, "the header Idempotency-Key is missing or too long")
        content = _parse_feedback(await read_body(request, at_most=MAX_FEEDBACK_BYTES))
        feedback_id, same = await run_in_threadpool(
            lambda: corpus.keep_feedback(
                key, new_id=secrets.token_hex(16), content=json.dumps(content, sort_keys=True)
            )
        )
        if not same:
            raise Problem(HTTPStatus.CONFLICT, "this Idempotency-Key was used for other feedback")
        return JSONResponse({"feedback_id": feedback_id})

    async def openapi(_: Request) -> Response:
        return Response(openapi_bytes(), media_type="application/json")

    return [
        Route("/v2/status", status, methods=["GET"]),
        Route("/v2/confirm", confirm, methods=["POST"]),
        Route("/v2/feedback", feedback, methods=["POST"]),
        Route("/v2/openapi.json", openapi, methods=["GET"]),
    ]


def _status(corpus: Corpus) -> dict[str, Any]:
    lists = corpus.lists()
    return {
        "version": f"iii-client-sandbox/{version('iii-client')}",
        "algorithms": [str(algorithm) for algorithm in Algorithm],
        "category_schemes": sorted({scheme for item in lists for scheme in item.category_schemes}),
        "lists": [
            {
                "name": item.name,
                "version": str(item.version),
                "kind": item.kind,
                "entries": item.entries,
                "sources": list(item.sources),
            }
            for item in lists
        ],
        "limits": {"max_hashes_per_call": MAX_HASHES_PER_CALL, "max_bytes": MAX_CONFIRM_BYTES},
        "minimum_wait_s": MINIMUM_WAIT_S,
    }


def _parse_confirm(body: bytes) -> list[tuple[str, HashValue | None]]:
    """(id, hash) of each question; no hash where the algorithm is unknown.

    Raises:
        Problem: 400, the body is not of the contract's form.
    """
    try:
        items = parse_object(body, where="the body").objects(
            "hashes", most=MAX_HASHES_PER_CALL, required=True
        )
        asked = [(item.text("id", longest=MAX_TEXT), _parse_hash(item)) for item in items]
    except WireFormatError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, str(error)) from None
    if not asked or len({id_ for id_, _ in asked}) != len(asked):
        raise Problem(HTTPStatus.BAD_REQUEST, "there is no hash, or two have one id")
    return asked


def _parse_hash(item: Fields) -> HashValue | None:
    algorithm = _BY_NAME.get(item.text("algorithm", longest=MAX_TEXT))
    if algorithm is None:
        return None
    try:
        return HashValue.from_hex(algorithm, item.text("value", longest=_LONGEST_HEX))
    except ValueError as error:
        raise WireFormatError(f"a value is malformed: {error}") from None


def _answer(corpus: Corpus, id_: str, value: HashValue | None) -> dict[str, Any]:
    if value is None:
        return {"id": id_, "error": ERROR_UNKNOWN_ALGORITHM}
    found = corpus.find(value)
    listed = [item for item in found if not item.withdrawn]
    return {
        "id": id_,
        "listed": bool(listed),
        "matches": [_match(item) for item in listed],
        "withdrawn": bool(found) and not listed,
        "cache_s": CACHE_LISTED_S if listed else CACHE_NOT_LISTED_S,
    }


def _match(item: Found) -> dict[str, Any]:
    return {
        "algorithm": str(item.hash.algorithm),
        "distance_bits": item.distance_bits,
        "sources": list(item.sources),
        "categories": [
            {"scheme": category.scheme, "code": category.code, "source": category.source}
            for category in item.categories
        ],
        "list_version": item.list_version,
    }


def _parse_feedback(body: bytes) -> dict[str, Any]:
    """The known fields of a feedback body, and nothing else of it.

    Raises:
        Problem: 400, the body is not of the contract's form.
    """
    try:
        fields = parse_object(body, where="the body")
        kind = fields.text("kind", longest=MAX_TEXT)
        if kind not in FEEDBACK_KINDS:
            raise WireFormatError(f"'kind' must be one of {', '.join(FEEDBACK_KINDS)}")
        hashes = [_parse_hash(item) for item in fields.objects("hashes", most=MAX_HASHES_PER_CALL)]
        return {
            "confirm_id": fields.text("confirm_id", longest=MAX_TEXT),
            "kind": kind,
            "code": fields.text("code", longest=MAX_TEXT),
            "at": fields.text("at", longest=MAX_TEXT, default=""),
            "hashes": [f"{value.algorithm}:{value.hex}" for value in hashes if value is not None],
        }
    except WireFormatError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, str(error)) from None
