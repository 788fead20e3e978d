"""How full the tables of a near segment are: a gate that trusts no signature.

At .55 instead of .500 the false rate is a thousand times the design's, so a segment is installed (and
published) only if exact popcounts say one half, over all and in every 1/1024 slice: a table with one
region set to ones would name every picture whose keys fall there.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from iii_client.errors import GateError
from iii_client.filters.bit_table import BitTable
from iii_client.filters.near_segment import NearSegment

FILL: Final = 0.5
FILL_TOLERANCE: Final = 0.005
SLICES: Final = 1024
#: Six standard deviations: a good table fails one time in 10^9 slices.
_SIGMAS = 6.0
#: Below this a slice's deviation is no longer normal; small (practice) tables get fewer slices.
_MINIMUM_SLICE_BYTES = 512
_READ_BYTES = 1 << 22

_POPCOUNT = np.array([value.bit_count() for value in range(1 << 16)], np.uint8)


def check_fill(segment: NearSegment) -> None:
    """Refuse a segment that is not half full everywhere. Reads all of it.

    Raises:
        GateError: with the tier and its fill.
    """
    for tier, table in enumerate((segment.tier1, segment.tier2), start=1):
        slice_bytes, counts = _slice_popcounts(table)
        fill = int(counts.sum()) / table.size_bits
        if abs(fill - FILL) > FILL_TOLERANCE + _deviation(table.size_bits):
            raise GateError(f"tier {tier} of near segment {segment.header.number} is filled to {fill:.4f}")
        # The last slice may be shorter; it is judged with the whole only.
        slices = counts[:-1] / (slice_bytes * 8)
        worst = float(np.abs(slices - fill).max(initial=0.0))
        if worst > _deviation(slice_bytes * 8):
            raise GateError(f"a slice of tier {tier} is {worst:.4f} away from the fill of the others")


def _deviation(bits: int) -> float:
    """Six standard deviations of the fill of so many bits, as a ratio."""
    return _SIGMAS * 0.5 / math.sqrt(bits)


def _slice_popcounts(table: BitTable) -> tuple[int, NDArray[np.int64]]:
    """Bytes a slice, and the bits set in each; the last slice may be shorter."""
    slice_bytes = max(_MINIMUM_SLICE_BYTES, -(-len(table.bits) // SLICES))
    slice_bytes += slice_bytes % 2  # popcounts are taken from 16-bit words
    step = max(1, _READ_BYTES // slice_bytes) * slice_bytes
    counts: list[NDArray[np.int64]] = []
    for start in range(0, len(table.bits), step):
        words = _POPCOUNT[table.bits[start : start + step].view(np.uint16)]
        edges = np.arange(0, len(words), slice_bytes // 2)
        counts.append(np.add.reduceat(words, edges, dtype=np.int64))
    return slice_bytes, np.concatenate(counts)
