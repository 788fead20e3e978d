"""A picture board in Flask: `flask --app app run`."""

import os
import uuid
from pathlib import Path

from flask import Flask, redirect, render_template, request, send_from_directory, url_for

from iii_client.integrations.flask import III
from iii_client.integrations.rejection import REJECTED_STATUS, UploadRejected

BOARD = Path(os.environ.get("BOARD_DIR", "board")).absolute()
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif"}


def on_late_answer(answer):
    """The service answered after an upload was refused without its answer; `flask iii drain` calls this."""
    print("late answer:", answer.action.value, "case", answer.case_reference, flush=True)


iii = III(on_late_answer=on_late_answer)


def create_app():
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = 32 * 1024 * 1024  # Flask has no limit unless you set one
    app.config["III_CLIENT"] = {"contact": "abuse@board.example"}
    iii.init_app(app)
    BOARD.mkdir(parents=True, exist_ok=True)

    def page(message=""):
        names = sorted(path.name for path in BOARD.iterdir())
        return render_template("board.html", names=names, message=message)

    @app.get("/")
    def board():
        return page()

    @app.post("/pictures")
    def upload():
        picture = request.files["picture"]
        suffix = Path(picture.filename or "").suffix.lower()
        if suffix not in SUFFIXES:
            return page("Please send a picture."), 400
        iii.check(picture)  # the one line
        picture.save(BOARD / f"{uuid.uuid4().hex}{suffix}")
        return redirect(url_for("board"))

    @app.get("/pictures/<name>")
    def show(name):
        return send_from_directory(BOARD, name)

    @app.errorhandler(UploadRejected)
    def refused(rejected):
        """The board itself, with the neutral message, instead of the extension's bare page."""
        return page(str(rejected)), REJECTED_STATUS

    return app
