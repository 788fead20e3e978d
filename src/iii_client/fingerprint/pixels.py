"""A stream of a known kind in, what its pixels say out: the part of a fingerprint that needs a decoder.

This is all that runs on a stranger's bytes in a decoder's hands, so it is one pure step that can be put
behind a wall: `LooksHere` takes it in this process, `isolation` in a process that is gone afterwards.

Promises: nothing is raised for what the bytes are; what could not be computed stands in `skipped` with its
reason; no frame at all always has a reason.
"""

import contextlib
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

import numpy as np
from PIL import Image

from iii_client.config import Limits
from iii_client.fingerprint.borders import find_border
from iii_client.fingerprint.decoding import DecodedFrame, decode_frames, flatten, luma, refusing
from iii_client.fingerprint.frames import Refused
from iii_client.fingerprint.geometry import Geometry, upright
from iii_client.fingerprint.pdq import PdqHash, pdq
from iii_client.fingerprint.phash import phash_value, resized_luma, small_luma
from iii_client.model import (
    Algorithm,
    Decoding,
    Frame,
    HashValue,
    PerceptualHash,
    Reason,
    Recipe,
    Skipped,
    pack_coefficients,
)

#: Waits for the digests of the content whose pixels are looked at.
WaitForDigests = Callable[[], tuple[HashValue, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What looking at the pixels gave; the fields are those of `Fingerprint`."""

    perceptual: tuple[PerceptualHash, ...] = ()
    frames: tuple[Frame, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    @classmethod
    def refused(cls, reason: Reason, detail: str = "") -> "Looked":
        """Nothing was looked at, for this reason."""
        return cls(skipped=(Skipped(what="pixels", reason=reason, detail=detail),))


class PendingLook(Protocol):
    """A look that was started."""

    def finish(self, wait_for_digests: WaitForDigests) -> Looked:
        """Wait for what the pixels say. To be called once.

        Args:
            wait_for_digests: who looks elsewhere has time for the digests meanwhile, and may know by them
                that waiting is in vain.

        Raises:
            ContentError: the content could not be read to its end.
        """
        ...

    def cancel(self) -> None:
        """Give up, at once. Harmless after `finish`."""
        ...


class PixelReader(Protocol):
    """Where pixels are decoded and hashed."""

    def start(
        self, stream: BinaryIO, kind: str, size_bytes: int, *, recipe: Recipe, limits: Limits
    ) -> PendingLook:
        """Begin to look at a picture.

        Args:
            stream: seekable; left alone by the caller until the look is finished or cancelled.
            kind: one of `decoding.PILLOW_FORMATS`, as sniffed.
            size_bytes: of the whole stream, at most `limits.max_picture_bytes`.

        Raises:
            ContentError: the content could not be read to its end.
        """
        ...

    @property
    def is_elsewhere(self) -> bool:
        """Whether this thread is free between `start` and `finish`."""
        ...


class LooksHere:
    """Decodes in this process, with this process's rights: see the threat model."""

    is_elsewhere = False

    def start(
        self,
        stream: BinaryIO,
        kind: str,
        size_bytes: int,  # noqa: ARG002 - the shape of the plug
        *,
        recipe: Recipe,
        limits: Limits,
    ) -> "_LookHere":
        """Nothing happens before `finish`."""
        return _LookHere(lambda: look_at(stream, kind, recipe=recipe, limits=limits))


@dataclass(frozen=True, slots=True)
class _LookHere:
    look: Callable[[], Looked]

    def finish(self, wait_for_digests: WaitForDigests) -> Looked:  # noqa: ARG002 - the shape of the plug
        return self.look()

    def cancel(self) -> None:
        """Nothing was started."""


def look_at(stream: BinaryIO, kind: str, *, recipe: Recipe, limits: Limits) -> Looked:
    """Decode and hash the sampled frames of a picture, here and now.

    Args:
        stream: seekable, of at most `limits.max_picture_bytes`.
        kind: one of `decoding.PILLOW_FORMATS`, as sniffed.

    Raises:
        ContentError: the stream could not be read to its end.
    """
    pixels = _Pixels(recipe=recipe, limits=limits)
    try:
        pixels.hash_frames(stream, kind)
    except Refused as refused:
        pixels.skip("frames" if pixels.frames else "pixels", refused.reason, refused.detail)
    return Looked(
        perceptual=tuple(pixels.perceptual), frames=tuple(pixels.frames), skipped=tuple(pixels.skipped)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hashes:
    """Hashes of one frame: PDQ in its conventions, and pHash; `trimmed` is empty without a border."""

    pdq: Mapping[Algorithm, PdqHash]
    phash: bytes
    trimmed: Mapping[Algorithm, PdqHash]


@dataclass(slots=True)
class _Pixels:
    """What looking at the pixels has given so far."""

    recipe: Recipe
    limits: Limits
    perceptual: list[PerceptualHash] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def skip(self, what: str, reason: Reason, detail: str = "") -> None:
        self.skipped.append(Skipped(what=what, reason=reason, detail=detail))

    def hash_frames(self, stream: BinaryIO, kind: str) -> None:
        count = 0
        for frame in self._decode(stream, kind, self.recipe.decoding):
            with refusing():
                self._hash_frame(frame, stream, kind)
            count = frame.count
        if count > len(self.frames):
            self.skip("frames", Reason.FRAMES_SAMPLED, f"{len(self.frames)} of {count} frames looked at")

    def _decode(self, stream: BinaryIO, kind: str, decoding: Decoding) -> Generator[DecodedFrame, None, None]:
        return decode_frames(
            stream, kind, decoding=decoding, max_frames=self.recipe.max_frames, limits=self.limits
        )

    def _hash_frame(self, frame: DecodedFrame, stream: BinaryIO, kind: str) -> None:
        if self.recipe.decoding is Decoding.EXACT:
            self._keep(frame, self._hash_exact(frame))
            return
        hashes = self._hash_fast(frame)
        if not any(found.gates for found in hashes.pdq.values()):
            self._keep(frame, hashes)
        elif frame.drafted:
            # A gated hash is only looked up exactly, and exact membership does not forgive a single bit.
            with contextlib.closing(self._decode(stream, kind, Decoding.EXACT)) as again:
                frame = next(again)
                self._keep(frame, self._hash_exact(frame))
        else:
            self._keep(frame, self._hash_exact(frame))

    def _hash_fast(self, frame: DecodedFrame) -> _Hashes:
        """From luma, perhaps reduced. Nothing is copied to turn it: it is seen through its strides."""
        geometry = _geometry(frame)
        pixels = upright(np.asarray(luma(frame.image)), frame.orientation)
        border = find_border(pixels) if self.recipe.trims_borders else None
        return _Hashes(
            pdq=pdq(pixels, geometry),
            phash=phash_value(small_luma(pixels, geometry)),
            trimmed=pdq(border.trim(pixels), geometry.trimmed(border)) if border else {},
        )

    def _hash_exact(self, frame: DecodedFrame) -> _Hashes:
        """From every pixel, PDQ in RGB, pHash through Pillow."""
        flat = flatten(frame.image)
        pixels = upright(np.asarray(flat), frame.orientation)
        grey = upright(np.asarray(flat.convert("L")), frame.orientation)
        border = find_border(grey) if self.recipe.trims_borders else None
        return _Hashes(
            pdq=pdq(pixels),
            phash=phash_value(resized_luma(Image.fromarray(grey))),
            trimmed=pdq(border.trim(pixels)) if border else {},
        )

    def _keep(self, frame: DecodedFrame, hashes: _Hashes) -> None:
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
                quality = hashes.pdq[Algorithm.PDQ].quality
                self.perceptual.append(
                    PerceptualHash(
                        algorithm=algorithm, value=hashes.phash, quality=quality, frame=frame.index
                    )
                )
            else:
                self.perceptual.append(_as_stored(algorithm, hashes.pdq[algorithm], frame.index))
        for algorithm, found in hashes.trimmed.items():
            # A gated hash can only be looked up exactly, which no list of whole pictures answers.
            if algorithm in self.recipe.algorithms and not found.gates:
                self.perceptual.append(_as_stored(algorithm, found, frame.index, trimmed=True))


def _as_stored(
    algorithm: Algorithm, found: PdqHash, frame_index: int, *, trimmed: bool = False
) -> PerceptualHash:
    return PerceptualHash(
        algorithm=algorithm,
        value=found.value,
        quality=found.quality,
        coefficients=pack_coefficients(found.coefficients.ravel().tolist(), median=found.median),
        frame=frame_index,
        gates=found.gates,
        trimmed=trimmed,
    )


def _geometry(frame: DecodedFrame) -> Geometry:
    return Geometry.of_decoded(
        frame.width_px, frame.height_px, reduction=frame.reduction, orientation=frame.orientation
    )
