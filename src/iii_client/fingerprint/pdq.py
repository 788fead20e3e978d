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
windows and sample positions stay those of the full-size picture (see `axes`).

Numbering: `int.from_bytes(value)` has bit i set (bit 0 is the lowest) when coefficient [i // 16, i % 16]
is above the median. That is the order of PDQ's published hex. See `bits_of`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iii_client.fingerprint.axes import AxisMatrix, Bands, Float64, Int64, cached_axes, resampling, triangle
from iii_client.fingerprint.geometry import Axis, Geometry
from iii_client.model import Algorithm, Reason

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


def pdq(pixels: NDArray[np.uint8], geometry: Geometry | None = None) -> Mapping[Algorithm, PdqHash]:
    """Both conventions of PDQ of one upright picture.

    Args:
        pixels: (H, W) luma or (H, W, 3) RGB.
        geometry: how they relate to the full-size picture; without it they are the full-size picture.

    Returns:
        A hash for `Algorithm.PDQ` and one for `Algorithm.PDQ_512`.
    """
    geometry = geometry or Geometry.of_pixels(pixels)
    both = _axis_matrix(geometry.rows) @ pixels
    if pixels.ndim == 3:
        both = both.reshape(len(both), -1, 3) @ np.array(LUMA_WEIGHTS, np.float32)
    both = _axis_matrix(geometry.columns) @ both.T
    buffers = np.empty((2, _SIDE, _SIDE))
    buffers[0], buffers[1] = both[:_SIDE, :_SIDE].T, both[_SIDE:, _SIDE:].T
    return dict(zip((Algorithm.PDQ, Algorithm.PDQ_512), hash_buffers(buffers), strict=True))


def hash_buffers(buffers: Float64) -> list[PdqHash]:
    """The part of PDQ behind the decimation, for (n, 64, 64) buffers: DCT, median, bits, quality, gates."""
    gains = stretch_gains(buffers)
    qualities = gradient_qualities(buffers * gains[:, None, None])
    rows = (_DCT @ buffers @ _DCT.T).reshape(len(buffers), -1) * np.maximum(gains, 1.0)[:, None]
    # The lower of the two middle values, as the reference takes it.
    medians = np.partition(rows, _LOWER_MEDIAN)[:, _LOWER_MEDIAN]
    distances = rows - medians[:, None]
    low_margins = np.count_nonzero(np.abs(distances) <= LOW_MARGIN_EPSILON, axis=1)
    values = np.packbits(distances > 0, axis=1, bitorder="little")[:, ::-1]
    return [
        PdqHash(
            value=values[i].tobytes(),
            quality=int(qualities[i]),
            coefficients=rows[i].reshape(_COEFFICIENTS, _COEFFICIENTS),
            median=float(medians[i]),
            gates=_gates(int(qualities[i]), int(low_margins[i])),
        )
        for i in range(len(buffers))
    ]


def bits_of(value: bytes) -> NDArray[np.bool_]:
    """The 256 bits of a hash, numbered as the coefficients are, row by row."""
    return np.unpackbits(np.frombuffer(value, np.uint8)[::-1], bitorder="little").astype(np.bool_)


def value_of(bits: NDArray[np.bool_]) -> bytes:
    """The 32 bytes whose `bits_of` are these."""
    return np.packbits(bits, bitorder="little")[::-1].tobytes()


def gradient_qualities(buffers: Float64) -> Int64:
    """PDQ's quality of (n, 64, 64) buffers: each gradient between neighbours as a percentage of full scale,
    truncated; their sum over 90; at most 100."""
    down = np.abs(buffers[:, 1:] - buffers[:, :-1]) * (100 / 255)
    across = np.abs(buffers[:, :, 1:] - buffers[:, :, :-1]) * (100 / 255)
    sums = down.astype(np.int64).sum(axis=(1, 2)) + across.astype(np.int64).sum(axis=(1, 2))
    qualities: Int64 = np.minimum(sums // 90, 100)
    return qualities


def stretch_gains(buffers: Float64) -> Float64:
    """How much the luma of (n, 64, 64) buffers may be stretched; 0 when its range is too small for it."""
    rows = buffers.reshape(len(buffers), -1)
    low, high = (rows.shape[1] * percentile // 100 for percentile in STRETCH_PERCENTILES)
    ordered = np.partition(rows, (low, high))
    spread = ordered[:, high] - ordered[:, low]
    gains = np.clip(255.0 / np.maximum(spread, 1.0), 1.0, MAX_STRETCH_GAIN)
    return np.where(spread < MIN_STRETCH_RANGE_LEVELS, 0.0, gains)


def _gates(quality: int, low_margins: int) -> tuple[Reason, ...]:
    gates = []
    if quality < MIN_QUALITY:
        gates.append(Reason.LOW_QUALITY)
    if low_margins >= LOW_MARGIN_COUNT:
        gates.append(Reason.LOW_MARGIN)
    return tuple(gates)


# --- the axis matrices --------------------------------------------------------------------------------


@cached_axes
def _axis_matrix(axis: Axis) -> AxisMatrix:
    """The 64 rows of `pdq`, then those of `pdq-512`."""
    scaled = resampling(axis.length, _PRESCALED_SIDE, triangle, 1.0).folded(axis)
    prescaled = _decimated_box_filter(_PRESCALED_SIDE).after(scaled)
    return AxisMatrix.of([_decimated_box_filter(axis.length).folded(axis), prescaled], axis.reduced)


def _decimated_box_filter(length: int) -> Bands:
    """PDQ's two passes of its box filter, of which only 64 positions are taken."""
    outer_low, outer_high = _window(_sample_positions(length), length)
    inner = outer_low[:, None] + np.arange(int((outer_high - outer_low).max()) + 1)
    used = inner <= outer_high[:, None]
    low, high = _window(np.minimum(inner, length - 1), length)
    weight = used / (outer_high - outer_low + 1)[:, None] / (high - low + 1)
    # A row is a sum of constant intervals [low, high]: mark their ends, then add up along the axis.
    start = low[:, 0]
    steps = np.zeros((_SIDE, int((high - start[:, None]).max()) + 2))
    row = np.arange(_SIDE)[:, None]
    np.add.at(steps, (row, low - start[:, None]), weight)
    np.subtract.at(steps, (row, high + 1 - start[:, None]), weight)
    return Bands(start, steps[:, :-1].cumsum(axis=1))


def _window(position: Int64, length: int) -> tuple[Int64, Int64]:
    """First and last pixel that PDQ's box filter averages at a position; narrower at both ends."""
    size = -(-length // (2 * _SIDE))
    after = (size + 2) // 2 - 1
    return np.maximum(position - (size - 1 - after), 0), np.minimum(position + after, length - 1)


def _sample_positions(length: int) -> Int64:
    return ((np.arange(_SIDE) + 0.5) * length / _SIDE).astype(np.int64)


def _dct_matrix() -> Float64:
    """Rows 1 to 16 of the 64-point DCT-II; row 0, the mean, is left out."""
    frequency = np.arange(1, _COEFFICIENTS + 1)[:, None]
    position = np.arange(_SIDE)[None, :]
    rows: Float64 = np.sqrt(2 / _SIDE) * np.cos(np.pi / (2 * _SIDE) * frequency * (2 * position + 1))
    return rows


_DCT = _dct_matrix()
