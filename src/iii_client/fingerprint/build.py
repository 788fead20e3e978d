"""Content in, Fingerprint out: digests of the exact bytes beside hashes of the pixels.

Promises: nothing is raised for what a content is or is not; what could not be computed stands in
`skipped` with its reason; digests are computed whatever the decoder says.
"""

import contextlib
import io
import tempfile
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, cast

import numpy as np
from PIL import Image

from iii_client.config import Limits
from iii_client.content import IN_MEMORY_MAX_BYTES, Content
from iii_client.errors import ContentError, ContentTooLargeError, NotAFileError
from iii_client.fingerprint.decoding import DecodedFrame, decode_frames, flatten, luma, refusing
from iii_client.fingerprint.digests import Digester, start_digests
from iii_client.fingerprint.frames import Refused
from iii_client.fingerprint.geometry import Geometry, upright
from iii_client.fingerprint.pdq import PdqHash, pdq
from iii_client.fingerprint.phash import phash_value, resized_luma, small_luma
from iii_client.fingerprint.registry import FAST
from iii_client.fingerprint.sniffing import HEAD_BYTES, UNKNOWN, Kind, Standing, sniff
from iii_client.model import (
    Algorithm,
    Decoding,
    Fingerprint,
    Frame,
    HashValue,
    PerceptualHash,
    Reason,
    Recipe,
    Skipped,
    pack_coefficients,
)

_REFUSED_KINDS = {
    Standing.NOT_ENABLED: Reason.FORMAT_NOT_ENABLED,
    Standing.NOT_SUPPORTED: Reason.FORMAT_NOT_SUPPORTED,
    Standing.NOT_A_PICTURE: Reason.NOT_A_PICTURE,
}

#: PDQ in its conventions, and pHash.
_Hashes = tuple[Mapping[Algorithm, PdqHash], bytes]


def build_fingerprint(content: Content, *, recipe: Recipe, limits: Limits) -> Fingerprint:
    """All hashes of one item.

    Never raises for a fault of the content. Unreadable, empty, over a limit, broken or of a format that is
    not decoded: `skipped` says which, and what.
    """
    pixels = _Pixels(recipe=recipe, limits=limits)
    digests: tuple[HashValue, ...] = ()
    size = 0
    try:
        size = content.size_bytes
        if size > limits.max_content_bytes:
            raise ContentTooLargeError(f"over {limits.max_content_bytes} bytes", limit="max_content_bytes")
        with content.open() as stream:
            wait_for_digests = start_digests(content, size)
            try:
                pixels.look(stream, size)
            finally:
                digests = wait_for_digests()
    except ContentError as error:
        reason = _reason(error)
        pixels.forget()
        if not digests:
            pixels.skip("digests", reason)
        pixels.skip("pixels", reason)
    return pixels.fingerprint(size, digests)


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
    """

    def __init__(self, *, recipe: Recipe, limits: Limits) -> None:
        self._pixels = _Pixels(recipe=recipe, limits=limits)
        self._limits = limits
        self._digester = Digester()
        self._size = 0
        self._head = b""
        self._spool = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_MAX_BYTES)  # noqa: SIM115
        self._spooled = True

    def update(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take the next bytes."""
        self._size += len(chunk)
        if self._size > self._limits.max_content_bytes:
            return
        self._digester.update(chunk)
        if len(self._head) < HEAD_BYTES:
            self._head += chunk[: HEAD_BYTES - len(self._head)]
        try:
            if self._size <= self._limits.max_picture_bytes:
                self._spool.write(chunk)
            else:
                self._spool.seek(0)
                self._spool.truncate()
        except OSError:  # the disk is full: the upload goes on, and its pixels were not looked at
            self._spooled = False

    def finish(self) -> Fingerprint:
        """The fingerprint of everything so far. The builder is used up."""
        pixels, size = self._pixels, self._size
        with self._spool:
            if size > self._limits.max_content_bytes:
                pixels.skip("digests", Reason.TOO_LARGE)
                pixels.skip("pixels", Reason.TOO_LARGE)
                return pixels.fingerprint(size, ())
            if not self._spooled:
                pixels.skip("pixels", Reason.UNREADABLE, "could not be spooled")
            elif size > self._limits.max_picture_bytes:
                pixels.look(io.BytesIO(self._head), size)  # enough to say what it is
            else:
                self._spool.seek(0)
                pixels.look(cast(BinaryIO, self._spool), size)
            return pixels.fingerprint(size, self._digester.digests())


