"""Which hashes are too near to others to be published: a relative within 10 bits tells nothing new.

Publishing two hashes that close would spend filter bits on blocks that they share and, worse, put
almost one hash into two tables. Whoever is near one of them is near the other, too.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from iii_client.filters.ring_chain import HASH_BYTES, Hashes, block_values, hash_bits
from iii_client.publisher.sorting import distinct

#: A hash within so many bits of a published one is not inserted again.
NEAR_DUPLICATE_BITS: Final = 10

#: Hashes that differ in at most 10 bits agree in at least one of 11 bands (pigeonhole).
_BANDS = NEAR_DUPLICATE_BITS + 1
_BAND_BITS = 256 // _BANDS  # 23: two unrelated hashes of ten million share a band about once
_UNPACKED_AT_ONCE = 1 << 16
_PAIRS_AT_ONCE = 1 << 20
_POPCOUNT = np.array([value.bit_count() for value in range(1 << 16)], np.uint8)


def block_columns(hashes: Hashes) -> NDArray[np.uint32]:
    """Block values of many hashes (n, 32 bytes) as (8, n): unpacked piece by piece."""
    columns = np.empty((8, len(hashes)), np.uint32)
    for first in range(0, len(hashes), _UNPACKED_AT_ONCE):
        piece = slice(first, first + _UNPACKED_AT_ONCE)
        columns[:, piece] = block_values(hash_bits(hashes[piece])).T
    return columns


def fresh_hashes(hashes: Hashes, published: Hashes) -> Hashes:
    """The hashes that may be inserted: none within 10 bits of a published one or of each other.

    Of a group of near-duplicates the smallest value that is near no kept one stays, whatever the order
    of the input. An exact search, about n²/2²³ comparisons a band.

    Args:
        hashes: (n, 32) bytes, in any order, repeats allowed.
        published: (m, 32) bytes, everything ever published near.

    Returns:
        (k, 32), ascending.
    """
    new = distinct(hashes)
    together = np.concatenate([published.reshape(-1, HASH_BYTES), new])
    kept = np.ones(len(together), np.bool_)
    pairs = np.concatenate([np.empty((0, 2), np.intp), *_near_pairs(together)])
    pairs = np.unique(pairs[pairs[:, 1] >= len(published)], axis=0)
    # By the later one, so that whether an earlier one is kept is settled before it is asked.
    for earlier, later in pairs[np.argsort(pairs[:, 1], kind="stable")].tolist():
        if kept[earlier]:
            kept[later] = False
    return together[len(published) :][kept[len(published) :]]


def related_hashes(hashes: Hashes, published: Hashes) -> NDArray[np.bool_]:
    """Which of these hashes are within 10 bits of a published one: (n,). The same search."""
    related = np.zeros(len(hashes), np.bool_)
    if len(hashes) and len(published):
        for pairs in _near_pairs(np.concatenate([published.reshape(-1, HASH_BYTES), hashes])):
            earlier, later = pairs[:, 0], pairs[:, 1]
            related[later[(earlier < len(published)) & (later >= len(published))] - len(published)] = True
    return related


def _near_pairs(hashes: Hashes) -> Iterator[NDArray[np.intp]]:
    """Index pairs (earlier, later) within 10 bits, (p, 2) a piece; a pair may come more than once."""
    words = np.ascontiguousarray(hashes).view(np.uint16)
    stream = np.ascontiguousarray(block_columns(hashes).T).astype("<u4").view(np.uint8)
    for band in range(_BANDS):
        keys = _band(stream, band * _BAND_BITS)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        same = np.flatnonzero(keys[1:] == keys[:-1])
        step = 1
        while len(same):
            for first in range(0, len(same), _PAIRS_AT_ONCE):
                at = same[first : first + _PAIRS_AT_ONCE]
                pair = np.stack([order[at], order[at + step]], axis=1)
                distance = _POPCOUNT[words[pair[:, 0]] ^ words[pair[:, 1]]].sum(axis=1, dtype=np.uint16)
                yield pair[distance <= NEAR_DUPLICATE_BITS]
            step += 1
            same = same[same + step < len(keys)]
            same = same[keys[same] == keys[same + step]]


def _band(stream: NDArray[np.uint8], first_bit: int) -> NDArray[np.uint32]:
    """23 bits of each row of permuted bits (n, 32 bytes), from a bit offset."""
    byte, shift = divmod(first_bit, 8)
    word = np.zeros(len(stream), np.uint32)
    for i in range(min(4, HASH_BYTES - byte)):
        word |= stream[:, byte + i].astype(np.uint32) << np.uint32(8 * i)
    return (word >> np.uint32(shift)) & np.uint32((1 << _BAND_BITS) - 1)
