"""The Flask extension in applications as hosters write them, with a real practice service behind."""

import io
import json
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("flask", reason="the extra [flask] is not installed")

import requests
from flask import Flask, request
from flask.testing import FlaskClient
from werkzeug.datastructures import FileStorage
from werkzeug.serving import make_server

from iii_client import Action, Outcome, UploadContext
from iii_client.errors import ConfigurationError
from iii_client.integrations.flask import III, uploads_of
from iii_client.integrations.rejection import UploadRejected
from iii_client.integrations.uploads import Uploads
from iii_client.model import LateAnswer
from iii_client.sandbox import Sandbox
from iii_client.testing import PracticePicture

Env = dict[str, str]
Form = Callable[[list[tuple[str, str | None, bytes]]], tuple[bytes, str]]


def make_app(iii: III, board: Path, *, uploads: Uploads | None = None, **config: Any) -> Flask:
    """A whole application: it stores what the extension lets through."""
    app = Flask("upload_site")
    app.config.update(config)
    iii.init_app(app, uploads=uploads)

    @app.post("/pictures")
    def take() -> tuple[str, int]:
        picture = request.files["picture"]
        iii.check(picture)
        picture.save(board / f"{len(list(board.iterdir()))}.bin")
        return "stored", 201

    return app


def post(client: FlaskClient, data: bytes, *, name: str = "holiday.png", accept: str = "*/*") -> Any:
    return client.post("/pictures", data={"picture": (io.BytesIO(data), name)}, headers={"Accept": accept})


# --- what each decision leads to ------------------------------------------------------------------------

TABLE = [(outcome, action) for outcome in Outcome for action in Action]


@pytest.mark.parametrize(("outcome", "action"), TABLE, ids=lambda value: value.value)
def test_what_each_outcome_and_action_leads_to(
    outcome: Outcome,
    action: Action,
    board: Path,
    fixed_uploads: Callable[[Outcome, Action], Uploads],
) -> None:
    client = make_app(III(), board, uploads=fixed_uploads(outcome, action)).test_client()
    answer = post(client, b"anything")
    if action is Action.ALLOW:
        assert answer.status_code == 201
        assert [path.read_bytes() for path in board.iterdir()] == [b"anything"]
    else:
        assert answer.status_code == 422
        assert answer.headers["Cache-Control"] == "no-store"
        assert not list(board.iterdir())
        # Word for word the same for every outcome, and for quarantine and block.
        assert answer.get_json() == {
            "code": "upload_rejected",
            "detail": "This file cannot be taken. Reference: 7K3M-Q2WF-9XTA. Questions: abuse@host.example.",
            "reference": "7K3M-Q2WF-9XTA",
            "contact": "abuse@host.example",
        }


def test_a_browser_gets_a_page_with_the_same_words(
    board: Path, fixed_uploads: Callable[[Outcome, Action], Uploads]
) -> None:
    uploads = fixed_uploads(Outcome.MATCHED, Action.BLOCK)
    browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    answer = post(make_app(III(), board, uploads=uploads).test_client(), b"x", accept=browser)
    assert answer.mimetype == "text/html"
    assert "Reference: 7K3M-Q2WF-9XTA. Questions: abuse@host.example." in answer.text
    assert "match" not in answer.text.lower()


# --- the whole way, with real pictures ------------------------------------------------------------------


def test_an_innocent_picture_is_stored_whole(
    iii_env: Env, board: Path, iii_innocent_picture: PracticePicture
) -> None:
    client = make_app(III(), board).test_client()
    assert post(client, iii_innocent_picture.data).status_code == 201
    assert [path.read_bytes() for path in board.iterdir()] == [iii_innocent_picture.data]


@pytest.mark.parametrize(
    "fixture", ["iii_listed_picture", "iii_known_picture", "iii_near_copy", "iii_broken_picture"]
)
def test_what_is_found_or_cannot_be_looked_at_is_refused(
    iii_env: Env, board: Path, fixture: str, request: pytest.FixtureRequest
) -> None:
    picture: PracticePicture = request.getfixturevalue(fixture)
    assert post(make_app(III(), board).test_client(), picture.data).status_code == 422
    assert not list(board.iterdir())


