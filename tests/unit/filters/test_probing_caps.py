"""Every cap of a query is named when it is hit, and bounds the work."""

import numpy as np
from numpy.typing import NDArray

from iii_client.filters.near_results import Overflow
from iii_client.filters.near_segment import NearHeader, NearSegment
from iii_client.filters.probing import NearFilter
from iii_client.filters.ring_chain import NearParameters, hash_bytes
from iii_client.filters.ring_constants import PERM
from iii_client.filters.views import NearQueries
from iii_client.model import Algorithm
from iii_client.publisher.near_duplicates import block_columns
from iii_client.publisher.near_tables import distinct_keys, segment_bytes

RNG = np.random.default_rng(21)


def segment_of(bits: NDArray[np.uint8], **parameters: int) -> NearSegment:
    columns = block_columns(hash_bytes(bits))
    tier1_keys, tier2_keys = distinct_keys(columns)
    header = NearHeader(
        number=1,
        algorithm=Algorithm.PDQ,
        count=len(bits),
        tier1_keys=tier1_keys,
        tier2_keys=tier2_keys,
        parameters=NearParameters(**parameters),
        practice=True,
    )
    return NearSegment.over(b"".join(segment_bytes(header, columns)))


def random_bits(count: int) -> NDArray[np.uint8]:
    return RNG.integers(0, 2, (count, 256), np.uint8)


def one_query(bits: NDArray[np.uint8]) -> NearQueries:
    return NearQueries.upright(bits[None], RNG.random((1, 256)))


def test_too_many_survivors_overflow() -> None:
    (result,) = NearFilter([segment_of(random_bits(50), tier1_bits=2)]).probe(one_query(random_bits(1)[0]))
    assert result.overflows == (Overflow.SURVIVORS,)
    assert result.candidates == ()


def test_too_many_pairs_overflow() -> None:
    segment = segment_of(random_bits(50), tier1_bits=3, probes=700)  # about 88 survivors a block
    (result,) = NearFilter([segment]).probe(one_query(random_bits(1)[0]))
    assert result.overflows == (Overflow.PAIRS,)
    assert result.candidates == ()


def test_too_many_extension_survivors_overflow_but_a_hit_is_still_found() -> None:
    listed = random_bits(50)
    segment = segment_of(listed, tier1_bits=5, probes=256, extension_probes=65_536)
    (result,) = NearFilter([segment]).probe(one_query(listed[3]))
    assert result.overflows == (Overflow.EXTENSION,)
    assert result.candidates[0].reconstructed == hash_bytes(listed[3:4])[0].tobytes()


def test_many_listed_relatives_overflow_edges_but_the_nearest_are_still_found() -> None:
    """A list may hold dozens of edits of one picture; 64 edges are followed, fewest flips first."""
    picture = random_bits(1)[0]
    margins = RNG.random((1, 256))
    relatives = np.repeat(picture[None], 24, axis=0)
    for i, relative in enumerate(relatives):
        for block in range(8):
            positions = PERM[32 * block : 32 * block + 32]
            ranked = positions[np.argsort(margins[0, positions])]
            relative[ranked[[i // 4, 6 + i % 4]]] ^= 1
            if i >= 12:  # the farther half: an edge has 6 flips instead of 4
                relative[ranked[10]] ^= 1
    segment = segment_of(np.concatenate([relatives, random_bits(50)]))
    (result,) = NearFilter([segment]).probe(NearQueries.upright(picture[None], margins))
    assert result.overflows == (Overflow.EDGES,)
    assert {candidate.distance_bits for candidate in result.candidates} == {16}
    nearest = {value.tobytes() for value in hash_bytes(relatives[:12])}
    assert {candidate.reconstructed for candidate in result.candidates} == nearest


def test_one_hostile_query_does_not_spoil_the_others_of_its_batch() -> None:
    listed = random_bits(50)
    segment = segment_of(listed, tier1_bits=4, probes=1000)  # about 62 survivors a block: near the caps
    asked = NearQueries.upright(listed, RNG.random((50, 256)))
    near_filter = NearFilter([segment])
    together = near_filter.probe(asked)
    assert any(result.overflows for result in together)
    assert any(not result.overflows for result in together) or len({r.overflows for r in together}) > 1
    for i, result in enumerate(together):
        alone = NearQueries.upright(asked.bits[i : i + 1], asked.margins[i : i + 1])
        assert near_filter.probe(alone) == (result,)
