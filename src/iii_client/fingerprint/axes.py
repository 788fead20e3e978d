"""Axis matrices: one axis of a picture, of any length, to a fixed number of weighted means of its pixels.

Filters that are linear and separable need only one small matrix an axis. It is built from its windows
directly, O(rows x window), because uploaders choose the sizes: a naive build for 4000 pixels takes 1.8 s
(measured). What the decoder reduced (a JPEG read at 1/2, 1/4 or 1/8, each pixel the mean of 2, 4 or 8) is
folded in, so that windows and positions stay those of the full-size picture.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from iii_client.fingerprint.geometry import Axis

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

#: Bands are nearly diagonal; multiplying them in groups of neighbouring rows saves most of the zeros, and
#: keeps the float copy of the pixels in the cache. At most so many groups, of no fewer rows, of axes from
#: this length: beyond that, starting the products costs more than the zeros (measured).
_MAX_GROUPS = 16
_MIN_ROWS = 4
_GROUP_FROM_PX = 256

#: Multiplications of one product at most. OpenBLAS gives larger ones to threads of its own, which gain
#: nothing on matrices this small and wait for their work by spinning: beside other busy threads a
#: picture then takes four times as long, and twice the CPU always (measured, 2 cores). Its limit is 2^19.
_PRODUCT_IN_ONE_THREAD = 1 << 18

#: Pixels that are multiplied at a time: their float copy stays in the second-level cache.
_PIXELS_AT_A_TIME = 200_000

#: Matrices kept of each kind. Uploaders choose the sizes, so both the count and the size of what is kept are
#: bounded: at most 64 x 1 MB.
_CACHED_AXES = 64
_CACHED_AXIS_PX = 8192


@dataclass(frozen=True, slots=True)
class Bands:
    """Rows of an axis matrix in compact form: row r has `weights[r]` from pixel `starts[r]` on."""

    starts: Int64
    weights: Float64

    def __len__(self) -> int:
        return len(self.starts)

    def folded(self, axis: Axis) -> "Bands":
        """The same rows, over full-size pixels, as rows over the pixels at hand."""
        if axis.reduction == 1:
            return self
        rows, width = self.weights.shape
        first, offset = np.divmod(self.starts + axis.missing, axis.reduction)
        wide = -(-(width + axis.reduction - 1) // axis.reduction) * axis.reduction
        aligned = np.zeros((rows, wide))
        aligned[np.arange(rows)[:, None], offset[:, None] + np.arange(width)] = self.weights
        return Bands(first, aligned.reshape(rows, -1, axis.reduction).sum(axis=2))

    def after(self, earlier: "Bands") -> "Bands":
        """These rows over the outputs of `earlier`, as rows over its inputs."""
        outputs = self.starts[:, None] + np.arange(self.weights.shape[1])
        outputs = np.minimum(outputs, len(earlier) - 1)  # beyond the end the weights are 0
        first = earlier.starts[outputs].min(axis=1)
        offset = earlier.starts[outputs] - first[:, None]
        width = earlier.weights.shape[1]
        composed = np.zeros((len(self), int(offset.max()) + width))
        rows = np.arange(len(self))
        for output in range(outputs.shape[1]):  # few: the width of a window
            columns = offset[:, output, None] + np.arange(width)
            composed[rows[:, None], columns] += (
                self.weights[:, output, None] * earlier.weights[outputs[:, output]]
            )
        return Bands(first, composed)


@dataclass(frozen=True, slots=True)
class AxisMatrix:
    """Rows over an axis of a given length, ready to be multiplied."""

    rows: int
    groups: tuple[tuple[Int64, int, Float32], ...]  # row numbers, first pixel, rows x pixels

    @classmethod
    def of(cls, bands: Sequence[Bands], length: int) -> "AxisMatrix":
        """All rows of several bands, one below the other, over `length` pixels."""
        starts = np.concatenate([band.starts for band in bands])
        weights = [row for band in bands for row in band.weights]
        ends = np.minimum(starts + np.array([len(row) for row in weights]), length)
        count = min(len(starts) // _MIN_ROWS, _MAX_GROUPS) if length >= _GROUP_FROM_PX else 1
        groups = []
        for numbers in np.array_split(np.argsort(starts + ends, kind="stable"), count):
            low, high = int(starts[numbers].min()), int(ends[numbers].max())
            block = np.zeros((len(numbers), high - low), np.float32)
            for row, number in zip(block, numbers, strict=True):
                begin, end = int(starts[number]), int(ends[number])
                row[begin - low : end - low] = weights[number][: end - begin]
            groups.append((numbers, low, block))
        return cls(len(starts), tuple(groups))

    def __matmul__(self, pixels: NDArray[np.uint8] | Float32) -> Float32:
        """This matrix times pixels of shape (length, …), as (rows, the rest flattened)."""
        wide = pixels.reshape(len(pixels), -1)
        out = np.empty((self.rows, wide.shape[1]), np.float32)
        for numbers, low, block in self.groups:
            high = low + block.shape[1]
            step = max(min(_PIXELS_AT_A_TIME // block.shape[1], _PRODUCT_IN_ONE_THREAD // block.size), 1)
            for first in range(0, wide.shape[1], step):
                columns = slice(first, first + step)
                out[numbers, columns] = block @ wide[low:high, columns].astype(np.float32, copy=False)
        return out


def cached_axes(build: Callable[[Axis], AxisMatrix]) -> Callable[[Axis], AxisMatrix]:
    """Remember what `build` made for the latest axes, unless they are very long."""
    cached = lru_cache(maxsize=_CACHED_AXES)(build)
    return lambda axis: (cached if axis.reduced <= _CACHED_AXIS_PX else build)(axis)


def resampling(length: int, outputs: int, kernel: Callable[[Float64], Float64], support: float) -> Bands:
    """Resize an axis to `outputs` positions as Pillow does: a kernel that widens when the axis shrinks.

    Args:
        kernel: weight at a distance, in output pixels.
        support: distance beyond which the kernel is 0.
    """
    scale = length / outputs
    stretch = max(scale, 1.0)
    centre = (np.arange(outputs) + 0.5) * scale
    start = np.maximum((centre - support * stretch + 0.5).astype(np.int64), 0)
    end = np.minimum((centre + support * stretch + 0.5).astype(np.int64), length)
    pixel = start[:, None] + np.arange(int((end - start).max()))
    weights = kernel((pixel - centre[:, None] + 0.5) / stretch)
    weights[pixel >= end[:, None]] = 0
    return Bands(start, weights / weights.sum(axis=1, keepdims=True))


def triangle(distance: Float64) -> Float64:
    """The kernel of Pillow's BILINEAR; support 1."""
    weights: Float64 = np.maximum(1 - np.abs(distance), 0)
    return weights


def lanczos(distance: Float64) -> Float64:
    """The kernel of Pillow's LANCZOS; support 3."""
    # sinc(d) sinc(d / 3) with the sine of the triple angle written out: one sine a weight instead of two.
    angle = distance * (np.pi / 3)
    sine = np.sin(angle)
    angle[angle == 0] = 1
    weights: Float64 = (sine / angle) ** 2 * (1 - 4 / 3 * sine**2)
    weights[distance == 0] = 1
    weights[np.abs(distance) >= 3] = 0
    return weights
