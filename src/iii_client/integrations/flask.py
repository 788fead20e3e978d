"""Flask: one extension, one line in the view that takes an upload. Needs the extra `[flask]`.

    iii = III(app)                        # or III() and iii.init_app(app)

    @app.post("/pictures")
    def upload():
        picture = request.files["picture"]
        iii.check(picture)                # refuses with a neutral 422
        picture.save(...)

`app.config["III_CLIENT"]` holds the same names as the TOML file and wins over it and over `III_*` variables.

| action | `check` | the upload is |
|---|---|---|
| allow | returns the decision | the view's to store |
| quarantine | raises `UploadRejected`: 422 | not stored; the same upload may pass once an answer has come |
| block | raises `UploadRejected`: 422, the same words | not stored |

An application that rather keeps a quarantined upload out of sight uses `scan`, looks at `decision.action`,
and has it sealed with `hold` or hides it itself.
"""

from collections.abc import Callable, Sequence
from typing import BinaryIO, cast

from iii_client.config import Config
from iii_client.errors import ConfigurationError, MissingExtraError
from iii_client.integrations.rejection import (
    REJECTED_STATUS,
    UploadRejected,
    rejection_json,
    rejection_page,
)
from iii_client.integrations.uploads import Uploads
from iii_client.model import Decision, LateAnswer, UploadContext
from iii_client.protocols import Observer

try:
    from flask import Flask, Response, current_app, jsonify, request
    from werkzeug.datastructures import FileStorage
    from werkzeug.exceptions import BadRequest
except ModuleNotFoundError as error:
    raise MissingExtraError("the Flask extension", extra="flask") from error

from iii_client.integrations.flask_commands import commands

#: Key in `app.config` and, in lower case, in `app.extensions`.
SETTING = "III_CLIENT"
EXTENSION = "iii_client"


def _nobody() -> str:
    return ""


class III:
    """The extension.

    Args:
        app: to set up now; without it, call `init_app`.
        uploader: the application's own id of whoever uploads, e.g. `lambda: current_user.get_id() or ""`.
        on_late_answer: is called by `flask iii drain` when the service answers after the upload was decided;
            it may be called twice for one answer.
        observers: are told of every decision, e.g. `PrometheusObserver()`.

    Raises:
        ConfigurationError: a setting is missing or wrong.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        uploader: Callable[[], str] = _nobody,
        on_late_answer: Callable[[LateAnswer], object] | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self._uploader = uploader
        self._observers = tuple(observers)
        self.on_late_answer = on_late_answer
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask, *, uploads: Uploads | None = None) -> None:
        """Set an application up: settings are read now, nothing is opened before the first upload.

        Args:
            app: any number of them, each with settings of its own.
            uploads: what scans; built from the settings unless given.

        Raises:
            ConfigurationError: a setting is missing or wrong.
        """
        app.extensions[EXTENSION] = uploads or Uploads.from_config(config_of(app), observers=self._observers)
        # An application may have words of its own, registered before or after.
        if UploadRejected not in app.error_handler_spec[None][None]:
            app.register_error_handler(UploadRejected, refuse)
        app.cli.add_command(commands(lambda: config_of(app), self.on_late_answer))

    def scan(self, file: FileStorage | BinaryIO | None, *, context: UploadContext | None = None) -> Decision:
        """Decide about an upload of the request at hand. Ask `decision.allowed`.

        Args:
            file: of `request.files`, or any open binary file; it is left as found.
            context: where it comes from; the endpoint and `uploader` unless given.

        Raises:
            BadRequest: the field came without a file. Nothing is raised for content, filter or network.
        """
        return uploads_of(current_app).scan(_open_file(file), context=context or self.context())

    def check(self, file: FileStorage | BinaryIO | None, *, context: UploadContext | None = None) -> Decision:
        """The same, and refuse what the policy does not allow.

        Raises:
            UploadRejected: it is not to be stored; Flask answers 422 with the neutral message.
            BadRequest: as `scan`.
        """
        return uploads_of(current_app).check(_open_file(file), context=context or self.context())

    def hold(self, file: FileStorage | BinaryIO, decision: Decision, *, origin: str = "") -> str:
        """Seal a copy of an upload that was not allowed. See `Uploads.hold`."""
        return uploads_of(current_app).hold(_open_file(file), decision, origin=origin)

    def context(self) -> UploadContext:
        """Endpoint and uploader of the request at hand. Nobody's address is in it."""
        return UploadContext(route=(request.endpoint or "") if request else "", uploader=self._uploader())


def config_of(app: Flask) -> Config:
    """The configuration of an application, read anew.

    Raises:
        ConfigurationError: a setting is missing, unknown or malformed.
    """
    given = app.config.get(SETTING, {})
    if not isinstance(given, dict):
        raise ConfigurationError(
            f'app.config["{SETTING}"] must be a dict', hint="With the same names as the TOML file."
        )
    return Config.from_env(over=given)


def uploads_of(app: Flask) -> Uploads:
    """What scans the uploads of an application.

    Raises:
        ConfigurationError: it was not set up.
    """
    uploads = app.extensions.get(EXTENSION)
    if uploads is None:
        raise ConfigurationError("this application was not set up", hint="Call III(app) or init_app(app).")
    return cast(Uploads, uploads)


def refuse(rejected: UploadRejected) -> Response:
    """The answer to a refused upload: the same whatever the reason, as a page or as JSON."""
    if request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
        response = Response(rejection_page(rejected), mimetype="text/html")
    else:
        response = jsonify(rejection_json(rejected))
    response.status_code = REJECTED_STATUS
    response.cache_control.no_store = True
    return response


def is_absent(file: object) -> bool:
    """Whether a form's file field came without a file.

    Not by the truth of a `FileStorage`: it is false for content that came under an empty name, too.
    """
    if file is None:
        return True
    return isinstance(file, FileStorage) and not file.filename and _is_empty(file)


def _is_empty(file: FileStorage) -> bool:
    try:
        position = file.stream.tell()
        size = file.stream.seek(0, 2)
        file.stream.seek(position)
    except (OSError, ValueError):
        return False
    return size == 0


def _open_file(file: FileStorage | BinaryIO | None) -> BinaryIO:
    if file is None or is_absent(file):
        raise BadRequest("No file was sent.")
    if isinstance(file, FileStorage):
        return cast(BinaryIO, file.stream)
    if not hasattr(file, "read"):
        raise TypeError(f"a {type(file).__name__} is no upload; pass what request.files holds")
    return file
