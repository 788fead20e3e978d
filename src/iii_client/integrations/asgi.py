"""Starlette and what is built on it: one object, one awaited line in the endpoint that takes an upload.

    iii = III(app)                          # or III() and iii.init_app(app)

    async def upload(request):
        async with request.form() as form:
            await iii.check(form["picture"], request=request)   # refuses with a neutral 422
            ...

For FastAPI there is a dependency, too: `integrations/fastapi.py`. Needs the extra `[fastapi]`, or Starlette
and python-multipart.

| action | `check` | the upload is |
|---|---|---|
| allow | returns the decision | the endpoint's to store |
| quarantine | raises `UploadRejected`: 422 | not stored; the same upload may pass once an answer has come |
| block | raises `UploadRejected`: 422, the same words | not stored |

Promises: all work is done in threads, of which there are few, so the event loop is never blocked and the
application's own threads are never used up; no body is parsed here. A scan whose client has gone goes on to
its end, because what it finds must be recorded.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, BinaryIO, TypeVar, cast

from iii_client.config import Config
from iii_client.errors import MissingExtraError
from iii_client.integrations.rejection import (
    REJECTED_STATUS,
    UploadRejected,
    rejection_json,
    rejection_page,
)
from iii_client.integrations.uploads import Uploads
from iii_client.model import Decision, UploadContext
from iii_client.protocols import Observer

try:
    import anyio
    from starlette.applications import Starlette
    from starlette.datastructures import UploadFile
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, JSONResponse, Response
except ModuleNotFoundError as error:
    raise MissingExtraError("the integration for Starlette and FastAPI", extra="fastapi") from error

#: Scans at once in one process. Hashing keeps a core busy and a confirmation waits for up to its budget;
#: further uploads queue up, in order, and the loop serves everything else meanwhile.
AT_ONCE = 4

Result = TypeVar("Result")


def _nobody(_request: Request) -> str:
    return ""


class III:
    """Scans the uploads of an application that runs in an event loop.

    Args:
        app: to set up now; without it, call `init_app`.
        settings: the same names as in the TOML file; they win over it and over `III_*` variables.
        uploader: the application's own id of whoever sent a request.
        at_once: scans at once; see `AT_ONCE`.
        observers: are told of every decision, e.g. `PrometheusObserver()`.
        uploads: what scans; built from the settings unless given.

    Raises:
        ConfigurationError: a setting is missing or wrong.
    """

    def __init__(
        self,
        app: Starlette | None = None,
        *,
        settings: Mapping[str, Any] | None = None,
        uploader: Callable[[Request], str] = _nobody,
        at_once: int = AT_ONCE,
        observers: Sequence[Observer] = (),
        uploads: Uploads | None = None,
    ) -> None:
        self._uploads = uploads or Uploads.from_config(
            Config.from_env(over=settings or {}), observers=observers
        )
        self._uploader = uploader
        self._limiter = anyio.CapacityLimiter(at_once)
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Starlette) -> None:
        """Answer refused uploads, unless the application does with words of its own."""
        app.state.iii_client = self
        if UploadRejected not in app.exception_handlers:
            app.add_exception_handler(UploadRejected, _handle)

    async def scan(
        self,
        file: UploadFile | BinaryIO | None,
        *,
        request: Request | None = None,
        context: UploadContext | None = None,
    ) -> Decision:
        """Decide about an upload. Ask `decision.allowed`.

        Args:
            file: of a form, or any open binary file; it is left as found.
            request: tells where it comes from: the endpoint's name and `uploader`.
            context: tells it instead.

        Raises:
            HTTPException: 400, the field came without a file. For content, filter and network nothing is.
        """
        found = _open_file(file)
        return await self._in_thread(
            partial(self._uploads.scan, found, context=context or self.context(request))
        )

    async def check(
        self,
        file: UploadFile | BinaryIO | None,
        *,
        request: Request | None = None,
        context: UploadContext | None = None,
    ) -> Decision:
        """The same, and refuse what the policy does not allow. Arguments as for `scan`.

        Raises:
            UploadRejected: it is not to be stored; the application answers 422 with the neutral message.
            HTTPException: as `scan`.
        """
        found = _open_file(file)
        return await self._in_thread(
            partial(self._uploads.check, found, context=context or self.context(request))
        )

    async def hold(self, file: UploadFile | BinaryIO, decision: Decision, *, origin: str = "") -> str:
        """Seal a copy of an upload that was not allowed. See `Uploads.hold`."""
        return await self._in_thread(partial(self._uploads.hold, _open_file(file), decision, origin=origin))

    def context(self, request: Request | None) -> UploadContext:
        """Endpoint and uploader of a request. Nobody's address is in it."""
        if request is None:
            return UploadContext()
        route = request.scope.get("route")
        return UploadContext(route=getattr(route, "name", None) or "", uploader=self._uploader(request))

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await anyio.to_thread.run_sync(work, limiter=self._limiter)


def refuse(request: Request, rejected: UploadRejected) -> Response:
    """The answer to a refused upload: the same whatever the reason, as a page or as JSON."""
    headers = {"Cache-Control": "no-store"}
    if _wants_page(request.headers.get("accept", "")):
        return HTMLResponse(rejection_page(rejected), status_code=REJECTED_STATUS, headers=headers)
    return JSONResponse(rejection_json(rejected), status_code=REJECTED_STATUS, headers=headers)


async def _handle(request: Request, error: Exception) -> Response:
    return refuse(request, cast(UploadRejected, error))


def _wants_page(accept: str) -> bool:
    # Browsers name text/html first, programs leave it out; weights decide nothing more here.
    html, json = accept.find("text/html"), accept.find("application/json")
    return html >= 0 and (json < 0 or html < json)


def _open_file(file: object) -> BinaryIO:
    # A form gives a text where a field came without a file, and None where it did not come at all.
    if file is None or file == "" or (isinstance(file, UploadFile) and not file.filename and file.size == 0):
        raise HTTPException(400, "No file was sent.")
    if isinstance(file, UploadFile):
        return file.file
    if not hasattr(file, "read"):
        raise TypeError(f"a {type(file).__name__} is no upload; pass what the form holds")
    return cast(BinaryIO, file)
