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

_PIXELS = 32
_SIDE = 8


def phash(image: Image.Image) -> imagehash.ImageHash:
    """The same value as `imagehash.phash(image)`, without scipy.

    `image` may have any mode that Pillow converts to `L`.
    """
    return imagehash.ImageHash(_bits(small_luma(image.convert("L"))))


def small_luma(luma: Image.Image) -> NDArray[np.uint8]:
    """The 32x32 grey pixels that pHash looks at."""
    return np.asarray(luma.resize((_PIXELS, _PIXELS), Image.Resampling.LANCZOS))


def phash_value(small: NDArray[np.uint8]) -> bytes:
    """pHash of 32x32 grey pixels as 8 bytes, in the order of `str(ImageHash)`."""
    return np.packbits(_bits(small)).tobytes()


def _bits(small: NDArray[np.uint8]) -> NDArray[np.bool_]:
    low = _DCT @ small.astype(np.float64) @ _DCT.T
    return low > np.median(low)


def _dct_matrix() -> NDArray[np.float64]:
    """The 8 lowest rows of the 32-point DCT-II, scaled as scipy's."""
    frequency = np.arange(_SIDE)[:, None]
    position = np.arange(_PIXELS)[None, :]
    rows: NDArray[np.float64] = 2 * np.cos(np.pi / (2 * _PIXELS) * frequency * (2 * position + 1))
    return rows


_DCT = _dct_matrix()
