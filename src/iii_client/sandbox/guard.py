"""What every route of the practice service has in common: credentials, body limits, and problems.

Promises: nothing of a body is read before the credentials were checked; no body longer than its route's
limit is held; every refusal is `application/problem+json`; a full house says when to come back.
"""

import asyncio
import base64
import binascii
import hmac
import posixpath
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import PurePosixPath

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from iii_client.config import Secret

#: How long a client may take over one body.
BODY_TIMEOUT_S = 10.0
#: Requests worked on at once; the next one is asked to come back.
MAX_AT_ONCE = 64
RETRY_AFTER_S = 1

#: The folder of near segments in a repository.
NEAR_FOLDER = "near"

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """One HTTP Basic login."""

    username: str
    password: Secret

    def allow(self, header: str) -> bool:
        """Whether an `Authorization` header carries this login. Takes equally long whatever is wrong."""
        scheme, _, encoded = header.partition(" ")
        try:
            given = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            given = b""
        wanted = f"{self.username}:{self.password.reveal()}".encode()
        return hmac.compare_digest(given, wanted) and scheme.lower() == "basic"


class Problem(HTTPException):
    """A refusal, as RFC 9457 writes it."""

    def __init__(
        self, status: HTTPStatus, detail: str = "", *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status_code=status, detail=detail or status.phrase, headers=headers)


async def show_problem(_: Request, error: Exception) -> Response:
    """The answer that stands for an error: what an `HTTPException` says, and of any other one nothing."""
    if not isinstance(error, HTTPException):
        error = Problem(HTTPStatus.INTERNAL_SERVER_ERROR)
    title = HTTPStatus(error.status_code).phrase
    content = {"type": "about:blank", "title": title, "status": error.status_code, "detail": error.detail}
    return JSONResponse(
        content, status_code=error.status_code, headers=error.headers, media_type="application/problem+json"
    )


def check_login(credentials: Credentials, authorization: str) -> None:
    """Raises:
    Problem: 401, the login is missing or wrong.
    """
    if not credentials.allow(authorization):
        raise Problem(
            HTTPStatus.UNAUTHORIZED,
            "credentials are missing or wrong",
            headers={"WWW-Authenticate": 'Basic realm="iii-sandbox", charset="UTF-8"'},
        )


def guarded(credentials: Credentials) -> Callable[[Endpoint], Endpoint]:
    """Put a login and a limit of requests at once before an endpoint."""
    slots = asyncio.Semaphore(MAX_AT_ONCE)

    def wrap(endpoint: Endpoint) -> Endpoint:
        async def guard(request: Request) -> Response:
            check_login(credentials, request.headers.get("authorization", ""))
            if slots.locked():
                raise Problem(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    "too many requests at once",
                    headers={"Retry-After": str(RETRY_AFTER_S)},
                )
            async with slots:
                return await endpoint(request)

        return guard

    return wrap


class GuardedFiles:
    """The filter repository behind two logins: one for all of it, one that does not open near segments.

    What the password files of a real publisher's web server do, see docs/how-to/publish-a-filter.md.
    """

    def __init__(self, app: ASGIApp, *, everything: Credentials, exact_only: Credentials) -> None:
        self._app = app
        self._everything = everything
        self._exact_only = exact_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        authorization = Request(scope).headers.get("authorization", "")
        if self._exact_only.allow(authorization):
            # By the path that will be served: `//`, `..` and escapes are resolved in it.
            if NEAR_FOLDER in PurePosixPath(posixpath.normpath(scope["path"])).parts:
                raise Problem(HTTPStatus.FORBIDDEN, "this login does not open near segments")
        else:
            check_login(self._everything, authorization)
        await self._app(scope, receive, send)


async def read_body(request: Request, *, at_most: int) -> bytes:
    """A whole body.

    Raises:
        Problem: 413 over the limit, 408 not in time.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > at_most:
                    raise Problem(
                        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is longer than {at_most} bytes"
                    )
    except TimeoutError:
        raise Problem(HTTPStatus.REQUEST_TIMEOUT, "the body did not come in time") from None
    return bytes(body)
