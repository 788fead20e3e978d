"""The sidecar's HTTP: uploads, digests, pict-rs, and what operators ask.

| the policy orders | `POST /scan` | `POST /pict-rs` |
|---|---|---|
| ALLOW | 200, `"allowed": true` | 200 |
| QUARANTINE | 200, `"allowed": false, "action": "quarantine"` | 422 |
| BLOCK | 200, `"allowed": false, "action": "block"` | 422 |

Promises: what was not decided is never a 200; a reply carries no distance, source or category, and its
message for the uploader is the same whatever the reason; nothing of an upload is logged or kept.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from iii_client.config import Config
from iii_client.errors import FilterError, IIIError
from iii_client.integrations.clamd import Patience
from iii_client.integrations.rejection import REJECTED_STATUS, rejection_text
from iii_client.integrations.sidecar.bodies import BodyError, read_small, take
from iii_client.integrations.sidecar.desk import BusyError, Desk
from iii_client.integrations.sidecar.hash_items import MAX_BODY_BYTES, HashItemsError, read_hash_items
from iii_client.integrations.sidecar.openapi import OPENAPI
from iii_client.integrations.sidecar.tenants import Pace, Tenant, tenant_of
from iii_client.metrics import as_text, gather
from iii_client.model import Decision, Freshness, UploadContext
from iii_client.protocols import FilterSource
from iii_client.scanner import Scanner

#: Longest of `uploader`, `place` and `reference`, in characters.
MAX_CONTEXT_LETTERS = 1000
#: When a client that finds everything busy comes again.
BUSY_RETRY_S = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRules:
    """What one HTTP listener serves.

    Attributes:
        tenant: of its socket, where there are no tokens.
        tenants: whose tokens are taken; empty for none, and then none is asked for.
    """

    config: Config
    scanner: Scanner
    filters: FilterSource
    desk: Desk
    pace: Pace
    tenant: str
    tenants: tuple[Tenant, ...] = ()
    patience: Patience = field(default_factory=Patience)


def build_app(rules: HttpRules) -> Starlette:
    """The ASGI application of one listener."""
    site = _Site(rules)
    return Starlette(
        routes=[
            Route("/scan", site.guarded(site.scan), methods=["POST"]),
            Route("/fingerprints", site.guarded(site.fingerprints), methods=["POST"]),
            Route("/pict-rs", site.guarded(site.pict_rs), methods=["POST"]),
            Route("/healthz", site.health, methods=["GET"]),
            Route("/readyz", site.ready, methods=["GET"]),
            Route("/metrics", site.metrics, methods=["GET"]),
            Route("/openapi.json", site.openapi, methods=["GET"]),
        ],
        exception_handlers={HTTPException: _told},
    )


class _Site:
    def __init__(self, rules: HttpRules) -> None:
        self._rules = rules
        self._limit = rules.config.limits.max_content_bytes

    def guarded(
        self, endpoint: Callable[[Request, str], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint behind the token and the rate; what goes wrong there is a status of its own."""

        async def guard(request: Request) -> Response:
            tenant = self._tenant(request)
            if not tenant:
                return _error(401, "no_token", "a token is needed", {"WWW-Authenticate": "Bearer"})
            if wait_s := self._rules.pace.wait_s(tenant):
                return _error(429, "too_many", "too many uploads", {"Retry-After": str(ceil(wait_s))})
            try:
                return await endpoint(request, tenant)
            except BodyError as error:
                return _error(error.status, error.code, str(error))
            except HashItemsError as error:
                return _error(400, "malformed_items", str(error))
            except BusyError:
                return _error(503, "busy", "too busy", {"Retry-After": str(BUSY_RETRY_S)})
            except TimeoutError:
                return _error(408, "too_slow", "the upload did not come in time")
            except ClientDisconnect:
                return Response(status_code=400)  # nobody reads it
            except OSError:
                return _error(503, "no_room", "no room", {"Retry-After": str(BUSY_RETRY_S)})

        return guard

    async def scan(self, request: Request, tenant: str) -> Response:
        return JSONResponse(self._told(await self._decide(request, tenant)))

    async def pict_rs(self, request: Request, tenant: str) -> Response:
        """pict-rs's external validation: a status is all that it looks at."""
        decision = await self._decide(request, tenant)
        if decision.allowed:
            return PlainTextResponse("ok")
        message = rejection_text(decision.case_reference, self._rules.config.contact)
        return PlainTextResponse(message, status_code=REJECTED_STATUS)

    async def fingerprints(self, request: Request, tenant: str) -> Response:
        body = await read_small(request, max_bytes=MAX_BODY_BYTES, patience=self._rules.patience)
        items = read_hash_items(body)
        contexts = [UploadContext(route=tenant)] * len(items)
        decisions = await self._rules.desk.run(lambda: self._rules.scanner.check(items, contexts=contexts))
        return JSONResponse({"items": [self._told(decision) for decision in decisions]})

    async def health(self, _request: Request) -> Response:
        """Whether this process answers. Not whether it can decide: restarting would not help."""
        return PlainTextResponse("ok\n")

    async def ready(self, _request: Request) -> Response:
        """Whether an upload would be looked at now: a filter that can be used, and a place in the queue."""
        if self._rules.desk.is_full:
            return PlainTextResponse("busy\n", status_code=503)
        try:
            current = await self._rules.desk.run(self._rules.filters.current)
        except (FilterError, BusyError):
            return PlainTextResponse("no usable filter\n", status_code=503)
        # An expired one finds what it knew, but its silence proves nothing: pictures are unscannable.
        expired = current.freshness is Freshness.EXPIRED
        text, status = ("the filter is expired\n", 503) if expired else ("ready\n", 200)
        return PlainTextResponse(text, status_code=status)

    async def metrics(self, request: Request) -> Response:
        if not self._tenant(request):
            return _error(401, "no_token", "a token is needed", {"WWW-Authenticate": "Bearer"})
        try:
            text = await self._rules.desk.run(
                lambda: as_text(gather(self._rules.config, now=datetime.now(UTC)))
            )
        except (BusyError, IIIError):
            return _error(503, "busy", "not to be had now", {"Retry-After": str(BUSY_RETRY_S)})
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def openapi(self, _request: Request) -> Response:
        return JSONResponse(OPENAPI)

    async def _decide(self, request: Request, tenant: str) -> Decision:
        with self._rules.desk.spool() as spool:
            upload = await take(request, spool, max_bytes=self._limit, patience=self._rules.patience)
            uploader, place, reference = (
                _told_context(upload.fields.get(name) or request.headers.get(f"iii-{name}", ""))
                for name in ("uploader", "place", "reference")
            )
            context = UploadContext(route=tenant, uploader=uploader, place=place, reference=reference)
            return await self._rules.desk.decide(spool, context)

    def _told(self, decision: Decision) -> dict[str, Any]:
        contact = self._rules.config.contact
        allowed = decision.allowed
        return {
            "allowed": allowed,
            "action": decision.action.value,
            "outcome": decision.verdict.outcome.value,
            "case_reference": decision.case_reference,
            "contact": contact,
            "message": "" if allowed else rejection_text(decision.case_reference, contact),
        }

    def _tenant(self, request: Request) -> str:
        if not self._rules.tenants:
            return self._rules.tenant
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        found = tenant_of(token.strip(), self._rules.tenants) if scheme.lower() == "bearer" else None
        return found.name if found else ""


def _told_context(text: str) -> str:
    if len(text) > MAX_CONTEXT_LETTERS:
        raise BodyError(400, "context_too_long", f"at most {MAX_CONTEXT_LETTERS} letters each")
    return text


async def _told(_request: Request, error: Exception) -> Response:
    """404 and 405, in the form of the others."""
    assert isinstance(error, HTTPException)  # noqa: S101 - that is what it was registered for
    return _error(error.status_code, "no_such_call", error.detail, dict(error.headers or {}))


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": code, "message": message}, status_code=status, headers=headers)
