"""Starlette and FastAPI applications as hosters write them, over real connections where it matters."""

import asyncio
import io
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest

pytest.importorskip("fastapi", reason="the extra [fastapi] is not installed")

import requests
import uvicorn
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from iii_client import Action, Outcome, UploadContext
from iii_client.content import Content
from iii_client.integrations import asgi, fastapi
from iii_client.integrations.rejection import UploadRejected
from iii_client.integrations.uploads import Uploads
from iii_client.model import ANONYMOUS, Decision
from iii_client.testing import PracticePicture

Env = dict[str, str]
Form = Callable[[list[tuple[str, str | None, bytes]]], tuple[bytes, str]]
Fixed = Callable[[Outcome, Action], Uploads]


def fastapi_app(board: Path, *, uploads: Uploads | None = None) -> FastAPI:
    app = FastAPI()
    iii = fastapi.III(app, uploads=uploads)

    @app.post("/pictures", status_code=201)
    async def take(picture: Annotated[UploadFile, Depends(iii.upload("picture"))]) -> str:
        (board / f"{len(list(board.iterdir()))}.bin").write_bytes(await picture.read())
        return "stored"

    @app.post("/albums", status_code=201)
    async def take_all(pictures: Annotated[list[UploadFile], Depends(iii.uploads("picture"))]) -> int:
        return len(pictures)

    return app


def starlette_app(board: Path, *, uploads: Uploads | None = None) -> Starlette:
    iii = asgi.III(uploads=uploads)

    async def take(request: Request) -> Response:
        async with request.form() as form:
            picture = form.get("picture")
            await iii.check(picture, request=request)  # type: ignore[arg-type]
            assert isinstance(picture, UploadFile)
            (board / f"{len(list(board.iterdir()))}.bin").write_bytes(await picture.read())
        return PlainTextResponse("stored", status_code=201)

    app = Starlette(routes=[Route("/pictures", take, methods=["POST"])])
    iii.init_app(app)
    return app


MakeApp = Callable[..., Starlette]
BOTH = pytest.mark.parametrize("make_app", [fastapi_app, starlette_app], ids=["fastapi", "starlette"])


def post(app: Starlette, data: bytes, *, accept: str = "*/*") -> Any:
    return TestClient(app).post(
        "/pictures", files={"picture": ("holiday.png", data)}, headers={"Accept": accept}
    )


TABLE = [(outcome, action) for outcome in Outcome for action in Action]


@BOTH
@pytest.mark.parametrize(("outcome", "action"), TABLE, ids=lambda value: value.value)
def test_what_each_outcome_and_action_leads_to(
    make_app: MakeApp, outcome: Outcome, action: Action, board: Path, fixed_uploads: Fixed
) -> None:
    answer = post(make_app(board, uploads=fixed_uploads(outcome, action)), b"anything")
    if action is Action.ALLOW:
        assert answer.status_code == 201
        assert [path.read_bytes() for path in board.iterdir()] == [b"anything"]
    else:
        assert answer.status_code == 422
        assert answer.headers["Cache-Control"] == "no-store"
        assert not list(board.iterdir())
        assert answer.json() == {
            "code": "upload_rejected",
            "detail": "This file cannot be taken. Reference: 7K3M-Q2WF-9XTA. Questions: abuse@host.example.",
            "reference": "7K3M-Q2WF-9XTA",
            "contact": "abuse@host.example",
        }


@BOTH
@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"),
        ("application/json, text/html", "application/json"),
        ("", "application/json"),
    ],
)
def test_a_browser_gets_a_page_and_a_program_json(
    make_app: MakeApp, accept: str, content_type: str, board: Path, fixed_uploads: Fixed
) -> None:
    app = make_app(board, uploads=fixed_uploads(Outcome.MATCHED, Action.BLOCK))
    answer = post(app, b"x", accept=accept)
    assert answer.headers["content-type"] == content_type
    assert "7K3M-Q2WF-9XTA" in answer.text


# --- the whole way, with real pictures ------------------------------------------------------------------


@BOTH
def test_an_innocent_picture_is_stored_whole(
    make_app: MakeApp, iii_env: Env, board: Path, iii_innocent_picture: PracticePicture
) -> None:
    assert post(make_app(board), iii_innocent_picture.data).status_code == 201
    assert [path.read_bytes() for path in board.iterdir()] == [iii_innocent_picture.data]


