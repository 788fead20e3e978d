"""A validator for file fields of WTForms and Flask-WTF, under an application that `III` was set up for.
Needs the extra `[wtforms]`.

    class PictureForm(FlaskForm):
        picture = FileField(validators=[FileRequired(), ScannedUpload()])

A refused form is shown again with the neutral message; nothing of the upload is stored or held.
"""

from dataclasses import replace
from typing import Any

from iii_client.errors import MissingExtraError
from iii_client.integrations.flask import III, is_absent
from iii_client.integrations.rejection import UploadRejected

try:
    from wtforms import Field, Form
    from wtforms.validators import StopValidation
except ModuleNotFoundError as error:
    raise MissingExtraError("the validator for WTForms", extra="wtforms") from error


class ScannedUpload:
    """Refuses what the policy does not allow.

    A field without a file passes, as with every validator: put a `FileRequired` before this one. Of a field
    with many files all are scanned, and the first that is refused refuses the field.

    Args:
        iii: the extension; needed only where it has an `uploader`.
        route: name of this upload path for the policy; the endpoint unless given.
    """

    def __init__(self, iii: III | None = None, *, route: str = "") -> None:
        self._iii = iii or III()
        self._route = route

    def __call__(self, _form: Form, field: Field) -> None:
        """Scan what the field holds.

        Raises:
            StopValidation: it is refused.
            ConfigurationError: the application was not set up.
        """
        context = self._iii.context()
        if self._route:
            context = replace(context, route=self._route)
        for file in _files(field.data):
            if is_absent(file):
                continue
            try:
                self._iii.check(file, context=context)
            except UploadRejected as rejected:
                raise StopValidation(str(rejected)) from None


def _files(data: Any) -> list[Any]:
    return list(data) if isinstance(data, (list, tuple)) else [data]
