"""The near-match query: never misses an inserted hash, and answers like a slow, obvious reference."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from operator import itemgetter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from iii_client.filters.near_results import NearCandidate, Overflow
from iii_client.filters.near_segment import NearHeader, NearSegment
from iii_client.filters.probing import NearFilter
from iii_client.filters.ring_chain import (
    DEFAULT_PARAMETERS,
    NearParameters,
    deeper_probes,
    hash_bits,
    table_bits,
)
from iii_client.filters.ring_constants import BASE, EDGE, H3, MUL, PERM
from iii_client.filters.template import cheapest_subsets
from iii_client.filters.views import NearQueries, Orientation
from iii_client.model import Algorithm
from iii_client.publisher.near_duplicates import block_columns
from iii_client.publisher.near_tables import distinct_keys, segment_bytes

BITS_64 = (1 << 64) - 1


def build(
    hashes: Sequence[bytes], parameters: NearParameters = DEFAULT_PARAMETERS, number: int = 1
) -> NearSegment:
    columns = block_columns(np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 32))
    tier1_keys, tier2_keys = distinct_keys(columns)
    header = NearHeader(
        number=number,
        algorithm=Algorithm.PDQ,
        count=len(hashes),
        tier1_keys=tier1_keys,
        tier2_keys=tier2_keys,
        parameters=parameters,
        practice=True,
    )
    return NearSegment.over(b"".join(segment_bytes(header, columns)))


def queries(values: Sequence[bytes], margins: NDArray[np.float64]) -> NearQueries:
    bits = hash_bits(np.frombuffer(b"".join(values), np.uint8).reshape(-1, 32))
    return NearQueries.upright(bits, margins)


@dataclass
class SlowFilter:
    """The specification in plain integers, lists and sets."""

    hashes: Sequence[bytes]
    parameters: NearParameters
    tables: dict[int, set[int]] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        keys1 = {(i, v) for h in self.hashes for i, v in enumerate(self.blocks(h))}
        keys2 = {(i, b[i], b[(i + 1) % 8]) for b in map(self.blocks, self.hashes) for i in range(8)}
        self.sizes = {
            1: table_bits(len(keys1), self.parameters.tier1_bits),
            2: table_bits(len(keys2), self.parameters.tier2_bits),
        }
        self.tables = {
            1: {at for i, v in keys1 for at in self.positions(1, self.hash1(i, v))},
            2: {at for i, a, b in keys2 for at in self.positions(2, self.hash2(i, a, b))},
        }

    @staticmethod
    def blocks(value: bytes) -> list[int]:
        number = int.from_bytes(value)
        return [sum((number >> int(PERM[32 * i + b]) & 1) << b for b in range(32)) for i in range(8)]

    @staticmethod
    def join(blocks: Sequence[int]) -> bytes:
        number = sum((blocks[i] >> b & 1) << int(PERM[32 * i + b]) for i in range(8) for b in range(32))
        return number.to_bytes(32)

    @staticmethod
    def hash1(block: int, value: int) -> int:
        hashed = int(BASE[block])
        for bit in range(32):
            if value >> bit & 1:
                hashed ^= int(H3[block, bit])
        return hashed

    @staticmethod
    def hash2(edge: int, left: int, right: int) -> int:
        x = (left << 32 | right) ^ int(EDGE[edge])
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & BITS_64
        x = (x ^ x >> 27) * 0x94D049BB133111EB & BITS_64
        return x ^ x >> 31

    def positions(self, tier: int, hashed: int) -> list[int]:
        size = self.sizes[tier]
        bits = self.parameters.tier1_bits if tier == 1 else self.parameters.tier2_bits
        at = []
        for j in range(bits):
            g = hashed * int(MUL[j]) & BITS_64
            at.append(((g >> 32) * size + ((g & 0xFFFFFFFF) * size >> 32)) >> 32)
        if tier == 1:
            at[0] = (hashed >> 32) * size >> 32
        return at

    def in1(self, block: int, value: int) -> bool:
        return self.tables[1].issuperset(self.positions(1, self.hash1(block, value)))

    def in2(self, edge: int, left: int, right: int) -> bool:
        return self.tables[2].issuperset(self.positions(2, self.hash2(edge % 8, left, right)))

    def tried(self, value: int, margins: Sequence[float], rows: int) -> list[int]:
        order = sorted(range(32), key=lambda bit: margins[bit])
        masks = cheapest_subsets(rows).masks.tolist()
        return [value ^ sum(1 << order[r] for r in range(32) if mask >> r & 1) for mask in masks]

    def query(
        self, value: bytes, margins: Sequence[float]
    ) -> tuple[list[tuple[int, int, bytes | None]], set[str]]:
        """Candidates as (chain length, flips, reconstructed hash) and the caps that were hit."""
        q = self.blocks(value)
        by_block = [[margins[PERM[32 * i + b]] for b in range(32)] for i in range(8)]

        def survivors(block: int, rows: int) -> list[int]:
            return [v for v in self.tried(q[block], by_block[block], rows) if self.in1(block, v)]

        shallow = [survivors(i, self.parameters.probes) for i in range(8)]
        if any(len(found) > 128 for found in shallow):
            return [], {"survivors"}
        if any(len(shallow[i]) * len(shallow[(i + 1) % 8]) > 4096 for i in range(8)):
            return [], {"pairs"}
        overflows = set()

        def flips(start: int, chain: Sequence[int]) -> int:
            return sum((q[(start + i) % 8] ^ v).bit_count() for i, v in enumerate(chain))

        edges = sorted(
            (flips(i, (a, b)), i, a, b)
            for i in range(8)
            for a in shallow[i]
            for b in shallow[(i + 1) % 8]
            if self.in2(i, a, b)
        )
        if len(edges) > 64:
            overflows.add("edges")
        depths = (self.parameters.extension_probes, deeper_probes(self.parameters, count=len(self.hashes)))
        deep: dict[tuple[int, int], list[int]] = {}
        chains: list[tuple[int, tuple[int, ...], bool]] = []
        for _, block, a, b in edges[:64]:
            if any(self.holds(known, block, a, b) for known in chains):
                continue
            start = block
            kept: list[tuple[int, ...]] = [(a, b)]
            for forward in (True, False, True):
                while len(kept[0]) < 8:
                    end = start + len(kept[0]) - 1
                    added = (end + 1 if forward else start - 1) % 8
                    depth = depths[len(kept[0]) >= 4]
                    if (added, depth) not in deep:
                        found = survivors(added, depth)
                        if len(found) > 256:
                            overflows.add("extension")
                        deep[added, depth] = found[:256]
                    longer: list[tuple[int, int, tuple[int, ...]]] = []
                    first = start if forward else added
                    for chain in kept:
                        for v in deep[added, depth]:
                            grown = (*chain, v) if forward else (v, *chain)
                            joined = self.in2(end, chain[-1], v) if forward else self.in2(added, v, chain[0])
                            if joined:
                                longer.append((flips(first, grown), v, grown))
                    if not longer:
                        break
                    start = first
                    longer.sort(key=itemgetter(0, 1))
                    kept = [grown for _, _, grown in longer[:8]]
            closed = [c for c in kept if len(c) == 8 and self.in2(start - 1, c[-1], c[0])]
            chains.append((start, (closed or kept)[0], bool(closed)))
        return self.judged(chains, flips), overflows

    @staticmethod
    def holds(chain: tuple[int, tuple[int, ...], bool], block: int, left: int, right: int) -> bool:
        start, values, closed = chain
        links = list(pairwise(values)) + ([(values[-1], values[0])] if closed else [])
        at = (block - start) % 8
        return at < len(links) and links[at] == (left, right)

    def judged(
        self,
        chains: Sequence[tuple[int, tuple[int, ...], bool]],
        flips: Callable[[int, Sequence[int]], int],
    ) -> list[tuple[int, int, bytes | None]]:
        closed: dict[bytes, tuple[int, int, bytes | None]] = {}
        for start, values, is_closed in chains:
            if is_closed:
                turned = [values[(i - start) % 8] for i in range(8)]
                closed[self.join(turned)] = (8, flips(start, values), self.join(turned))
        found = list(closed.values())
        if not found:
            ranked = sorted(chains, key=lambda c: (-len(c[1]), flips(c[0], c[1]), c[0], c[1]))
            found = [(len(values), flips(start, values), None) for start, values, _ in ranked[:1]]
        least, most = self.parameters.minimum_chain, self.parameters.flips_per_block
        return sorted(
            ((n, f, h) for n, f, h in found if n >= least and f <= min(most * n, 40 if h else most * n)),
            key=lambda c: (c[2] is None, -c[0], c[1], c[2] or b""),
        )


HASH = st.binary(min_size=32, max_size=32)
SEED = st.integers(0, 2**32 - 1)

#: Few bits a key, so that chance survivors, edges and branches are common and every path is taken.
SMALL = st.builds(
    NearParameters,
    tier1_bits=st.integers(2, 6),
    tier2_bits=st.integers(2, 7),
    probes=st.integers(1, 200),
    extension_probes=st.integers(200, 400),
    flips_per_block=st.integers(1, 16),
)


def as_tuples(candidates: Sequence[NearCandidate]) -> list[tuple[int, int, bytes | None]]:
    found = [(c.chain_length, c.flips, c.reconstructed) for c in candidates]
    return sorted(found, key=lambda c: (c[2] is None, -c[0], c[1], c[2] or b""))


@settings(max_examples=40, deadline=None)
@given(hashes=st.lists(HASH, min_size=1, max_size=40, unique=True), parameters=SMALL, seed=SEED)
def test_fast_query_answers_like_the_slow_reference(
    hashes: list[bytes], parameters: NearParameters, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    fast, slow = NearFilter([build(hashes, parameters)]), SlowFilter(hashes, parameters)
    margins = rng.random((2, 256)).round(rng.integers(0, 3))  # with ties: the first bit ranks first
    near = hash_bits(np.frombuffer(hashes[0], np.uint8)[None])[0]
    near[np.argsort(margins[0])[: rng.integers(0, 40)]] ^= 1
    asked = [np.packbits(near, bitorder="little")[::-1].tobytes(), rng.bytes(32)]
    results = fast.probe(queries(asked, margins))
    for value, row, result in zip(asked, margins.tolist(), results, strict=True):
        candidates, overflows = slow.query(value, row)
        assert as_tuples(result.candidates) == candidates
        assert {str(overflow) for overflow in result.overflows} == overflows


@settings(max_examples=100, deadline=None)
@given(hashes=st.lists(HASH, min_size=1, max_size=20, unique=True), seed=SEED)
def test_inserted_hash_is_always_found_at_distance_0(hashes: list[bytes], seed: int) -> None:
    rng = np.random.default_rng(seed)
    margins = rng.random((len(hashes), 256)) * rng.integers(0, 2, (len(hashes), 1))  # ties, too
    for value, result in zip(
        hashes,
        NearFilter([build(hashes)]).probe(queries(hashes, margins)),
        strict=True,
    ):
        assert value in {candidate.reconstructed for candidate in result.candidates}
        assert result.candidates[0].distance_bits == 0


@settings(max_examples=100, deadline=None)
@given(hashes=st.lists(HASH, min_size=1, max_size=20, unique=True), seed=SEED)
def test_every_edit_within_the_template_is_reconstructed(hashes: list[bytes], seed: int) -> None:
    rng = np.random.default_rng(seed)
    margins = rng.random(256)
    template = cheapest_subsets(DEFAULT_PARAMETERS.probes)
    bits = hash_bits(np.frombuffer(hashes[0], np.uint8)[None])[0]
    for block in range(8):
        positions = PERM[32 * block : 32 * block + 32]
        ranked = positions[np.argsort(margins[positions], kind="stable")]
        bits[ranked[template.members[rng.integers(0, 600)]]] ^= 1
    asked = NearQueries.upright(bits[None], margins[None])
    (result,) = NearFilter([build(hashes)]).probe(asked)
    distance = int((bits != hash_bits(np.frombuffer(hashes[0], np.uint8)[None])[0]).sum())
    if distance <= 40:
        assert hashes[0] in {candidate.reconstructed for candidate in result.candidates}


@pytest.mark.parametrize("batch", [1, 3, 8, 9, 50])
def test_batches_answer_like_single_queries(batch: int) -> None:
    rng = np.random.default_rng(11)
    hashes = [rng.bytes(32) for _ in range(50)]
    margins = rng.random((50, 256))
    near_filter = NearFilter([build(hashes)])
    asked = queries(hashes, margins)
    singly = [
        near_filter.probe(NearQueries.upright(asked.bits[i : i + 1], asked.margins[i : i + 1]))[0]
        for i in range(50)
    ]
    together = [
        result
        for first in range(0, 50, batch)
        for result in near_filter.probe(
            NearQueries.upright(asked.bits[first : first + batch], asked.margins[first : first + batch])
        )
    ]
    assert together == singly


def test_several_segments_answer_as_each_does_alone() -> None:
    rng = np.random.default_rng(12)
    hashes = [rng.bytes(32) for _ in range(30)]
    segments = [build(hashes[10 * i : 10 * i + 10], number=i + 1) for i in range(3)]
    asked = queries(hashes, rng.random((30, 256)))
    for i, result in enumerate(NearFilter(segments).probe(asked)):
        (candidate,) = result.candidates
        assert (candidate.segment, candidate.reconstructed) == (i // 10 + 1, hashes[i])


def test_no_queries_give_no_results() -> None:
    near_filter = NearFilter([build([bytes(range(32))])])
    assert near_filter.probe(NearQueries.upright(np.zeros((0, 256), np.uint8), np.zeros((0, 256)))) == ()


def test_extra_orientations_need_a_longer_chain() -> None:
    rng = np.random.default_rng(13)
    value = rng.bytes(32)
    bits = hash_bits(np.frombuffer(value, np.uint8)[None])
    margins = rng.random((1, 256))
    for block in range(4):  # four blocks beyond repair: flips of their most reliable bits
        positions = PERM[32 * block : 32 * block + 32]
        bits[0, positions[np.argsort(margins[0, positions])[-6:]]] ^= 1
    near_filter = NearFilter([build([value, *(rng.bytes(32) for _ in range(20))])])
    upright, mirror = near_filter.probe(
        NearQueries(
            bits=np.repeat(bits, 2, axis=0),
            margins=np.repeat(margins, 2, axis=0),
            orientations=(Orientation.UPRIGHT, Orientation.MIRROR),
        )
    )
    (candidate,) = upright.candidates
    assert (candidate.chain_length, candidate.closed, candidate.distance_bits) == (4, False, None)
    assert mirror.candidates == ()


@pytest.mark.parametrize("first", range(8))
@pytest.mark.parametrize("deep_end", [0, 3])
def test_chain_grows_at_both_ends_over_blocks_that_only_extension_reaches(first: int, deep_end: int) -> None:
    rng = np.random.default_rng(15)
    value = rng.bytes(32)
    bits = hash_bits(np.frombuffer(value, np.uint8)[None])
    margins = rng.random((1, 256))
    shallow = set(cheapest_subsets(DEFAULT_PARAMETERS.probes).masks.tolist())
    deep = cheapest_subsets(DEFAULT_PARAMETERS.extension_probes)
    beyond = min(mask for mask in deep.masks.tolist() if mask not in shallow)
    for step in range(8):
        block = (first + step) % 8
        ranked = PERM[32 * block : 32 * block + 32]
        ranked = ranked[np.argsort(margins[0, ranked])]
        if step == deep_end:
            bits[0, [ranked[rank] for rank in range(32) if beyond >> rank & 1]] ^= 1
        elif step >= 4:
            bits[0, ranked[-6:]] ^= 1
    (result,) = NearFilter([build([value])]).probe(NearQueries.upright(bits, margins))
    (candidate,) = result.candidates
    assert (candidate.chain_length, candidate.flips) == (4, beyond.bit_count())


@pytest.mark.parametrize("deep_block", range(8))
def test_the_ring_of_a_candidate_is_closed_over_a_block_that_only_a_deeper_look_reaches(
    deep_block: int,
) -> None:
    rng = np.random.default_rng(16)
    value = rng.bytes(32)
    bits = hash_bits(np.frombuffer(value, np.uint8)[None])
    margins = rng.random((1, 256))
    reached = set(cheapest_subsets(DEFAULT_PARAMETERS.extension_probes).masks.tolist())
    deeper = cheapest_subsets(deeper_probes(DEFAULT_PARAMETERS, count=21))
    beyond = min(mask for mask in deeper.masks.tolist() if mask not in reached)
    ranked = PERM[32 * deep_block : 32 * deep_block + 32]
    ranked = ranked[np.argsort(margins[0, ranked])]
    bits[0, [ranked[rank] for rank in range(32) if beyond >> rank & 1]] ^= 1
    segment = build([value, *(rng.bytes(32) for _ in range(20))])
    (result,) = NearFilter([segment]).probe(NearQueries.upright(bits, margins))
    (candidate,) = result.candidates
    assert (candidate.reconstructed, candidate.distance_bits) == (value, beyond.bit_count())


def test_reconstructed_hash_beyond_the_bound_is_no_candidate() -> None:
    rng = np.random.default_rng(14)
    value = rng.bytes(32)
    bits = hash_bits(np.frombuffer(value, np.uint8)[None])
    margins = rng.random((1, 256))
    bits[0, np.argsort(margins[0])[:12]] ^= 1
    segment = build([value])
    asked = NearQueries.upright(bits, margins)
    assert NearFilter([segment], maximum_distance_bits=12).probe(asked)[0].candidates[0].distance_bits == 12
    assert NearFilter([segment], maximum_distance_bits=11).probe(asked)[0].candidates == ()


def test_overflow_names_stand_for_caps() -> None:
    assert {str(overflow) for overflow in Overflow} == {"survivors", "pairs", "edges", "extension"}