@dataclass(slots=True)
class _Pixels:
    """What looking at the pixels has given so far."""

    recipe: Recipe
    limits: Limits
    kind: str = UNKNOWN
    perceptual: list[PerceptualHash] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def look(self, stream: BinaryIO, size_bytes: int) -> None:
        """Sniff, decode and hash. Whatever is refused is noted in `skipped`."""
        if size_bytes == 0:
            self.skip("pixels", Reason.EMPTY)
            return
        kind = sniff(stream.read(HEAD_BYTES))
        self.kind = kind.name
        try:
            self._hash_frames(stream, kind, size_bytes)
        except Refused as refused:
            self.skip("frames" if self.frames else "pixels", refused.reason, refused.detail)

    def skip(self, what: str, reason: Reason, detail: str = "") -> None:
        self.skipped.append(Skipped(what=what, reason=reason, detail=detail))

    def forget(self) -> None:
        """Drop what was made from bytes that could not be read to their end."""
        self.perceptual.clear()
        self.frames.clear()
        self.skipped.clear()

    def fingerprint(self, size_bytes: int, digests: tuple[HashValue, ...]) -> Fingerprint:
        return Fingerprint(
            recipe=self.recipe.id,
            size_bytes=size_bytes,
            kind=self.kind,
            digests=digests,
            perceptual=tuple(self.perceptual),
            frames=tuple(self.frames),
            skipped=tuple(self.skipped),
        )

    def _hash_frames(self, stream: BinaryIO, kind: Kind, size_bytes: int) -> None:
        if kind.standing in _REFUSED_KINDS:
            raise Refused(_REFUSED_KINDS[kind.standing])
        if size_bytes > self.limits.max_picture_bytes:
            raise Refused(Reason.TOO_LARGE, f"over {self.limits.max_picture_bytes} bytes")
        count = 0
        for frame in self._decode(stream, kind, self.recipe.decoding):
            with refusing():
                self._hash_frame(frame, stream, kind)
            count = frame.count
        if count > len(self.frames):
            self.skip("frames", Reason.FRAMES_SAMPLED, f"{len(self.frames)} of {count} frames looked at")

    def _decode(
        self, stream: BinaryIO, kind: Kind, decoding: Decoding
    ) -> Generator[DecodedFrame, None, None]:
        return decode_frames(
            stream, kind.name, decoding=decoding, max_frames=self.recipe.max_frames, limits=self.limits
        )

    def _hash_frame(self, frame: DecodedFrame, stream: BinaryIO, kind: Kind) -> None:
        if self.recipe.decoding is Decoding.EXACT:
            self._keep(frame, _hash_exact(frame))
            return
        hashes = _hash_fast(frame)
        if not any(found.gates for found in hashes[0].values()):
            self._keep(frame, hashes)
        elif frame.drafted:
            # A gated hash is only looked up exactly, and exact membership does not forgive a single bit.
            with contextlib.closing(self._decode(stream, kind, Decoding.EXACT)) as again:
                frame = next(again)
                self._keep(frame, _hash_exact(frame))
        else:
            self._keep(frame, _hash_exact(frame))

    def _keep(self, frame: DecodedFrame, hashes: _Hashes) -> None:
        found_pdq, phash = hashes
        full = _geometry(frame)
        self.frames.append(
            Frame(
                index=frame.index,
                width_px=full.columns.length,
                height_px=full.rows.length,
                reduction=frame.reduction,
            )
        )
        for algorithm in self.recipe.algorithms:
            if algorithm is Algorithm.PHASH:
                quality = found_pdq[Algorithm.PDQ].quality
                self.perceptual.append(
                    PerceptualHash(algorithm=algorithm, value=phash, quality=quality, frame=frame.index)
                )
            else:
                found = found_pdq[algorithm]
                self.perceptual.append(
                    PerceptualHash(
                        algorithm=algorithm,
                        value=found.value,
                        quality=found.quality,
                        coefficients=pack_coefficients(
                            found.coefficients.ravel().tolist(), median=found.median
                        ),
                        frame=frame.index,
                        gates=found.gates,
                    )
                )


def _hash_fast(frame: DecodedFrame) -> _Hashes:
    """From luma, perhaps reduced. Nothing is copied to turn it: it is seen through its strides."""
    geometry = _geometry(frame)
    pixels = upright(np.asarray(luma(frame.image)), frame.orientation)
    return pdq(pixels, geometry), phash_value(small_luma(pixels, geometry))


def _hash_exact(frame: DecodedFrame) -> _Hashes:
    """From every pixel, PDQ in RGB, pHash through Pillow."""
    flat = flatten(frame.image)
    found = pdq(upright(np.asarray(flat), frame.orientation))
    grey = Image.fromarray(upright(np.asarray(flat.convert("L")), frame.orientation))
    return found, phash_value(resized_luma(grey))


def _geometry(frame: DecodedFrame) -> Geometry:
    return Geometry.of_decoded(
        frame.width_px, frame.height_px, reduction=frame.reduction, orientation=frame.orientation
    )


def _reason(error: ContentError) -> Reason:
    if isinstance(error, ContentTooLargeError):
        return Reason.TOO_LARGE
    return Reason.NOT_A_FILE if isinstance(error, NotAFileError) else Reason.UNREADABLE
