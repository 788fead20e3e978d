"""Writes the bytes of a near segment: header, tier 1, tier 2, piece by piece.

Deterministic: the same hashes give the same bytes on every machine, whatever their order. Memory is
bounded by the hashes (32 bytes each), their blocks (32) and one piece of a table, so that ten million
hashes fit in 2 GiB.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from iii_client.filters.bit_table import probe_positions
from iii_client.filters.near_segment import NearHeader
from iii_client.filters.ring_chain import BLOCKS, Words64, tier1_hash, tier2_hash

#: A piece of a table under construction takes one byte a bit: 512 MiB. Each piece hashes all keys anew.
_PIECE_BITS: Final = 1 << 29
_KEYS_AT_ONCE = 1 << 17


def distinct_keys(columns: NDArray[np.uint32]) -> tuple[int, int]:
    """How many different keys hashes have in each tier; `columns` are their block values (8, n)."""
    tier1 = sum(len(np.unique(column)) for column in columns)
    tier2 = sum(len(np.unique(_pairs(columns, block))) for block in range(BLOCKS))
    return tier1, tier2


def segment_bytes(header: NearHeader, columns: NDArray[np.uint32]) -> Iterator[bytes]:
    """The whole file of a segment in pieces."""
    parameters = header.parameters
    yield header.to_bytes()
    yield from _table(columns, tier=1, size_bits=header.tier1_bits, probes=parameters.tier1_bits)
    yield from _table(columns, tier=2, size_bits=header.tier2_bits, probes=parameters.tier2_bits)


def _table(columns: NDArray[np.uint32], *, tier: int, size_bits: int, probes: int) -> Iterator[bytes]:
    for first in range(0, size_bits, _PIECE_BITS):
        piece = np.zeros(min(_PIECE_BITS, size_bits - first), np.uint8)
        for hashed in _hashes(columns, tier):
            for probe in range(probes):
                at = probe_positions(hashed, probe, size_bits=size_bits, tier=tier).view(np.int64)
                if len(piece) < size_bits:
                    at = at[(at >= first) & (at < first + len(piece))]
                piece[at - first] = 1
        yield np.packbits(piece, bitorder="little").tobytes()


def _hashes(columns: NDArray[np.uint32], tier: int) -> Iterator[Words64]:
    for block in range(BLOCKS):
        for first in range(0, columns.shape[1], _KEYS_AT_ONCE):
            left = columns[block, first : first + _KEYS_AT_ONCE]
            if tier == 1:
                yield tier1_hash(block, left)
            else:
                right = columns[(block + 1) % BLOCKS, first : first + _KEYS_AT_ONCE]
                yield tier2_hash(block, left, right)


def _pairs(columns: NDArray[np.uint32], block: int) -> NDArray[np.uint64]:
    pairs: NDArray[np.uint64] = columns[block].astype(np.uint64) << np.uint64(32)
    pairs |= columns[(block + 1) % BLOCKS]
    return pairs
