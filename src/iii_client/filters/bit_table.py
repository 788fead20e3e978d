"""One read-only Bloom table of a near segment: which of many keys may be in it.

A look-up never writes and never copies the table, so that a memory map can stand behind it and any
number of threads and processes may share one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iii_client.filters.ring_chain import LINEAR_PROBE_TABLE_BITS, Words64, linear_positions, positions

#: With no more bit tests than this left, testing them all at once is cheaper than stopping early,
#: because each numpy call costs about a microsecond, as much as some 500 tests.
_TESTS_AT_ONCE = 2048

_LOW_3 = np.uint8(7)
_ONE = np.uint8(1)
_BYTE_SHIFT = np.uint64(3)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BitTable:
    """A Bloom table over 64-bit key hashes.

    Attributes:
        bits: the table, bit n in byte n // 8 at bit n % 8.
        size_bits: its size.
        probes: bits tested a key.
        linear: whether probe 0 takes the high word of the hash (tier 1 up to 2^29 bits).
    """

    bits: NDArray[np.uint8]
    size_bits: int
    probes: int
    linear: bool

    @classmethod
    def over(cls, bits: NDArray[np.uint8], *, size_bits: int, probes: int, tier: int) -> "BitTable":
        """The table of tier 1 or 2 over its bits."""
        return cls(bits=bits, size_bits=size_bits, probes=probes, linear=is_linear(tier, size_bits))

    def survivors(self, hashed: Words64) -> NDArray[np.intp]:
        """Indices, ascending, of the keys (n,) whose bits are all set."""
        alive = np.flatnonzero(self._test(self._first_positions(hashed)))
        for probe in range(1, self.probes):
            if len(alive) == 0:
                break
            if len(alive) * (self.probes - probe) <= _TESTS_AT_ONCE:
                rest = positions(hashed[alive][:, None], slice(probe, self.probes), self.size_bits)
                return alive[self._test(rest).all(axis=1)]
            alive = alive[np.flatnonzero(self._test(positions(hashed[alive], probe, self.size_bits)))]
        return alive

    def _first_positions(self, hashed: Words64) -> Words64:
        if self.linear:
            return linear_positions(hashed, self.size_bits)
        return positions(hashed, 0, self.size_bits)

    def _test(self, at: Words64) -> NDArray[np.bool_]:
        """Whether the bits at these positions are set. Uses `at` up."""
        place = at.astype(np.uint8)
        place &= _LOW_3
        at >>= _BYTE_SHIFT
        # A position is below 2^32, so that it reads the same signed: no copy to index with it. And it is
        # below the size of the table: not to be checked again saves a fifth of all (measured).
        bit = self.bits.take(at.view(np.int64), mode="clip")
        bit >>= place
        bit &= _ONE
        return bit.view(np.bool_)


def is_linear(tier: int, size_bits: int) -> bool:
    """Whether the first probe takes the hash's high word: only the XOR-linear hash of tier 1 allows it."""
    return tier == 1 and size_bits <= LINEAR_PROBE_TABLE_BITS


def probe_positions(hashed: Words64, probe: int, *, size_bits: int, tier: int) -> Words64:
    """Where one probe of keys (n,) lies: what the publisher sets and a look-up tests."""
    if probe == 0 and is_linear(tier, size_bits):
        return linear_positions(hashed, size_bits)
    return positions(hashed, probe, size_bits)
