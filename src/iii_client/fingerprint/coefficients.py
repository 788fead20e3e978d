"""Stored form of PDQ's 16x16 coefficients, version 1: 513 bytes.

1 byte version · 256 little-endian float16, row by row, in the order of the hash's bits (`bits_of`)
"""

import numpy as np
from numpy.typing import NDArray

_VERSION = b"\x01"
_LENGTH = 1 + 256 * 2


def pack_coefficients(coefficients: NDArray[np.float64]) -> bytes:
    """The stored form of a 16x16 matrix."""
    return _VERSION + coefficients.astype("<f2").tobytes()


def unpack_coefficients(data: bytes) -> NDArray[np.float32]:
    """The 16x16 matrix, as float32.

    Raises:
        ValueError: not what `pack_coefficients` of a known version wrote.
    """
    if len(data) != _LENGTH or data[:1] != _VERSION:
        raise ValueError("not packed coefficients of a known version")
    return np.frombuffer(data, "<f2", offset=1).astype(np.float32).reshape(16, 16)
