"""The neutral message in the language of whoever reads it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from iii_client.integrations.rejection import UploadRejected

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

# One sentence a case, not pieces put together: other languages order them otherwise. In English they read as
# `rejection.rejection_text` does.
_MESSAGES: "Mapping[tuple[bool, bool], StrOrPromise]" = {
    (False, False): _("This file cannot be taken."),
    (True, False): _("This file cannot be taken. Reference: %(case)s."),
    (False, True): _("This file cannot be taken. Questions: %(contact)s."),
    (True, True): _("This file cannot be taken. Reference: %(case)s. Questions: %(contact)s."),
}


def refusal(case_reference: str, contact: str) -> "tuple[StrOrPromise, Mapping[str, str]]":
    """Message and parameters, as a `ValidationError` takes them."""
    message = _MESSAGES[bool(case_reference), bool(contact)]
    return message, {"case": case_reference, "contact": contact}


def refusal_text(rejected: UploadRejected) -> str:
    """The whole message, in the active language."""
    message, params = refusal(rejected.case_reference, rejected.contact)
    return gettext(str(message)) % params