def test_while_the_service_is_down_uploads_go_on_and_hits_are_refused(
    iii_service_down: Env,
    board: Path,
    iii_innocent_picture: PracticePicture,
    iii_known_picture: PracticePicture,
) -> None:
    client = make_app(III(), board).test_client()
    assert post(client, iii_known_picture.data).status_code == 422
    assert post(client, iii_innocent_picture.data).status_code == 201


def test_in_shadow_a_listed_picture_is_stored(
    iii_shadow: Env, board: Path, iii_listed_picture: PracticePicture
) -> None:
    assert post(make_app(III(), board).test_client(), iii_listed_picture.data).status_code == 201


# --- bad input ------------------------------------------------------------------------------------------


def test_a_field_that_is_missing_is_a_bad_request(iii_env: Env, board: Path) -> None:
    assert make_app(III(), board).test_client().post("/pictures", data={}).status_code == 400


def test_a_field_without_a_file_is_a_bad_request(iii_env: Env, board: Path, form: Form) -> None:
    body, content_type = form([("picture", "", b"")])
    answer = make_app(III(), board).test_client().post("/pictures", data=body, content_type=content_type)
    assert (answer.status_code, list(board.iterdir())) == (400, [])
    assert "No file was sent." in answer.text


def test_content_under_an_empty_name_is_scanned(
    iii_env: Env, board: Path, form: Form, iii_known_picture: PracticePicture
) -> None:
    body, content_type = form([("picture", "", iii_known_picture.data)])
    answer = make_app(III(), board).test_client().post("/pictures", data=body, content_type=content_type)
    assert (answer.status_code, list(board.iterdir())) == (422, [])


def test_an_empty_file_is_refused(iii_env: Env, board: Path) -> None:
    assert post(make_app(III(), board).test_client(), b"").status_code == 422


def test_a_text_is_no_upload(iii_env: Env, board: Path) -> None:
    iii = III()
    with make_app(iii, board).test_request_context(), pytest.raises(TypeError, match=r"request\.files"):
        iii.check("path/to/picture.png")  # type: ignore[arg-type]


def test_a_body_over_the_application_s_limit_is_refused_by_flask(
    iii_env: Env, board: Path, iii_innocent_picture: PracticePicture
) -> None:
    client = make_app(III(), board, MAX_CONTENT_LENGTH=1000).test_client()
    assert post(client, iii_innocent_picture.data).status_code == 413
    assert not list(board.iterdir())


def test_a_multipart_bomb_is_refused_by_flask(iii_env: Env, board: Path, form: Form) -> None:
    body, content_type = form([(f"f{number}", None, b"x") for number in range(5000)])
    answer = make_app(III(), board).test_client().post("/pictures", data=body, content_type=content_type)
    assert (answer.status_code, list(board.iterdir())) == (413, [])


@pytest.fixture
def serve() -> Iterator[Callable[[Flask], int]]:
    """Serve an application over real connections, each in a thread; returns the port."""
    servers = []

    def start(app: Flask) -> int:
        server = make_server("127.0.0.1", 0, app, threaded=True)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server.server_port

    yield start
    for server in servers:
        server.shutdown()


def test_a_client_that_hangs_up_midway_leaves_nothing_and_the_next_is_served(
    iii_env: Env,
    board: Path,
    form: Form,
    send_part_of: Callable[[int, str, bytes, str, int], None],
    serve: Callable[[Flask], int],
    iii_innocent_picture: PracticePicture,
) -> None:
    port = serve(make_app(III(), board))
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


# --- the extension's own manners ------------------------------------------------------------------------


@pytest.mark.parametrize("before", [True, False])
def test_an_application_may_have_words_of_its_own(
    before: bool, board: Path, fixed_uploads: Callable[[Outcome, Action], Uploads]
) -> None:
    iii, app = III(), Flask("own_words")

    def own(rejected: UploadRejected) -> tuple[str, int]:
        return f"no: {rejected.case_reference}", 400

    if before:
        app.register_error_handler(UploadRejected, own)
    iii.init_app(app, uploads=fixed_uploads(Outcome.MATCHED, Action.BLOCK))
    if not before:
        app.register_error_handler(UploadRejected, own)

    @app.post("/pictures")
    def take() -> str:
        iii.check(request.files["picture"])
        return "stored"

    assert post(app.test_client(), b"x").text == "no: 7K3M-Q2WF-9XTA"


