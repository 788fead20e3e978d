"""The validator in forms of Flask-WTF, with a real practice service behind."""

import io
from typing import Any

import pytest

pytest.importorskip("flask_wtf", reason="Flask-WTF is not installed")

from flask import Flask
from flask_wtf import FlaskForm
from flask_wtf.file import FileField, FileRequired, MultipleFileField
from werkzeug.datastructures import FileStorage, MultiDict
from wtforms import FileField as PlainFileField

from iii_client.integrations.flask import III
from iii_client.integrations.wtforms import ScannedUpload
from iii_client.testing import PracticePicture


@pytest.fixture
def app(iii_env: dict[str, str]) -> Flask:
    app = Flask("forms")
    app.config.update(WTF_CSRF_ENABLED=False, III_CLIENT={"contact": "abuse@host.example"})
    III(app)
    return app


def errors_of(app: Flask, form_class: Any, *pictures: PracticePicture) -> list[str]:
    """What the form shows when it is sent with these pictures."""
    data = {"picture": [(picture.open(), picture.name) for picture in pictures]}
    with app.test_request_context("/", method="POST", data=data):
        form = form_class()
        assert form.validate_on_submit() is (not form.picture.errors)
        return list(form.picture.errors)


class One(FlaskForm):  # type: ignore[misc]
    picture = FileField(validators=[ScannedUpload()])


class Required(FlaskForm):  # type: ignore[misc]
    picture = FileField(validators=[FileRequired(), ScannedUpload(route="avatar")])


class Many(FlaskForm):  # type: ignore[misc]
    picture = MultipleFileField(validators=[ScannedUpload()])


def test_an_innocent_picture_passes(app: Flask, iii_innocent_picture: PracticePicture) -> None:
    assert errors_of(app, Required, iii_innocent_picture) == []


def test_a_listed_picture_is_refused_with_the_neutral_message(
    app: Flask, iii_listed_picture: PracticePicture
) -> None:
    (message,) = errors_of(app, Required, iii_listed_picture)
    assert message.startswith("This file cannot be taken. Reference: ")
    assert message.endswith(" Questions: abuse@host.example.")


def test_no_file_is_for_another_validator_to_refuse(app: Flask) -> None:
    assert errors_of(app, One) == []
    assert errors_of(app, Required) == ["This field is required."]


def test_one_of_many_refuses_the_field(
    app: Flask, iii_innocent_picture: PracticePicture, iii_near_copy: PracticePicture
) -> None:
    assert errors_of(app, Many, iii_innocent_picture, iii_innocent_picture) == []
    assert len(errors_of(app, Many, iii_innocent_picture, iii_near_copy)) == 1


def test_content_under_an_empty_name_does_not_pass_for_no_file(
    app: Flask, iii_known_picture: PracticePicture
) -> None:
    """WTForms' own field hands it on, and its truth is false."""

    class Plain(FlaskForm):  # type: ignore[misc]
        picture = PlainFileField(validators=[ScannedUpload()])

    with app.test_request_context("/", method="POST", data={"x": "y"}):
        form = Plain(formdata=MultiDict({"picture": FileStorage(iii_known_picture.open(), filename="")}))
        assert not form.validate()
        empty = Plain(formdata=MultiDict({"picture": FileStorage(io.BytesIO(), filename="")}))
        assert empty.validate()
