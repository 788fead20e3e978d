"""Brute-force Hamming distances: the slow, obvious search that near matching is measured against. Pure."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from iii_client.model import Algorithm

#: Largest distance, in bits, at which a perceptual hash counts as listed. 31 of 256 is PDQ's published
#: threshold: more calls different pictures equal, less misses re-encoded and resized copies. A 64-bit pHash
#: tells too little for any distance (0.9 false matches a picture at 8 bits and 1.4 million hashes).
MAX_DISTANCE_BITS: Mapping[Algorithm, int] = {
    Algorithm.PDQ: 31,
    Algorithm.PDQ_512: 31,
    Algorithm.PHASH: 0,
}

#: Hashes compared at once: 4 MB of temporary arrays, which stay in the cache.
_ROWS_AT_ONCE = 1 << 16

_ONES = np.array([number.bit_count() for number in range(1 << 16)], dtype=np.uint8)


def pack(values: Sequence[bytes], *, width_bits: int) -> npt.NDArray[np.uint16]:
    """Hashes as rows of 16-bit words, shape (len(values), width_bits / 16)."""
    return np.frombuffer(b"".join(values), dtype=np.uint16).reshape(len(values), width_bits // 16)


def within(packed: npt.NDArray[np.uint16], value: bytes, *, most: int) -> list[tuple[int, int]]:
    """(row, distance in bits) of every packed hash within `most` bits of `value`, nearest first."""
    query = np.frombuffer(value, dtype=np.uint16)
    found: list[tuple[int, int]] = []
    for start in range(0, len(packed), _ROWS_AT_ONCE):
        different = packed[start : start + _ROWS_AT_ONCE] ^ query
        distances = _ONES[different].sum(axis=1, dtype=np.int64)
        found += [(start + int(row), int(distances[row])) for row in np.flatnonzero(distances <= most)]
    return sorted(found, key=lambda hit: (hit[1], hit[0]))
