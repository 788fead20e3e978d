"""The ring-chain filter: what is stored of a hash, where, and which layouts may exist at all.

A 256-bit PDQ hash is cut into a ring of 8 blocks of 32 bits under a fixed random permutation. Tier 1 of
a segment stores each block value, tier 2 each pair of neighbours. A query tries, in every block, the
values it may have had before an edit (`template.py`), and believes only a chain of neighbours that the
second tier confirms (`probing.py`, `chaining.py`). Pure functions of values: no files, no clock.

The order of bits: bit n of a hash is `(int.from_bytes(value) >> n) & 1` and belongs to coefficient
(u, v) = (n // 16, n % 16), as PDQ publishes it.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from iii_client.filters.ring_constants import BASE, EDGE, H3, MUL, PERM

HASH_BITS: Final = 256
HASH_BYTES: Final = 32
BLOCKS: Final = 8
BLOCK_BITS: Final = 32

#: Below this PDQ quality a hash says too little of its picture: exact membership only.
MINIMUM_QUALITY: Final = 50
#: Fewer hashes a segment would let differences between releases name them.
MINIMUM_COUNT: Final = 10_000
#: Each segment costs a query about as much as the first: more than this would slow every upload.
MAXIMUM_SEGMENTS: Final = 16

#: Reader caps. A filter over one of them was not built for speed but against it.
MAXIMUM_PROBES: Final = 4096
MAXIMUM_EXTENSION_PROBES: Final = 65_536
#: Survivors of one block at extension depth. Normal are 32 and the list's own, some 70 at 10 million.
MAXIMUM_SURVIVORS_EXTENDED: Final = 256
#: How much deeper a candidate is looked at, and how many survivors that may have on average: four standard
#: deviations under the cap.
DEEPER_FACTORS: Final = (4, 2)
DEEPER_SURVIVORS: Final = 192
MAXIMUM_TABLE_BITS: Final = 1 << 32
#: A hash may spend this many filter bits in all, over every table that ever held it.
MAXIMUM_KEY_BITS: Final = len(MUL)
#: False closed rings must outnumber the true ones by this power of two, or the list can be computed.
SECRECY_MARGIN_BITS: Final = 40

#: Up to this size the high word of the XOR-linear hash is a position by itself (cheapest first probe).
LINEAR_PROBE_TABLE_BITS: Final = 1 << 29

_LOW_WORD = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
#: 1 / ln 2 in parts of 10^9, rounded up: bits a key and probe at which half of the table is set.
_BITS_PER_PROBE_1E9 = 1_442_695_041
_TABLE_ALIGNMENT_BITS = 64

Hashes = NDArray[np.uint8]
Words32 = NDArray[np.uint32]
Words64 = NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True)
class NearParameters:
    """How a segment is built and asked: signed with the release, checked by every reader.

    Attributes:
        tier1_bits, tier2_bits: filter bits a key (k1, k2), at least 1 and together at most 24.
        probes: values tried in each block (P1), cheapest first; at most 4,096. Chosen on one half of the
            evaluation's photographs and reported on the other: 2,560 find a sixth of what 2,048 miss, for
            five percent of the time.
        extension_probes: values tried to extend a chain (P3); at least `probes`, at most 65,536.
        minimum_chain: consecutive blocks that make a candidate, 4 to 8.
        minimum_chain_oriented: the same for any orientation but upright; at least `minimum_chain`.
        flips_per_block: bits that a chained block may differ in on average, 1 to 32.

    Raises:
        ValueError: over a cap or out of range.
    """

    tier1_bits: int = 9
    tier2_bits: int = 13
    probes: int = 2560
    extension_probes: int = 16_384
    minimum_chain: int = 4
    minimum_chain_oriented: int = 5
    flips_per_block: int = 5

    def __post_init__(self) -> None:
        ranges = (
            ("tier1_bits", self.tier1_bits, 1, MAXIMUM_KEY_BITS),
            ("tier2_bits", self.tier2_bits, 1, MAXIMUM_KEY_BITS - self.tier1_bits),
            ("probes", self.probes, 1, MAXIMUM_PROBES),
            ("extension_probes", self.extension_probes, self.probes, MAXIMUM_EXTENSION_PROBES),
            ("minimum_chain", self.minimum_chain, 4, BLOCKS),
            ("minimum_chain_oriented", self.minimum_chain_oriented, self.minimum_chain, BLOCKS),
            ("flips_per_block", self.flips_per_block, 1, BLOCK_BITS),
        )
        for name, value, least, most in ranges:
            if not least <= value <= most:
                raise ValueError(f"{name} is {value}, allowed are {least} to {most}")


#: For lists up to about 4 million hashes; 13 bits of tier 2 keep innocent pictures quiet.
DEFAULT_PARAMETERS: Final = NearParameters()
#: For longer lists: more survivors in tier 1 need two more bits in tier 2.
LARGE_PARAMETERS: Final = NearParameters(tier2_bits=15)


def deeper_probes(parameters: NearParameters, *, count: int) -> int:
    """Values tried to close the ring of a chain that is a candidate already, in a segment of `count` hashes.

    Four or two times as many as before, where the survivors stay well under their cap: some 150 at 1.4
    million hashes and four times, 140 at 10 million and twice.
    """
    for factor in DEEPER_FACTORS:
        probes = factor * parameters.extension_probes
        expected = probes * (2.0**-parameters.tier1_bits + count * 2.0**-BLOCK_BITS)
        if probes <= MAXIMUM_EXTENSION_PROBES and expected <= DEEPER_SURVIVORS:
            return probes
    return parameters.extension_probes


def probing(parameters: NearParameters) -> tuple[int, ...]:
    """What must be equal in segments that share one hashing of a query; table densities may differ."""
    return (
        parameters.probes,
        parameters.extension_probes,
        parameters.minimum_chain,
        parameters.minimum_chain_oriented,
        parameters.flips_per_block,
    )


def secrecy_margin_bits(*, count: int, tier1_bits: int, key_bits: int) -> float:
    """How far, in bits, the false closed rings outnumber what an attacker can sort out.

    Args:
        count: hashes in the segment.
        tier1_bits: filter bits of a tier-1 key in it.
        key_bits: filter bits spent on one hash, summed over all tables that ever held it.

    Returns:
        8·(32 − ΣK) + 8·log2(1 + N·2^(k1−32)) − 6 − log2 N: at least `SECRECY_MARGIN_BITS` or the filter
        must not exist.
    """
    true_share = count * 2.0 ** (tier1_bits - BLOCK_BITS)
    false_rings = BLOCKS * (BLOCK_BITS - key_bits) + BLOCKS * math.log2(1 + true_share) - 6
    return false_rings - math.log2(count)


def check_secrecy(parameters: NearParameters, *, count: int, other_key_bits: int = 0) -> None:
    """Refuse a layout from which the list could be computed.

    Args:
        other_key_bits: filter bits that tables published before spent on the same hashes.

    Raises:
        ValueError: the layout must not be published nor read.
    """
    key_bits = parameters.tier1_bits + parameters.tier2_bits + other_key_bits
    if key_bits > MAXIMUM_KEY_BITS:
        raise ValueError(f"{key_bits} filter bits a hash would disclose the list, {MAXIMUM_KEY_BITS} may not")
    margin = secrecy_margin_bits(count=count, tier1_bits=parameters.tier1_bits, key_bits=key_bits)
    if margin < SECRECY_MARGIN_BITS:
        raise ValueError(f"{count} hashes at {key_bits} bits leave {margin:.1f} bits of secrecy, not 40")


def table_bits(keys: int, bits_per_key: int) -> int:
    """Size of a Bloom table that this many keys fill to one half, in bits, a multiple of 64.

    Nobody chooses a size: two sizes for the same hashes would be two differently built filters.
    """
    exact = keys * bits_per_key * _BITS_PER_PROBE_1E9
    return -(-exact // (10**9 * _TABLE_ALIGNMENT_BITS)) * _TABLE_ALIGNMENT_BITS


def hash_bits(hashes: Hashes) -> NDArray[np.uint8]:
    """The bits of hashes (n, 32 bytes) as (n, 256) zeros and ones, bit n of the hash at index n."""
    return np.unpackbits(hashes[:, ::-1], axis=1, bitorder="little")


def hash_bytes(bits: NDArray[np.uint8]) -> Hashes:
    """The inverse of `hash_bits`: (n, 256) zeros and ones to (n, 32) bytes."""
    return np.packbits(bits, axis=1, bitorder="little")[:, ::-1]


def block_values(bits: NDArray[np.uint8]) -> Words32:
    """The 8 block values of hashes given as (n, 256) bits: (n, 8)."""
    packed = np.packbits(np.take(bits, PERM, axis=1), axis=1, bitorder="little")
    return packed.view("<u4").astype(np.uint32, copy=False)


def join_blocks(values: Words32) -> Hashes:
    """The inverse of `block_values`, as hash bytes: (n, 8) block values to (n, 32)."""
    permuted = np.unpackbits(values.astype("<u4").view(np.uint8), axis=1, bitorder="little")
    bits = np.empty_like(permuted)
    bits[:, PERM] = permuted
    return hash_bytes(bits)


def tier1_hash(blocks: NDArray[np.intp] | int, values: Words32) -> Words64:
    """XOR-linear hash (H3) of block values: `hash(v ^ mask) == hash(v) ^ hash(mask) ^ hash(0)`.

    Args:
        blocks: the block of each value, or one block for all.
        values: (n,) values.
    """
    bytes_of_value = values.astype("<u4").view(np.uint8).reshape(-1, 4)
    hashed = np.full(values.shape, BASE[blocks])
    for byte in range(4):
        hashed ^= _H3_TABLES[byte, blocks, bytes_of_value[:, byte]]
    return hashed


def tier2_hash(edges: NDArray[np.intp] | int, left: Words32, right: Words32) -> Words64:
    """Hash of neighbouring block values: edge i joins block i (left) and block i + 1 mod 8 (right)."""
    x: Words64 = ((left.astype(np.uint64) << _HALF) | right) ^ EDGE[edges]
    # The finaliser of SplitMix64 (Steele, Lea, Flood 2014): the pair is not random, its hash must be.
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


def positions(hashed: Words64, probe: int | slice, size_bits: int) -> Words64:
    """Table positions of keys at one probe, or at several (`hashed` must then broadcast, e.g. (n, 1)).

    All 64 bits of the rehash count: a 32-bit multiply-shift doubles the false rate at 20 million.
    """
    size = np.uint64(size_bits)
    rehashed = hashed * MUL[probe]
    low = rehashed & _LOW_WORD
    low *= size
    low >>= _HALF
    rehashed >>= _HALF
    rehashed *= size
    rehashed += low
    rehashed >>= _HALF
    return rehashed


def linear_positions(hashed: Words64, size_bits: int) -> Words64:
    """Probe 0 of a tier-1 table up to 2^29 bits: the high word of the hash, scaled."""
    scaled = hashed >> _HALF
    scaled *= np.uint64(size_bits)
    scaled >>= _HALF
    return scaled


def _byte_tables() -> Words64:
    """H3 by bytes: (4 bytes, 8 blocks, 256 values), so that a hash is four look-ups."""
    tables = np.zeros((4, BLOCKS, 256), np.uint64)
    words = H3.reshape(BLOCKS, 4, 8).swapaxes(0, 1)
    for bit in range(8):
        tables[..., 1 << bit : 2 << bit] = tables[..., : 1 << bit] ^ words[..., bit : bit + 1]
    return tables


_H3_TABLES = _byte_tables()
