"""What a worker writes back: one record whose length follows from the recipe alone.

    magic · nonce · how many frames, hashes, skips · slots for frames · slots for hashes · slots for skips

Whoever wrote it may have been taken over by a picture, so the host reads exactly so many bytes and believes
nothing: every field has a range, unused slots are zero, what refers to a frame refers to one that is there,
and every frame has the hashes of its recipe. Nothing in it can name a type, a file or a length. What such a
worker can still do is answer wrongly about its own picture.
"""

import math
import re
import struct
from typing import Any

from iii_client.fingerprint.frames import MAX_SIDE_PX
from iii_client.fingerprint.isolation.questions import Question
from iii_client.fingerprint.pixels import Looked
from iii_client.model import (
    Algorithm,
    Frame,
    PerceptualHash,
    Reason,
    Recipe,
    Skipped,
    unpack_coefficients,
)

_MAGIC = b"III-SAY\x01"
_HEADER = struct.Struct("<8s16sHHH")
_FRAME = struct.Struct("<IIIB")
_HASH = struct.Struct("<IBBB32s261s")
_SKIP = struct.Struct("<BB64s")

#: Frames of a recipe at most, so that an answer stays within what a socket holds.
MAX_FRAMES = 64
_SKIPS = 4
_REDUCTIONS = (1, 2, 4, 8)

#: What a decoder may say; the numbers are those of the format. New ones are added at the end.
_ALGORITHMS = (Algorithm.PDQ, Algorithm.PDQ_512, Algorithm.PHASH)
_GATES = (Reason.LOW_QUALITY, Reason.LOW_MARGIN)
_TRIMMED = 0x80  # in the byte of the gates
_WHATS = ("pixels", "frames")
_REASONS = (
    Reason.TOO_LARGE,
    Reason.TOO_MANY_PIXELS,
    Reason.TRUNCATED,
    Reason.DECODE_FAILED,
    Reason.FORMAT_NOT_SUPPORTED,
    Reason.FRAMES_SAMPLED,
)
#: Ends up in reports: words, numbers and plain punctuation, nothing that steers a terminal or a page.
_DETAIL = re.compile(rb"[A-Za-z0-9 ,.'_-]{0,64}")


class BadAnswerError(ValueError):
    """A record that no honest worker writes."""


def answer_bytes(recipe: Recipe) -> int:
    """Length of every answer under a recipe.

    Raises:
        ValueError: a recipe of more than `MAX_FRAMES` frames.
    """
    if not 1 <= recipe.max_frames <= MAX_FRAMES:
        raise ValueError(f"isolation takes recipes of 1 to {MAX_FRAMES} frames, not {recipe.max_frames}")
    return (
        _HEADER.size
        + recipe.max_frames * _FRAME.size
        + _most_hashes(recipe) * _HASH.size
        + _SKIPS * _SKIP.size
    )


def pack_answer(looked: Looked, question: Question) -> bytes:
    """The record, padded with zeros.

    Raises:
        ValueError, struct.error: more than the recipe has room for.
    """
    recipe = question.recipe
    parts = (
        _HEADER.pack(_MAGIC, question.nonce, len(looked.frames), len(looked.perceptual), len(looked.skipped)),
        _slots(recipe.max_frames * _FRAME.size, b"".join(map(_pack_frame, looked.frames))),
        _slots(_most_hashes(recipe) * _HASH.size, b"".join(map(_pack_hash, looked.perceptual))),
        _slots(_SKIPS * _SKIP.size, b"".join(map(_pack_skip, looked.skipped))),
    )
    return b"".join(parts)


def parse_answer(record: bytes, question: Question) -> Looked:
    """Believe a record as far as it can be believed.

    Raises:
        BadAnswerError: it is not the answer to this question, or not one that an honest worker writes.
    """
    recipe = question.recipe
    _require(len(record) == answer_bytes(recipe), "length")
    magic, nonce, frame_count, hash_count, skip_count = _HEADER.unpack_from(record)
    _require(magic == _MAGIC, "magic")
    _require(nonce == question.nonce, "nonce")
    slots = _Slots(record, _HEADER.size)
    frames = slots.take(_FRAME, recipe.max_frames, frame_count)
    hashes = slots.take(_HASH, _most_hashes(recipe), hash_count)
    skips = slots.take(_SKIP, _SKIPS, skip_count)
    looked = Looked(
        frames=tuple(_parse_frame(*fields) for fields in frames),
        perceptual=tuple(_parse_hash(*fields) for fields in hashes),
        skipped=tuple(_parse_skip(*fields) for fields in skips),
    )
    indices = [frame.index for frame in looked.frames]
    _require(indices == sorted(set(indices)) and indices[:1] in ([], [0]), "order of frames")
    _require(_places(looked.perceptual) == _wanted(looked.perceptual, indices, recipe), "hashes of frames")
    _require(bool(looked.frames or looked.skipped), "nothing seen and no reason")
    return looked


