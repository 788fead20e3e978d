"""pHash: a 64-bit hash of appearance, equal to `imagehash.phash` and returned as its type.

Source: imagehash (https://github.com/JohannesBuchner/imagehash): 32x32 grey pixels (Pillow's Lanczos), the
8x8 lowest frequencies of their DCT-II, each compared with the median. imagehash loads scipy for the DCT
(137 ms and 47 MB at the first hash, measured); a product with an 8 x 32 matrix gives the same bits.

64 bits are not selective enough for near matches on a long list: exact membership and interchange only.
"""

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from iii_client.fingerprint.axes import AxisMatrix, Float32, cached_axes, lanczos, resampling
from iii_client.fingerprint.geometry import Axis, Geometry

_PIXELS = 32
_SIDE = 8
#: Rows and pixels of the picture that are scaled at a time: their float copy stays in the cache.
_ROWS_AT_A_TIME = 256
_PIXELS_AT_A_TIME = 500_000


def phash(image: Image.Image) -> imagehash.ImageHash:
    """The same value as `imagehash.phash(image)`, without scipy.

    `image` may have any mode that Pillow converts to `L`.
    """
    return imagehash.ImageHash(_bits(resized_luma(image.convert("L"))))


def resized_luma(luma: Image.Image) -> NDArray[np.uint8]:
    """The 32x32 grey pixels that pHash looks at, made by Pillow as in imagehash."""
    return np.asarray(luma.resize((_PIXELS, _PIXELS), Image.Resampling.LANCZOS))


def small_luma(luma: NDArray[np.uint8], geometry: Geometry | None = None) -> NDArray[np.uint8]:
    """The same 32x32 grey pixels, several times as fast, with the decoder's reduction folded in.

    Arguments as for `pdq`. Across first, rounded, then down, as Pillow does unless it finds the other order
    cheaper (tall pictures, depending on its version). Without the rounding one picture in ten gets another
    pHash, with it one in 250 (measured), so what must be equal is made by `resized_luma`.
    """
    geometry = geometry or Geometry.of_pixels(luma)
    across, down = _axis_matrix(geometry.columns), _axis_matrix(geometry.rows)
    narrow = np.empty((_PIXELS, luma.shape[0]), np.float32)
    step = min(max(_PIXELS_AT_A_TIME // luma.shape[1], 1), _ROWS_AT_A_TIME)
    for first in range(0, luma.shape[0], step):
        rows = slice(first, first + step)
        narrow[:, rows] = _rounded(across @ luma[rows].astype(np.float32, order="C").T)
    return _rounded(down @ narrow.T).astype(np.uint8)


def phash_value(small: NDArray[np.uint8]) -> bytes:
    """pHash of 32x32 grey pixels as 8 bytes, in the order of `str(ImageHash)`."""
    return np.packbits(_bits(small)).tobytes()


@cached_axes
def _axis_matrix(axis: Axis) -> AxisMatrix:
    return AxisMatrix.of([resampling(axis.length, _PIXELS, lanczos, 3.0).folded(axis)], axis.reduced)


def _rounded(values: Float32) -> Float32:
    rounded: Float32 = np.floor(np.clip(values, 0, 255) + np.float32(0.5))
    return rounded


def _bits(small: NDArray[np.uint8]) -> NDArray[np.bool_]:
    # Rounded, so that in a flat picture nothing is above nothing (imagehash: 8000000000000000), whatever
    # the order of summation leaves of a frequency that is not there.
    low = np.round(_DCT @ small.astype(np.float64) @ _DCT.T, 6)
    # np.median, without the 50 µs that it takes to get to the same two values
    middle = np.partition(low, (low.size // 2 - 1, low.size // 2), axis=None)
    bits: NDArray[np.bool_] = low > (middle[low.size // 2 - 1] + middle[low.size // 2]) / 2
    return bits


def _dct_matrix() -> NDArray[np.float64]:
    """The 8 lowest rows of the 32-point DCT-II, scaled as scipy's."""
    frequency = np.arange(_SIDE)[:, None]
    position = np.arange(_PIXELS)[None, :]
    rows: NDArray[np.float64] = 2 * np.cos(np.pi / (2 * _PIXELS) * frequency * (2 * position + 1))
    return rows


_DCT = _dct_matrix()
