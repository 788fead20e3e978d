"""Content in, Fingerprint out: digests of the exact bytes beside hashes of the pixels.

Promises: nothing is raised for what a content is or is not; what could not be computed stands in
`skipped` with its reason; digests are computed in this process, whatever the decoder says.
"""

import io
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import BinaryIO, cast

import numpy as np
from PIL import Image

from iii_client.config import Limits
from iii_client.content import IN_MEMORY_MAX_BYTES, Content
from iii_client.errors import ContentError, ContentTooLargeError, NotAFileError
from iii_client.fingerprint.digests import Digester, start_digests
from iii_client.fingerprint.pixels import Looked, LooksHere, PixelReader, WaitForDigests
from iii_client.fingerprint.registry import FAST
from iii_client.fingerprint.sniffing import HEAD_BYTES, UNKNOWN, Kind, Standing, sniff
from iii_client.model import Algorithm, Fingerprint, HashValue, Reason, Recipe, Skipped

_REFUSED_KINDS = {
    Standing.NOT_ENABLED: Reason.FORMAT_NOT_ENABLED,
    Standing.NOT_SUPPORTED: Reason.FORMAT_NOT_SUPPORTED,
    Standing.NOT_A_PICTURE: Reason.NOT_A_PICTURE,
}

#: Nothing was read yet, or nothing could be.
_NOT_SEEN = Kind(UNKNOWN, Standing.NOT_A_PICTURE)

_LOOKS_HERE = LooksHere()


def build_fingerprint(
    content: Content,
    *,
    recipe: Recipe,
    limits: Limits,
    reader: PixelReader = _LOOKS_HERE,
    sha256: HashValue | None = None,
) -> Fingerprint:
    """All hashes of one item.

    Never raises for a fault of the content. Unreadable, empty, over a limit, broken or of a format that is
    not decoded: `skipped` says which, and what.

    Args:
        reader: where the pixels are decoded. In this process unless something else is given: right for
            pictures of one's own; a stranger's belong behind `isolation.Isolation`.
        sha256: of the same content, if it is known already (`early_sha256`).
    """
    size, kind = 0, _NOT_SEEN
    digests: tuple[HashValue, ...] = ()
    looked = Looked()
    try:
        size = content.size_bytes
        if size > limits.max_content_bytes:
            raise ContentTooLargeError(f"over {limits.max_content_bytes} bytes", limit="max_content_bytes")
        with content.open() as stream:
            wait_for_digests = start_digests(content, size, in_thread=not reader.is_elsewhere, sha256=sha256)
            try:
                kind = sniff(stream.read(HEAD_BYTES))
                looked = _look(
                    stream, kind, size, wait_for_digests, recipe=recipe, limits=limits, reader=reader
                )
            finally:
                digests = wait_for_digests()
    except ContentError as error:
        # What was made from bytes that could not be read to their end is dropped.
        reason = _reason(error)
        missing = ("pixels",) if digests else ("digests", "pixels")
        looked = Looked(skipped=tuple(Skipped(what=what, reason=reason) for what in missing))
    return _fingerprint(recipe, size, kind, digests, looked)


def look_again(
    content: Content, found: Fingerprint, *, recipe: Recipe, limits: Limits, reader: PixelReader
) -> Fingerprint:
    """Look a second time at what a match may rest on, before anything is done about it.

    A worker that another picture took over could frame this one; a fresh worker was taken over by nobody.

    Args:
        content: the same that `found` was made of; it must still be readable.
        reader: must give each picture a worker of its own, as `Isolation` does.

    Returns:
        `found` itself where the second look finds the same. Else without its perceptual hashes, and
        `skipped` says why.
    """
    again = build_fingerprint(content, recipe=recipe, limits=limits, reader=reader)
    if again == found:
        return found
    same_bytes = again.digests == found.digests
    skip = Skipped(what="pixels", reason=Reason.DECODER_DISAGREED if same_bytes else Reason.UNREADABLE)
    return replace(found, perceptual=(), frames=(), skipped=(*found.skipped, skip))


def warm_up() -> None:
    """Load the decoders and fill the caches, so that the first picture is as fast as the others."""
    picture = Image.fromarray(np.arange(96 * 96, dtype=np.uint32).reshape(96, 96).astype(np.uint8))
    for pillow_format in ("JPEG", "PNG", "WEBP", "GIF"):
        encoded = io.BytesIO()
        picture.save(encoded, pillow_format)
        build_fingerprint(Content.from_bytes(encoded.getvalue()), recipe=FAST, limits=Limits())


