"""The constants are what SHAKE-256 gives, and keys lie where they lay in version 1."""

import hashlib

import numpy as np

from iii_client.filters.bit_table import probe_positions
from iii_client.filters.ring_chain import block_values, hash_bits, tier1_hash, tier2_hash
from iii_client.filters.ring_constants import BASE, EDGE, H3, MUL, PERM

GOLDEN_BLOCKS = [94699011, 1601492736, 3323165529, 83034259, 996952695, 2148394385, 2282508148, 2560870458]
GOLDEN_TIER1 = [16733180718043174120, 121159903926374200]
GOLDEN_TIER2 = [15186737697811978727, 257696409178301288]
GOLDEN_POSITIONS = [486999654, 63013698, 167532345, 190912102, 63013706, 167532365, 1004383, 897791, 12501]


def stream(name: str, size: int) -> bytes:
    return hashlib.shake_256(b"iii-ring-chain/v1/" + name.encode()).digest(size)


def words(name: str, count: int) -> list[int]:
    raw = stream(name, 8 * count)
    return [int.from_bytes(raw[i : i + 8], "little") for i in range(0, len(raw), 8)]


def test_permutation_is_drawn_from_shake() -> None:
    draws = iter(range(0, 4096, 2))
    raw = stream("PERM", 4096)
    permutation = list(range(256))
    for last in range(255, 0, -1):
        draw = 1 << 16
        while draw >= (1 << 16) - (1 << 16) % (last + 1):
            at = next(draws)
            draw = int.from_bytes(raw[at : at + 2], "little")
        other = draw % (last + 1)
        permutation[last], permutation[other] = permutation[other], permutation[last]
    assert PERM.tolist() == permutation
    assert sorted(permutation) == list(range(256))


def test_words_are_drawn_from_shake() -> None:
    assert H3.ravel().tolist() == words("H3", 256)
    assert BASE.tolist() == words("BASE", 8)
    assert EDGE.tolist() == words("EDGE", 8)
    assert MUL.tolist() == [word | 1 for word in words("MUL", 24)]


def test_constants_cannot_be_written_to() -> None:
    assert not any(constant.flags.writeable for constant in (PERM, H3, BASE, EDGE, MUL))


def test_golden_vector_of_keys_and_positions() -> None:
    value = bytes(range(7, 7 + 32 * 5, 5))
    blocks = block_values(hash_bits(np.frombuffer(value, np.uint8)[None]))
    tier1 = tier1_hash(np.arange(8), blocks[0])
    tier2 = tier2_hash(np.arange(8), blocks[0], np.roll(blocks[0], -1))
    assert blocks[0].tolist() == GOLDEN_BLOCKS
    assert tier1.tolist()[:2] == GOLDEN_TIER1
    assert tier2.tolist()[:2] == GOLDEN_TIER2
    sizes = ((1, 1 << 29), (1, (1 << 29) + 64), (2, 1 << 20))
    at = [
        probe_positions(tier1 if tier == 1 else tier2, probe, size_bits=size, tier=tier).tolist()[0]
        for tier, size in sizes
        for probe in (0, 1, 8)
    ]
    assert at == GOLDEN_POSITIONS


def test_positions_follow_the_published_formulas_in_plain_integers() -> None:
    hashed, size = 0xFEDCBA9876543210, 123_456_832
    rehashed = hashed * int(MUL[3]) % 2**64
    expected = ((rehashed >> 32) * size + (((rehashed & 0xFFFFFFFF) * size) >> 32)) >> 32
    key = np.array([hashed], np.uint64)
    assert probe_positions(key, 3, size_bits=size, tier=1).tolist() == [expected]
    assert probe_positions(key, 0, size_bits=size, tier=1).tolist() == [(hashed >> 32) * size >> 32]
