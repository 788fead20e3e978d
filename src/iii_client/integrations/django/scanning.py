"""One scan of one Django file: found as it was, scanned once however many places ask.

A form's validator, the model's and the storage see the same upload one after the other. The first scans and
notes the decision on the file object; the others take it over, as long as the object holds the same bytes in
the same file. An application that rewrites an upload in place, to the same size, calls `forget_scan`.

What cannot be rewound is not read here, because reading would leave nothing to store: it is unreadable, an
outcome of its own (`ScannedStorage` can, because it stores what it reads).
"""

import logging
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from django.core.files.base import File
from django.db.models.fields.files import FieldFile

from iii_client.content import Content
from iii_client.errors import ContentError, RecordError
from iii_client.fingerprint import FingerprintBuilder
from iii_client.integrations.django.client import get_config, get_parts, get_scanner
from iii_client.integrations.django.context import current_context
from iii_client.integrations.django.signals import send_decision
from iii_client.integrations.rejection import UploadRejected
from iii_client.integrations.uploads import borrowed
from iii_client.model import Decision, UploadContext
from iii_client.records.encounters import name_reference

_SEEN, _HASHING = "_iii_seen", "_iii_hashing"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A decision about the bytes that `raw` held."""

    decision: Decision
    raw: object
    size_bytes: int


def scan_upload(file: "File[Any]", *, context: UploadContext | None = None) -> Decision:
    """Decide about an upload, or take over what was decided about it a moment ago.

    Args:
        file: of a form, a model or anything else; open or not, it is left as found.
        context: where it comes from; what the middleware knows unless given.

    Raises:
        ConfigurationError: the settings are wrong. Nothing is raised for content, filter or network.
    """
    upload = innermost(file)
    context = context or current_context()
    with _content_of(upload) as content:
        size_bytes = _size_of(content)
        seen = vars(upload).get(_SEEN)
        if isinstance(seen, _Seen) and seen.raw is upload.file and seen.size_bytes == size_bytes:
            _name(seen.decision, context.reference)
            return seen.decision
        decision = _decide(upload, content, size_bytes, context)
    vars(upload)[_SEEN] = _Seen(decision, upload.file, size_bytes)
    send_decision(decision, context)
    return decision


def check_upload(file: "File[Any]", *, context: UploadContext | None = None) -> Decision:
    """The same, and refuse what the policy does not allow.

    Raises:
        UploadRejected: it is not to be stored.
        ConfigurationError: as `scan_upload`.
    """
    decision = scan_upload(file, context=context)
    if not decision.allowed:
        raise UploadRejected(decision, contact=get_config().contact)
    return decision


def forget_scan(file: "File[Any]") -> None:
    """Scan this file anew next time: its bytes were changed in place."""
    for note in (_SEEN, _HASHING):
        vars(innermost(file)).pop(note, None)


def note_reference(file: "File[Any]", reference: str) -> None:
    """Say where the application finds an upload that was scanned, so that a late answer can name it.

    `ScannedStorage` does this by itself; without it, call this once the object is saved. A database that
    refuses is logged: the late answer then names the encounter alone.
    """
    seen = vars(innermost(file)).get(_SEEN)
    if isinstance(seen, _Seen):
        _name(seen.decision, reference)


def start_hashing(file: "File[Any]", builder: FingerprintBuilder) -> None:
    """Note the digests that were computed while this upload streamed in."""
    vars(file)[_HASHING] = builder


def innermost(file: "File[Any]") -> "File[Any]":
    """The uploaded file itself: a model's field wraps it anew each time it is asked for."""
    while isinstance(file, FieldFile) and isinstance(file.file, File):
        file = file.file
    return file


def _decide(upload: "File[Any]", content: Content, size_bytes: int, context: UploadContext) -> Decision:
    scanner = get_scanner()
    builder = vars(upload).pop(_HASHING, None)
    if isinstance(builder, FingerprintBuilder) and size_bytes >= 0:
        fingerprint = builder.finish(content)
        # Otherwise somebody wrote to it after it came in: what streamed by is not what is there.
        if fingerprint.size_bytes == size_bytes:
            (decision,) = scanner.check([fingerprint], contexts=[context])
            return decision
    return scanner.scan(content, context=context)


def _content_of(upload: "File[Any]") -> Content:
    return borrowed(cast(BinaryIO, upload))


def _size_of(content: Content) -> int:
    try:
        return content.size_bytes
    except ContentError:
        return -1


def _name(decision: Decision, reference: str) -> None:
    if not decision.encounter_id or not reference:
        return
    try:
        with get_parts().store.transaction() as tx:
            name_reference(tx, decision.encounter_id, reference)
    except RecordError as error:
        logger.warning("where an upload is stored could not be noted: %s %s", error, error.hint)