@BOTH
def test_what_is_found_or_cannot_be_looked_at_is_refused(
    make_app: MakeApp,
    iii_env: Env,
    board: Path,
    iii_listed_picture: PracticePicture,
    iii_near_copy: PracticePicture,
    iii_broken_picture: PracticePicture,
) -> None:
    app = make_app(board)
    for data in (iii_listed_picture.data, iii_near_copy.data, iii_broken_picture.data, b""):
        assert post(app, data).status_code == 422
    assert not list(board.iterdir())


def test_one_of_many_refuses_them_all(
    iii_env: Env, board: Path, iii_innocent_picture: PracticePicture, iii_near_copy: PracticePicture
) -> None:
    client = TestClient(fastapi_app(board))
    files = [("picture", iii_innocent_picture.as_upload()) for _ in range(2)]
    assert client.post("/albums", files=files).json() == 2
    files = [("picture", picture.as_upload()) for picture in (iii_innocent_picture, iii_near_copy)]
    assert client.post("/albums", files=files).status_code == 422


def test_the_documentation_of_the_api_shows_the_file_field(iii_env: Env, board: Path) -> None:
    schema = fastapi_app(board).openapi()["components"]["schemas"]["Body_take_pictures_post"]
    assert schema["required"] == ["picture"]


# --- bad input ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("make_app", "status"), [(fastapi_app, 422), (starlette_app, 400)])
@pytest.mark.parametrize("parts", [[], [("picture", "", b"")], [("picture", None, b"")]])
def test_a_form_without_a_file_is_refused_by_the_framework(
    make_app: MakeApp,
    status: int,
    parts: list[tuple[str, str | None, bytes]],
    iii_env: Env,
    board: Path,
    form: Form,
) -> None:
    body, content_type = form([*parts, ("other", None, b"x")])
    answer = TestClient(make_app(board)).post(
        "/pictures", content=body, headers={"Content-Type": content_type}
    )
    assert (answer.status_code, list(board.iterdir())) == (status, [])
    assert "upload_rejected" not in answer.text


@BOTH
def test_content_under_an_empty_name_is_never_stored_unscanned(
    make_app: MakeApp, iii_env: Env, board: Path, form: Form, iii_known_picture: PracticePicture
) -> None:
    body, content_type = form([("picture", "", iii_known_picture.data)])
    answer = TestClient(make_app(board)).post(
        "/pictures", content=body, headers={"Content-Type": content_type}
    )
    assert (answer.status_code, list(board.iterdir())) == (422, [])


@BOTH
def test_a_multipart_bomb_is_refused_by_the_framework(
    make_app: MakeApp, iii_env: Env, board: Path, form: Form
) -> None:
    body, content_type = form([(f"f{number}", None, b"x") for number in range(5000)])
    answer = TestClient(make_app(board)).post(
        "/pictures", content=body, headers={"Content-Type": content_type}
    )
    assert (answer.status_code, list(board.iterdir())) == (400, [])


