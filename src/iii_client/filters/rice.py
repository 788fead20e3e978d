"""Golomb-Rice codes of ascending positions: how a delta says which bits to set.

Positions become gaps (each position minus the one before, minus 1). With parameter `r`, a gap is a quotient
`gap >> r` and a remainder of `r` bits. All quotients come first, in unary (so many zeros, then a one), padded
with zeros to whole bytes; then all remainders, padded likewise. Bits are numbered from the low end of each
byte. Kept apart, both streams decode without a loop over the positions.

This is Golomb's code (IEEE Transactions on Information Theory 12, 1966) with Rice's power of two. Randomly
spread positions cost about 0.03 bits each more than the entropy of which bits are set. Nothing can blow up:
the count is checked against the bytes that are there before anything is decoded, and no position can lie
outside its section.
"""

import numpy as np
from numpy.typing import NDArray

from iii_client.errors import FilterFormatError

#: A mean gap of 2^40 bits is beyond any filter.
MAX_PARAMETER = 40

Positions = NDArray[np.int64]


def best_parameter(positions: Positions) -> int:
    """The parameter that codes these positions in the fewest bits; the smallest of several."""
    gaps = _gaps(positions)
    sizes = [
        len(gaps) * (parameter + 1) + int((gaps >> parameter).sum()) for parameter in range(MAX_PARAMETER + 1)
    ]
    return sizes.index(min(sizes))


def encode_positions(positions: Positions, parameter: int) -> bytes:
    """Code ascending, distinct positions, shape `(n,)`, n at least 1."""
    gaps = _gaps(positions)
    ends = np.cumsum((gaps >> parameter) + 1) - 1
    quotients = np.zeros(int(ends[-1]) + 1, np.uint8)
    quotients[ends] = 1
    remainders = np.empty((len(gaps), parameter), np.uint8)
    for bit in range(parameter):
        remainders[:, bit] = gaps >> bit & 1
    return _pack(quotients) + _pack(remainders.ravel())


def decode_positions(
    data: bytes | memoryview, *, parameter: int, count: int, size_bits: int, offset: int = 0
) -> Positions:
    """Read what `encode_positions` wrote.

    Args:
        data: both streams and nothing else.
        parameter, count: as signed with them.
        size_bits: positions lie below it.
        offset: where `data` starts in its file, for the error.

    Returns:
        Ascending, distinct positions from 0 to `size_bits` - 1, shape `(count,)`.

    Raises:
        FilterFormatError: anything but exactly one such code.
    """
    remainder_bytes = -(-count * parameter // 8)
    quotient_bytes = len(data) - remainder_bytes
    # Every quotient ends in a one, so that the bytes bound the count before memory is spent on it; and a
    # sum of quotients beyond the section could only name bits outside of it.
    if quotient_bytes < -(-count // 8) or quotient_bytes * 8 > (size_bits >> parameter) + count + 8:
        raise FilterFormatError(f"{len(data)} bytes cannot hold {count} positions", offset=offset)
    ends = np.flatnonzero(_unpack(data[:quotient_bytes]))
    if len(ends) != count:
        raise FilterFormatError(f"{len(ends)} quotients, expected {count}", offset=offset)
    if quotient_bytes != int(ends[-1]) // 8 + 1:
        raise FilterFormatError("bytes after the last quotient", offset=offset + int(ends[-1]) // 8 + 1)
    bits = _unpack(data[quotient_bytes:])
    if bits[count * parameter :].any():
        raise FilterFormatError("bits after the last remainder are set", offset=offset + len(data) - 1)
    gaps = (np.diff(ends, prepend=-1) - 1) << parameter
    for bit in range(parameter):
        gaps |= bits[bit : count * parameter : parameter].astype(np.int64) << bit
    positions: Positions = np.cumsum(gaps + 1) - 1
    if int(positions[-1]) >= size_bits:
        raise FilterFormatError(f"a position is not below {size_bits}", offset=offset + quotient_bytes - 1)
    return positions


def _gaps(positions: Positions) -> Positions:
    gaps: Positions = np.diff(positions, prepend=-1) - 1
    return gaps


def _pack(bits: NDArray[np.uint8]) -> bytes:
    return np.packbits(bits, bitorder="little").tobytes()


def _unpack(data: bytes | memoryview) -> NDArray[np.uint8]:
    return np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