def test_the_context_is_the_endpoint_and_the_application_s_own_id(iii_env: Env, board: Path) -> None:
    iii = III(uploader=lambda: "user-7")
    app = make_app(iii, board)
    with app.test_request_context("/pictures", method="POST"):
        assert iii.context() == UploadContext(route="take", uploader="user-7")
    with app.app_context():
        assert iii.context() == UploadContext(uploader="user-7")


def test_one_extension_serves_two_applications_with_settings_of_their_own(
    iii_env: Env, board: Path, iii_listed_picture: PracticePicture
) -> None:
    iii = III()
    strict = make_app(iii, board)
    shadow = make_app(iii, board, III_CLIENT={"mode": "shadow"})
    assert post(strict.test_client(), iii_listed_picture.data).status_code == 422
    assert post(shadow.test_client(), iii_listed_picture.data).status_code == 201


def test_wrong_settings_show_at_the_start(iii_env: Env, board: Path) -> None:
    with pytest.raises(ConfigurationError, match="mode"):
        make_app(III(), board, III_CLIENT={"mode": "maybe"})
    with pytest.raises(ConfigurationError, match="must be a dict"):
        make_app(III(), board, III_CLIENT="enforce")


def test_a_traceback_at_the_start_says_what_to_do(
    board: Path, iii_env: Env, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("III_MODE")
    with pytest.raises(ConfigurationError) as raised:
        make_app(III(), board)
    assert "III_MODE=shadow" in "".join(traceback.format_exception(raised.value))


def test_an_application_that_was_not_set_up_says_so() -> None:
    with pytest.raises(ConfigurationError, match="not set up") as raised:
        uploads_of(Flask("bare"))
    assert "init_app" in raised.value.hint


def test_a_file_storage_comes_back_open_and_where_it_was(
    iii_env: Env, board: Path, iii_innocent_picture: PracticePicture
) -> None:
    iii = III()
    storage = FileStorage(iii_innocent_picture.open(), filename="a.jpg")
    storage.stream.seek(5)
    with make_app(iii, board).test_request_context():
        assert iii.scan(storage).allowed
    assert (storage.stream.tell(), storage.stream.closed) == (5, False)


# --- flask iii ------------------------------------------------------------------------------------------


def test_status_and_update_speak_json(
    iii_env: Env, iii_practice_service: Sandbox, tmp_path: Path, board: Path
) -> None:
    app = make_app(III(), board, III_CLIENT={"state_dir": str(tmp_path / "fresh")})
    runner = app.test_cli_runner()
    assert runner.invoke(args=["iii", "status"]).exit_code == 3
    updated = json.loads(runner.invoke(args=["iii", "update", "--json"]).stdout)
    status = json.loads(runner.invoke(args=["iii", "status", "--json"]).stdout)
    assert updated["changed"] is True
    assert status == {
        "mode": "enforce",
        "filter": "fresh",
        "release": updated["release"],
        "pending": 0,
        "for_review": 0,
    }
    assert json.loads(runner.invoke(args=["iii", "update", "--if-due", "--json"]).stdout) == {"due": False}


def test_an_update_that_fails_says_why_in_a_line(iii_env: Env, board: Path) -> None:
    app = make_app(III(), board, III_CLIENT={"filter": {"url": "http://127.0.0.1:9/filter"}})
    result = app.test_cli_runner().invoke(args=["iii", "update"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.output


def test_drain_tells_the_application_of_a_late_answer(
    iii_service_down: Env,
    iii_practice_service: Sandbox,
    board: Path,
    iii_known_picture: PracticePicture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[LateAnswer] = []
    iii = III(on_late_answer=told.append)
    refused = post(make_app(iii, board).test_client(), iii_known_picture.data)
    monkeypatch.setenv("III_SERVICE_URL", iii_practice_service.url)
    result = make_app(iii, board).test_cli_runner().invoke(args=["iii", "drain", "--json"])
    assert json.loads(result.stdout) == {"asked": 1, "matched": 1, "not_listed": 0, "notices": 1}
    assert [(answer.action, answer.case_reference) for answer in told] == [
        (Action.BLOCK, refused.get_json()["reference"])
    ]
