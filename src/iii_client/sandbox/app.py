"""The practice service as one ASGI application: v1, v2, the filter repository, and a sign of life.

POST /v1/check/{md5|sha1} · /v1/test/check/{md5|sha1}
GET  /v2/status · POST /v2/confirm · POST /v2/feedback · GET /v2/openapi.json
GET  /filter/…                 the signed filter repository, with Range
GET  /healthz
"""

from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from iii_client.sandbox.corpus import Corpus
from iii_client.sandbox.guard import Credentials, GuardedFiles, show_problem
from iii_client.sandbox.routes_v1 import v1_routes
from iii_client.sandbox.routes_v2 import v2_routes


def build_app(
    corpus: Corpus,
    *,
    service_login: Credentials,
    filter_login: Credentials,
    exact_login: Credentials,
    public_dir: Path,
) -> Starlette:
    """Build the application.

    Args:
        corpus: the lists.
        service_login: opens v1 and v2.
        filter_login: opens the filter repository; a different one, because a real deployment keeps the
            confirming service and the filter's publication on different hosts.
        exact_login: opens it without its near segments.
        public_dir: the repository's folder to serve.
    """

    repository = GuardedFiles(
        StaticFiles(directory=public_dir), everything=filter_login, exact_only=exact_login
    )

    async def health(_: Request) -> Response:
        return PlainTextResponse("ok")

    return Starlette(
        routes=[
            *v1_routes(corpus, service_login),
            *v2_routes(corpus, service_login),
            Mount("/filter", app=repository),
            Route("/healthz", health, methods=["GET"]),
        ],
        exception_handlers={HTTPException: show_problem, Exception: show_problem},
    )