@pytest.fixture
def serve() -> Iterator[Callable[[Any], int]]:
    """Serve an application by uvicorn over real connections; returns the port."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(app: Any) -> int:
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=2))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        running.append((server, thread))
        while not server.started:
            time.sleep(0.01)
        return int(server.servers[0].sockets[0].getsockname()[1])

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(10)


@BOTH
def test_a_client_that_hangs_up_midway_leaves_nothing_and_the_next_is_served(
    make_app: MakeApp,
    iii_env: Env,
    board: Path,
    form: Form,
    send_part_of: Callable[[int, str, bytes, str, int], None],
    serve: Callable[[Any], int],
    iii_innocent_picture: PracticePicture,
) -> None:
    port = serve(make_app(board))
    body, content_type = form([("picture", "a.jpg", iii_innocent_picture.data)])
    for part in (10, len(body) // 2, len(body) - 10):
        send_part_of(port, "/pictures", body, content_type, part)
    answer = requests.post(
        f"http://127.0.0.1:{port}/pictures",
        files={"picture": iii_innocent_picture.as_upload()},
        timeout=20,
    )
    assert answer.status_code == 201
    assert len(list(board.iterdir())) == 1


# --- the event loop -------------------------------------------------------------------------------------


class SlowScanner:
    """Not a scanner: it takes as long as a service that does not answer, and decides nothing of its own."""

    def __init__(self, decision: Decision, seconds: float) -> None:
        self._decision, self._seconds = decision, seconds
        self._lock = threading.Lock()
        self.now = self.most = 0

    def scan(self, content: Content, *, context: UploadContext = ANONYMOUS) -> Decision:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(self._seconds)
        with self._lock:
            self.now -= 1
        return self._decision


async def longest_pause_s(work: Any) -> float:
    """The longest time that the loop served nobody else while something ran in it."""
    longest, task = 0.0, asyncio.ensure_future(work)
    while not task.done():
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        longest = max(longest, time.perf_counter() - before)
    await task
    return longest


def slow_uploads(fixed_uploads: Fixed, seconds: float) -> tuple[Uploads, SlowScanner]:
    fixed = fixed_uploads(Outcome.NO_MATCH, Action.ALLOW)
    scanner = SlowScanner(fixed.scan(io.BytesIO(b"x")), seconds)
    return Uploads(scanner, quarantine=None), scanner  # type: ignore[arg-type]


def test_the_event_loop_is_never_blocked_by_a_scan(fixed_uploads: Fixed) -> None:
    uploads, _ = slow_uploads(fixed_uploads, 0.8)
    iii = asgi.III(uploads=uploads)

    async def inline() -> None:
        """What must not be done: the measurement would show it."""
        uploads.scan(io.BytesIO(b"x"))

    async def awaited() -> None:
        await asyncio.gather(*(iii.scan(io.BytesIO(b"x")) for _ in range(4)))

    assert asyncio.run(longest_pause_s(inline())) > 0.7
    assert asyncio.run(longest_pause_s(awaited())) < 0.4


def test_the_event_loop_goes_on_while_real_pictures_are_decoded(
    iii_env: Env, iii_innocent_picture: PracticePicture, iii_broken_picture: PracticePicture
) -> None:
    iii = asgi.III()

    async def many() -> None:
        await iii.scan(iii_innocent_picture.open())
        pictures = [iii_innocent_picture, iii_broken_picture] * 10
        await asyncio.gather(*(iii.scan(picture.open()) for picture in pictures))

    started = time.perf_counter()
    pause_s = asyncio.run(longest_pause_s(many()))
    # The interpreter is shared: a pause of some turns of it is no block, the whole time would be.
    assert pause_s < max(0.25, (time.perf_counter() - started) / 3)


def test_few_scans_run_at_once_and_the_rest_wait_their_turn(fixed_uploads: Fixed) -> None:
    uploads, scanner = slow_uploads(fixed_uploads, 0.05)
    iii = asgi.III(uploads=uploads, at_once=2)

    async def many() -> None:
        await asyncio.gather(*(iii.scan(io.BytesIO(b"x")) for _ in range(10)))

    asyncio.run(many())
    assert scanner.most == 2


def test_a_scan_whose_client_has_gone_goes_on_to_its_end(fixed_uploads: Fixed) -> None:
    uploads, scanner = slow_uploads(fixed_uploads, 0.2)
    iii = asgi.III(uploads=uploads)

    async def cancelled() -> None:
        task = asyncio.ensure_future(iii.scan(io.BytesIO(b"x")))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    deadline_s = time.monotonic() + 5
    while scanner.now and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert (scanner.most, scanner.now) == (1, 0)


# --- manners --------------------------------------------------------------------------------------------


def test_an_application_may_have_words_of_its_own(board: Path, fixed_uploads: Fixed) -> None:
    app = fastapi_app(board, uploads=fixed_uploads(Outcome.MATCHED, Action.BLOCK))

    async def own(_request: Request, rejected: Exception) -> Response:
        assert isinstance(rejected, UploadRejected)
        return PlainTextResponse(f"no: {rejected.case_reference}", status_code=400)

    app.add_exception_handler(UploadRejected, own)
    assert post(app, b"x").text == "no: 7K3M-Q2WF-9XTA"


def test_the_context_is_the_endpoint_and_the_application_s_own_id(
    board: Path, fixed_uploads: Fixed, form: Form
) -> None:
    app, uploads = FastAPI(), fixed_uploads(Outcome.NO_MATCH, Action.ALLOW)
    iii = fastapi.III(app, uploads=uploads, uploader=lambda request: request.headers["x-user"])

    @app.post("/pictures")
    async def take(picture: Annotated[UploadFile, Depends(iii.upload("picture"))]) -> str:
        return "stored"

    TestClient(app).post("/pictures", files={"picture": ("a", b"x")}, headers={"X-User": "user-7"})
    assert uploads._scanner.contexts == [UploadContext(route="take", uploader="user-7")]  # type: ignore[attr-defined]


def test_an_upload_comes_back_where_it_was(iii_env: Env, iii_innocent_picture: PracticePicture) -> None:
    upload = UploadFile(iii_innocent_picture.open(), filename="a.jpg")
    upload.file.seek(7)
    assert asyncio.run(asgi.III().scan(upload)).allowed
    assert (upload.file.tell(), upload.file.closed) == (7, False)
