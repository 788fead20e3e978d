"""A validator for forms, models, and serializers of Django REST framework, which takes Django's validators.

    image = forms.ImageField(validators=[UploadValidator()])
    image = models.ImageField(validators=[UploadValidator(route="avatar")])
    image = serializers.ImageField(validators=[UploadValidator()])

A refused form is shown again with the neutral message; nothing of the upload is stored or held. A late answer
about it changes what happens when it is uploaded again.
"""

from dataclasses import replace
from typing import Any

from django.core.exceptions import ValidationError
from django.core.files.base import File
from django.db.models.fields.files import FieldFile
from django.utils.deconstruct import deconstructible

from iii_client.integrations.django.client import get_config
from iii_client.integrations.django.context import current_context
from iii_client.integrations.django.messages import refusal
from iii_client.integrations.django.scanning import scan_upload
from iii_client.integrations.rejection import REJECTED_CODE


@deconstructible
class UploadValidator:
    """Refuses what the policy does not allow, with a `ValidationError` of the code `upload_rejected`.

    No file is no upload and passes, as with every validator of Django; so does a model's file that is stored
    already: it was checked when it came in.

    Args:
        route: name of this upload path for the policy; the view's name unless given.
        code: of the `ValidationError`.
    """

    def __init__(self, route: str = "", code: str = REJECTED_CODE) -> None:
        self.route = route
        self.code = code

    def __call__(self, value: Any) -> None:
        """Scan one upload.

        Raises:
            ValidationError: it is refused.
            ConfigurationError: the settings are wrong.
        """
        if value is None or _is_stored(value):
            return
        if not isinstance(value, File):
            raise TypeError(f"a {type(value).__name__} is no upload; use this on file fields")
        context = current_context()
        if self.route:
            context = replace(context, route=self.route)
        decision = scan_upload(value, context=context)
        if not decision.allowed:
            message, params = refusal(decision.case_reference, get_config().contact)
            raise ValidationError(message, code=self.code, params=dict(params))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UploadValidator) and (self.route, self.code) == (other.route, other.code)

    def __hash__(self) -> int:
        return hash((self.route, self.code))


def _is_stored(value: object) -> bool:
    # Not by its truth: a file without a name is false, and is a file all the same.
    return isinstance(value, FieldFile) and (not value.name or bool(vars(value).get("_committed", True)))