class FingerprintBuilder:
    """The fingerprint of an upload that arrives in chunks.

    Digests are computed as the chunks come; the bytes are spooled for the decoder, in memory while small,
    then in an unnamed temporary file, and never more than `limits.max_picture_bytes`.

    Args:
        recall: what is known under a SHA-256, or None; then nothing is decoded.
        keeps_bytes: False where somebody else keeps them, and gives them to `finish`.
    """

    def __init__(
        self,
        *,
        recipe: Recipe,
        limits: Limits,
        reader: PixelReader = _LOOKS_HERE,
        recall: Callable[[HashValue], Fingerprint | None] = lambda _: None,
        keeps_bytes: bool = True,
    ) -> None:
        self._recipe = recipe
        self._limits = limits
        self._reader = reader
        self._recall = recall
        self._digester = Digester()
        self._size = 0
        self._head = b""
        self._spool = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_MAX_BYTES)  # noqa: SIM115
        self._spooled = keeps_bytes

    def update(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take the next bytes."""
        self._size += len(chunk)
        if self._size > self._limits.max_content_bytes:
            return
        self._digester.update(chunk)
        if len(self._head) < HEAD_BYTES:
            self._head += chunk[: HEAD_BYTES - len(self._head)]
        if not self._spooled:
            return
        try:
            if self._size <= self._limits.max_picture_bytes:
                self._spool.write(chunk)
            else:
                self._spool.seek(0)
                self._spool.truncate()
        except OSError:  # the disk is full: the upload goes on, and its pixels were not looked at
            self._spooled = False

    def finish(self, content: Content | None = None) -> Fingerprint:
        """The fingerprint of everything so far. The builder is used up.

        Args:
            content: the same bytes, to decode them from; without it, what was spooled.
        """
        with self._spool:
            if self._size > self._limits.max_content_bytes:
                skipped = tuple(Skipped(what=what, reason=Reason.TOO_LARGE) for what in ("digests", "pixels"))
                return _fingerprint(self._recipe, self._size, _NOT_SEEN, (), Looked(skipped=skipped))
            digests = self._digester.digests()
            sha256 = next(digest for digest in digests if digest.algorithm is Algorithm.SHA256)
            if (known := self._recall(sha256)) is not None:
                return known
            if content is None and not self._spooled:
                looked = Looked.refused(Reason.UNREADABLE, "could not be spooled")
                return _fingerprint(self._recipe, self._size, _NOT_SEEN, digests, looked)
            kind = sniff(self._head[:HEAD_BYTES])
            self._spool.seek(0)
            try:
                with (
                    nullcontext(cast(BinaryIO, self._spool)) if content is None else content.open() as stream
                ):
                    looked = _look(
                        stream,
                        kind,
                        self._size,
                        lambda: digests,
                        recipe=self._recipe,
                        limits=self._limits,
                        reader=self._reader,
                    )
            except ContentError as error:
                looked = Looked.refused(_reason(error))
            return _fingerprint(self._recipe, self._size, kind, digests, looked)


def _look(
    stream: BinaryIO,
    kind: Kind,
    size_bytes: int,
    wait_for_digests: WaitForDigests,
    *,
    recipe: Recipe,
    limits: Limits,
    reader: PixelReader,
) -> Looked:
    """What the pixels say, or why they are not asked."""
    if size_bytes == 0:
        return Looked.refused(Reason.EMPTY)
    if kind.standing in _REFUSED_KINDS:
        return Looked.refused(_REFUSED_KINDS[kind.standing])
    if size_bytes > limits.max_picture_bytes:
        return Looked.refused(Reason.TOO_LARGE, f"over {limits.max_picture_bytes} bytes")
    look = reader.start(stream, kind.name, size_bytes, recipe=recipe, limits=limits)
    try:
        return look.finish(wait_for_digests)
    finally:
        look.cancel()


def _fingerprint(
    recipe: Recipe, size_bytes: int, kind: Kind, digests: tuple[HashValue, ...], looked: Looked
) -> Fingerprint:
    return Fingerprint(
        recipe=recipe.id,
        size_bytes=size_bytes,
        kind=kind.name,
        digests=digests,
        perceptual=looked.perceptual,
        frames=looked.frames,
        skipped=looked.skipped,
    )


def _reason(error: ContentError) -> Reason:
    if isinstance(error, ContentTooLargeError):
        return Reason.TOO_LARGE
    return Reason.NOT_A_FILE if isinstance(error, NotAFileError) else Reason.UNREADABLE
