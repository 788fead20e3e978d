"""PDQ: a 256-bit hash of appearance, as three small matrix products.

Source: "The TMK+PDQF video-hashing algorithm and the PDQ image-hashing algorithm" (Meta, 2019) and the
behaviour of its reference implementation, which the golden vectors and the live comparison pin down.

Everything in PDQ before the median is linear and separable. The two box-filter passes and the sampling
of 64 positions are one 64 x n matrix an axis, so

    buffer64 = A(H) @ luma(H x W) @ A(W)ᵀ          coefficients = D @ buffer64 @ Dᵀ       (16 x 16)
    bit i = coefficient i > median                  i counts the coefficients row by row

Two conventions come from one decode: `pdq` hashes the picture at full size, `pdq-512` the picture
pre-scaled to 512x512 (bilinear, widened when it shrinks, as Pillow's `BILINEAR`), which is one more pair of
axis matrices. A decoder's reduction (a JPEG read at 1/2, 1/4 or 1/8) is folded into them, so that
windows and sample positions stay those of the full-size picture; so is the EXIF orientation.

Numbering: `int.from_bytes(value)` has bit i set (bit 0 is the lowest) when coefficient [i // 16, i % 16]
is above the median. That is the order of PDQ's published hex. See `bits_of`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from iii_client.model import Algorithm, Reason

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Below this quality a hash says too little: exact membership only. PDQ's authors recommend 50. Lower:
#: flat pictures collide with each other. Higher: real pictures are no longer looked for.
MIN_QUALITY = 50

#: The luma stretch before the quality is measured: from the 1st to the 99th percentile of the 64x64
#: buffer, with at most this gain. PDQ's bits ignore contrast but its quality does not; without the stretch
#: lowering the contrast would be a way under the gate.
STRETCH_PERCENTILES = (1, 99)
MAX_STRETCH_GAIN = 8.0
#: A range of fewer grey levels than this is noise rather than a picture, and is not stretched: quality 0.
MIN_STRETCH_RANGE_LEVELS = 8.0

#: A bit whose coefficient is this close to the median (in units of the coefficients, after the stretch) is
#: noise: re-encoding at JPEG quality 75 moves a coefficient by 0.44 (median of 60 photographs).
LOW_MARGIN_EPSILON = 0.5
#: With so many such bits a hash is an accident: bars, half-black and symmetric pictures, whose copies differ
#: by up to 126 bits. Measured: 244 photographs have at most 12, 95 % of 300 pieces of clip-art at most 17,
#: bars, circles and gradients at least 106. Higher: such pictures are probed in vain and hit at random.
#: Lower: pictures with large flat parts are no longer looked for once altered (still looked up exactly).
LOW_MARGIN_COUNT = 64

#: Weights of red, green and blue in luma, as PDQ has them (ITU-R BT.601).
LUMA_WEIGHTS = (0.299, 0.587, 0.114)

_SIDE = 64
_PRESCALED_SIDE = 512
_COEFFICIENTS = 16
_LOWER_MEDIAN = _COEFFICIENTS**2 // 2 - 1

#: Axis matrices kept. Uploaders choose the sizes, so both the count and the size of what is kept are
#: bounded: at most 64 x 0.5 MB.
_CACHED_AXES = 64
_CACHED_AXIS_PX = 8192

#: Rows of an axis matrix are nearly block-diagonal; multiplying them in this many groups saves most of
#: the zeros and keeps the float copy of the pixels in the cache.
_GROUPS = 8
#: ... and below this length it saves nothing.
_GROUP_FROM_PX = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class PdqHash:
    """One PDQ hash with what it was made from.

    Attributes:
        value: 32 bytes in the order of PDQ's published hex.
        quality: 0 (flat) to 100, after the luma stretch.
        coefficients: the 16x16 DCT coefficients (float64), scaled by the stretch's gain, so that a
            margin means the same in a pale picture and in a bright one.
        median: the lower median of the coefficients, which the bits were compared with.
        gates: why it must not be probed for near matches; empty when it may be.
    """

    value: bytes
    quality: int
    coefficients: Float64
    median: float
    gates: tuple[Reason, ...]


def pdq(
    pixels: NDArray[np.uint8],
    *,
    reduction: int = 1,
    size_px: tuple[int, int] | None = None,
    orientation: int = 1,
) -> Mapping[Algorithm, PdqHash]:
    """Both conventions of PDQ of one picture.

    Args:
        pixels: (H, W) luma or (H, W, 3) RGB, as stored.
        reduction: scale at which the decoder read the picture (each pixel is the mean of
            reduction x reduction).
        size_px: width and height as stored, before the reduction; taken from `pixels` if not given.
        orientation: EXIF orientation, 1 to 8, that the hashes shall take into account.

    Returns:
        A hash for `Algorithm.PDQ` and one for `Algorithm.PDQ_512`.
    """
    width, height = size_px or (pixels.shape[1] * reduction, pixels.shape[0] * reduction)
    flip_y, flip_x, transposed = _ORIENTATIONS[orientation]
    rows = _axis(height, reduction, flip_y)
    columns = _axis(width, reduction, flip_x)
    both = rows.apply(pixels.reshape(pixels.shape[0], -1))
    if pixels.ndim == 3:
        both = both.reshape(len(both), -1, 3) @ np.array(LUMA_WEIGHTS, np.float32)
    both = columns.apply(both.T).T
    buffers = {Algorithm.PDQ: both[:_SIDE, :_SIDE], Algorithm.PDQ_512: both[_SIDE:, _SIDE:]}
    return {
        algorithm: hash_buffer((buffer.T if transposed else buffer).astype(np.float64))
        for algorithm, buffer in buffers.items()
    }


def oriented(plane: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """A stored plane turned as its EXIF orientation (1 to 8) says."""
    flip_y, flip_x, transposed = _ORIENTATIONS[orientation]
    plane = plane[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
    return plane.T if transposed else plane


def hash_buffer(buffer64: Float64) -> PdqHash:
    """The part of PDQ behind the decimation: DCT, median, bits, quality and gates of a 64x64 buffer."""
    gain = stretch_gain(buffer64)
    coefficients = _DCT @ buffer64 @ _DCT.T * max(gain, 1.0)
    # The lower of the two middle values, as the reference takes it.
    median = np.partition(coefficients, _LOWER_MEDIAN, axis=None)[_LOWER_MEDIAN]
    quality = gradient_quality(buffer64 * gain)
    gates = []
    if quality < MIN_QUALITY:
        gates.append(Reason.LOW_QUALITY)
    if np.count_nonzero(np.abs(coefficients - median) <= LOW_MARGIN_EPSILON) >= LOW_MARGIN_COUNT:
        gates.append(Reason.LOW_MARGIN)
    return PdqHash(
        value=value_of((coefficients > median).ravel()),
        quality=quality,
        coefficients=coefficients,
        median=float(median),
        gates=tuple(gates),
    )


def bits_of(value: bytes) -> NDArray[np.bool_]:
    """The 256 bits of a hash, numbered as the coefficients are, row by row."""
    return np.unpackbits(np.frombuffer(value, np.uint8)[::-1], bitorder="little").astype(np.bool_)


def value_of(bits: NDArray[np.bool_]) -> bytes:
    """The 32 bytes whose `bits_of` are these."""
    return np.packbits(bits, bitorder="little")[::-1].tobytes()


def gradient_quality(buffer64: Float64) -> int:
    """PDQ's quality: the sum of the gradients of the 64x64 buffer, as a percentage of full scale each and
    truncated, over 90, at most 100."""
    down = np.abs(np.diff(buffer64, axis=0)) * 100 / 255
    across = np.abs(np.diff(buffer64, axis=1)) * 100 / 255
    return min(int(down.astype(np.int64).sum() + across.astype(np.int64).sum()) // 90, 100)


def stretch_gain(buffer64: Float64) -> float:
    """How much the luma may be stretched; 0 when its range is too small to be stretched at all."""
    flat = buffer64.ravel()
    low, high = (flat.size * p // 100 for p in STRETCH_PERCENTILES)
    ordered = np.partition(flat, (low, high))
    spread = float(ordered[high] - ordered[low])
    if spread < MIN_STRETCH_RANGE_LEVELS:
        return 0.0
    return min(max(255.0 / spread, 1.0), MAX_STRETCH_GAIN)


# --- the axis matrices --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Axis:
    """128 x n: the rows of `pdq` (64), then those of `pdq-512` (64), in groups of non-zero columns."""

    groups: tuple[tuple[int, Float32], ...]  # first column, (2 * 64 / groups) x width

    def apply(self, pixels: NDArray[np.uint8] | Float32) -> Float32:
        """This matrix times `pixels`, as float32."""
        out = np.empty((2, len(self.groups), _SIDE // len(self.groups), pixels.shape[1]), np.float32)
        for index, (start, weights) in enumerate(self.groups):
            part = pixels[start : start + weights.shape[1]]
            product = weights @ part.astype(np.float32, copy=False)
            out[:, index] = product.reshape(2, -1, pixels.shape[1])
        return out.reshape(2 * _SIDE, -1)


def _axis(length: int, reduction: int, flipped: bool) -> _Axis:
    build = _cached_axis if length // reduction <= _CACHED_AXIS_PX else _build_axis
    return build(length, reduction, flipped)


def _build_axis(length: int, reduction: int, flipped: bool) -> _Axis:
    """Rows of both conventions for an axis of `length` pixels that the decoder read at 1/`reduction`."""
    size = -(-length // reduction)
    # Stored pixel k of a flipped axis holds the pixels from the other end; where the reduction does not
    # divide the length, the partial pixel comes first.
    shift = size * reduction - length if flipped else 0
    native, prescaled = _native_rows(length, reduction, shift), _prescaled_rows(length, reduction, shift)
    count = _GROUPS if size >= _GROUP_FROM_PX else 1
    step = _SIDE // count
    groups = []
    for first in range(0, _SIDE, step):
        rows = [
            (starts[first + i], weights[first + i])
            for starts, weights in (native, prescaled)
            for i in range(step)
        ]
        low = min(int(start) for start, _ in rows)
        high = min(max(int(start) + len(weights) for start, weights in rows), size)
        block = np.zeros((2 * step, high - low), np.float64)
        for row, (start, weights) in zip(block, rows, strict=True):
            kept = weights[: size - start]
            row[start - low : start - low + len(kept)] = kept
        if flipped:
            low, block = size - high, block[:, ::-1]
        groups.append((low, np.ascontiguousarray(block, np.float32)))
    return _Axis(tuple(groups))


_cached_axis = lru_cache(maxsize=_CACHED_AXES)(_build_axis)


def _native_rows(length: int, reduction: int, shift: int) -> tuple[NDArray[np.int64], Float64]:
    """First (reduced) pixel and weights of the 64 rows of: box filter twice, then take 64 positions."""
    outer_low, outer_high = _window(_sample_positions(length), length)
    span = int((outer_high - outer_low).max()) + 1
    inner = outer_low[:, None] + np.arange(span)  # every position of the second pass that a row averages
    used = inner <= outer_high[:, None]
    inner_low, inner_high = _window(np.minimum(inner, length - 1), length)
    weight = used / (outer_high - outer_low + 1)[:, None] / (inner_high - inner_low + 1)
    return _spread(inner_low + shift, inner_high + shift, weight, reduction)


def _window(position: NDArray[np.int64], length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last pixel that PDQ's box filter averages at a position; narrower at both ends."""
    size = -(-length // (2 * _SIDE))
    after = (size + 2) // 2 - 1
    return np.maximum(position - (size - 1 - after), 0), np.minimum(position + after, length - 1)


def _sample_positions(length: int) -> NDArray[np.int64]:
    return ((np.arange(_SIDE) + 0.5) * length / _SIDE).astype(np.int64)


def _spread(
    low: NDArray[np.int64], high: NDArray[np.int64], weight: Float64, reduction: int
) -> tuple[NDArray[np.int64], Float64]:
    """Sum, for each row, intervals [low, high] of constant `weight` over pixels of `reduction` width."""
    first = low.min(axis=1) // reduction
    span = int((high.max(axis=1) // reduction - first).max()) + 1
    edges = (first[:, None] + np.arange(span + 1)) * reduction  # of the reduced pixels, in full pixels
    covered = np.clip(edges[:, None, :] - low[:, :, None], 0, (high - low + 1)[:, :, None])
    return first, np.einsum("rt,rtk->rk", weight, np.diff(covered, axis=2).astype(np.float64))


def _prescaled_rows(length: int, reduction: int, shift: int) -> tuple[NDArray[np.int64], Float64]:
    """The same 64 rows for 512 positions, each a bilinear mean of the axis."""
    starts, rows = _native_rows(_PRESCALED_SIDE, 1, 0)
    scale = length / _PRESCALED_SIDE
    support = max(scale, 1.0)
    centre = (np.arange(_PRESCALED_SIDE) + 0.5) * scale
    taps = int(2 * support) + 2
    low = np.floor(centre - support).astype(np.int64)
    pixel = low[:, None] + np.arange(taps)
    triangle = np.maximum(1 - np.abs(pixel + 0.5 - centre[:, None]) / support, 0)
    triangle[(pixel < 0) | (pixel >= length)] = 0
    triangle /= triangle.sum(axis=1, keepdims=True)
    reduced = (np.clip(pixel, 0, length - 1) + shift) // reduction
    source = np.minimum(starts[:, None] + np.arange(rows.shape[1]), _PRESCALED_SIDE - 1)
    first = reduced[source].min(axis=(1, 2))
    offset = reduced[source] - first[:, None, None]
    span = int(offset.max()) + 1
    out = np.zeros((_SIDE, span))
    row = np.broadcast_to(np.arange(_SIDE)[:, None, None], offset.shape)
    np.add.at(out, (row, offset), rows[:, :, None] * triangle[source])
    return first, out


def _dct_matrix() -> Float64:
    """Rows 1 to 16 of the 64-point DCT-II; row 0, the mean, is left out."""
    frequency = np.arange(1, _COEFFICIENTS + 1)[:, None]
    position = np.arange(_SIDE)[None, :]
    rows: Float64 = np.sqrt(2 / _SIDE) * np.cos(np.pi / (2 * _SIDE) * frequency * (2 * position + 1))
    return rows


_DCT = _dct_matrix()

#: EXIF orientation -> (flip stored rows, flip stored columns, then transpose).
_ORIENTATIONS = {
    1: (False, False, False),
    2: (False, True, False),
    3: (True, True, False),
    4: (True, False, False),
    5: (False, False, True),
    6: (True, False, True),
    7: (True, True, True),
    8: (False, True, True),
}