#: Where a hash belongs: frame, algorithm, whether of the frame without its border.
_Place = tuple[int, Algorithm, bool]


def _places(hashes: tuple[PerceptualHash, ...]) -> list[_Place]:
    return [(found.frame, found.algorithm, found.trimmed) for found in hashes]


def _wanted(hashes: tuple[PerceptualHash, ...], indices: list[int], recipe: Recipe) -> list[_Place]:
    """Each frame has all hashes of its recipe, then those without a border that were found, if any."""
    found = set(_places(hashes))
    trimmed = _trimmable(recipe)
    wanted: list[_Place] = []
    for index in indices:
        wanted += [(index, algorithm, False) for algorithm in recipe.algorithms]
        wanted += [(index, algorithm, True) for algorithm in trimmed if (index, algorithm, True) in found]
    return wanted


def _trimmable(recipe: Recipe) -> list[Algorithm]:
    if not recipe.trims_borders:
        return []
    return [algorithm for algorithm in _ALGORITHMS[:2] if algorithm in recipe.algorithms]


def _most_hashes(recipe: Recipe) -> int:
    return recipe.max_frames * (len(recipe.algorithms) + len(_trimmable(recipe)))


class _Slots:
    """Reads slot after slot, and sees that those beyond the count are empty."""

    def __init__(self, record: bytes, at: int) -> None:
        self._record = record
        self._at = at

    def take(self, layout: struct.Struct, slots: int, used: int) -> list[tuple[Any, ...]]:
        _require(used <= slots, "count")
        begin, end = self._at, self._at + slots * layout.size
        rest = self._record[begin + used * layout.size : end]
        _require(not rest.strip(b"\0"), "unused slots")
        self._at = end
        return list(layout.iter_unpack(self._record[begin : begin + used * layout.size]))


def _slots(size: int, used: bytes) -> bytes:
    if len(used) > size:
        raise ValueError(f"{len(used)} bytes in slots for {size}")
    return used.ljust(size, b"\0")


def _pack_frame(frame: Frame) -> bytes:
    return _FRAME.pack(frame.index, frame.width_px, frame.height_px, frame.reduction)


def _parse_frame(index: int, width_px: int, height_px: int, reduction: int) -> Frame:
    _require(1 <= width_px <= MAX_SIDE_PX and 1 <= height_px <= MAX_SIDE_PX, "size of a frame")
    _require(reduction in _REDUCTIONS, "reduction")
    return Frame(index=index, width_px=width_px, height_px=height_px, reduction=reduction)


def _pack_hash(found: PerceptualHash) -> bytes:
    flags = sum(1 << _GATES.index(gate) for gate in found.gates) | (_TRIMMED if found.trimmed else 0)
    algorithm = _ALGORITHMS.index(found.algorithm)
    return _HASH.pack(found.frame, algorithm, found.quality, flags, found.value, found.coefficients)


def _parse_hash(
    frame: int, algorithm: int, quality: int, flags: int, value: bytes, coefficients: bytes
) -> PerceptualHash:
    trimmed, gates = bool(flags & _TRIMMED), flags & ~_TRIMMED
    _require(algorithm < len(_ALGORITHMS) and quality <= 100 and gates < 1 << len(_GATES), "fields of a hash")
    _require(not (trimmed and gates), "gates of a trimmed hash")
    found = _ALGORITHMS[algorithm]
    width = found.width_bits // 8
    _require(not value[width:].strip(b"\0"), "width of a hash")
    if found is Algorithm.PHASH:
        _require(not coefficients.strip(b"\0") and not gates, "fields of a pHash")
        coefficients = b""
    else:
        _check_coefficients(coefficients)
    return PerceptualHash(
        algorithm=found,
        value=value[:width],
        quality=quality,
        coefficients=coefficients,
        frame=frame,
        gates=tuple(gate for bit, gate in enumerate(_GATES) if gates >> bit & 1),
        trimmed=trimmed,
    )


def _check_coefficients(packed: bytes) -> None:
    try:
        finite = math.isfinite(sum(unpack_coefficients(packed)))
    except ValueError:
        finite = False
    _require(finite, "coefficients")


def _pack_skip(skip: Skipped) -> bytes:
    detail = re.sub(rb"[^A-Za-z0-9 ,.'_-]", b"_", skip.detail.encode("ascii", "replace"))[:64]
    return _SKIP.pack(_WHATS.index(skip.what), _REASONS.index(skip.reason), detail)


def _parse_skip(what: int, reason: int, padded: bytes) -> Skipped:
    _require(what < len(_WHATS) and reason < len(_REASONS), "fields of a skip")
    detail = padded.rstrip(b"\0")
    _require(_DETAIL.fullmatch(detail) is not None, "detail")
    return Skipped(what=_WHATS[what], reason=_REASONS[reason], detail=detail.decode("ascii"))


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise BadAnswerError(f"a wrong answer: {what}")
