"""The live service's contract, served: a bare hash in, the bare text `true` or `false` out."""

from collections.abc import Sequence
from http import HTTPStatus

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from iii_client.model import Algorithm, HashValue
from iii_client.sandbox.corpus import Corpus
from iii_client.sandbox.guard import Credentials, Problem, guarded, read_body
from iii_client.service.wire_v1 import V1_ALGORITHMS

#: Longest body: the longest hash the contract covers, with room to tell a wrong one from a huge one.
MAX_BODY_BYTES = 256

_BY_NAME = {str(algorithm): algorithm for algorithm in V1_ALGORITHMS}


def v1_routes(corpus: Corpus, credentials: Credentials) -> Sequence[Route]:
    """`/v1/check/…` and the test base `/v1/test/check/…`, which here has the same lists."""

    @guarded(credentials)
    async def check(request: Request) -> Response:
        algorithm = _BY_NAME.get(request.path_params["algorithm"])
        if algorithm is None:
            raise Problem(HTTPStatus.NOT_FOUND)
        value = _parse(algorithm, await read_body(request, at_most=MAX_BODY_BYTES))
        found = await run_in_threadpool(corpus.find, value)
        listed = any(not item.withdrawn for item in found)
        return PlainTextResponse("true" if listed else "false")

    return [
        Route("/v1/check/{algorithm}", check, methods=["POST"]),
        Route("/v1/test/check/{algorithm}", check, methods=["POST"]),
    ]


def _parse(algorithm: Algorithm, body: bytes) -> HashValue:
    try:
        text = body.decode("ascii")
        if text != text.lower():
            raise ValueError
        return HashValue.from_hex(algorithm, text)
    except ValueError:
        digits = algorithm.width_bits // 4
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            f"the body must be {digits} lower-case hexadecimal digits and nothing else",
        ) from None
