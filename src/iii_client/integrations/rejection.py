"""What a refused uploader is told: the same words whatever the reason, for every framework.

A refusal says nothing about what was found, what was looked for, or whether anything was found at all: a
picture that is listed, one that could not be read and one that waits for an answer read the same. What
differs is the case reference, a random word.
"""

from html import escape

from iii_client.errors import IIIError
from iii_client.model import Decision

#: The one status, too: a proxy, a log or a script must not read the reason off it.
REJECTED_STATUS = 422
#: For forms and APIs that name their errors.
REJECTED_CODE = "upload_rejected"

#: The sentences, for integrations that translate them; `%` formats them.
CANNOT_BE_TAKEN = "This file cannot be taken."
QUOTE_CASE = "Reference: %(case)s."
TURN_TO = "Questions: %(contact)s."


class UploadRejected(IIIError):  # noqa: N818 - a refusal is what was ordered, not an error
    """An upload is not to be stored. Its text is what the uploader may read, and all of it.

    Attributes:
        decision: why, for the application's own eyes.
        contact: what the uploader is told to turn to; empty for nobody.
    """

    def __init__(self, decision: Decision, *, contact: str = "") -> None:
        super().__init__(rejection_text(decision.case_reference, contact))
        self.decision = decision
        self.contact = contact

    @property
    def case_reference(self) -> str:
        """What the uploader may quote; empty where the decision could not be recorded."""
        return self.decision.case_reference


def rejection_text(case_reference: str, contact: str) -> str:
    """The neutral message.

    Args:
        case_reference: of the decision; may be empty.
        contact: the setting `contact`; may be empty.
    """
    sentences = [CANNOT_BE_TAKEN]
    if case_reference:
        sentences.append(QUOTE_CASE % {"case": case_reference})
    if contact:
        sentences.append(TURN_TO % {"contact": contact})
    return " ".join(sentences)


def rejection_json(rejected: UploadRejected) -> dict[str, str]:
    """The body of a refusal for programs: names that Django REST framework and FastAPI use, too."""
    return {
        "code": REJECTED_CODE,
        "detail": str(rejected),
        "reference": rejected.case_reference,
        "contact": rejected.contact,
    }


def rejection_page(rejected: UploadRejected) -> str:
    """The body of a refusal for browsers: a whole page that loads nothing."""
    text = escape(str(rejected))
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{CANNOT_BE_TAKEN}</title>'
        f"<h1>{CANNOT_BE_TAKEN}</h1><p>{text}</p></html>\n"
    )
