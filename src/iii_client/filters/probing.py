"""The near-match query: is there a listed hash within about 31 bits of this picture's?

Every value that a block may have had before an edit is tried in tier 1, most reliable guess first; what
survives is paired with its neighbours in tier 2 (97.7 % of innocent pictures have nothing left then),
and what is left must chain around the ring (`chaining.py`). All work is bounded by caps: over one, the
answer says so instead of taking longer. Pure CPU over read-only maps; safe to share between threads.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from iii_client.errors import FilterFormatError
from iii_client.filters.chaining import Chain, Survivors, best_chains, grow_chain
from iii_client.filters.near_results import NearCandidate, NearResult, Overflow
from iii_client.filters.near_segment import NearSegment
from iii_client.filters.probe_batch import Batch
from iii_client.filters.ring_chain import (
    BLOCKS,
    MAXIMUM_SEGMENTS,
    deeper_probes,
    join_blocks,
    probing,
    tier2_hash,
)
from iii_client.filters.template import cheapest_subsets
from iii_client.filters.views import NearQueries, Orientation
from iii_client.model import Algorithm

#: Caps on what a query may cost. Normal are 5 to 9 survivors a block, 25 to 80 pairs and no edge.
MAXIMUM_SURVIVORS: Final = 128
MAXIMUM_PAIRS: Final = 4096
MAXIMUM_EDGES: Final = 64

#: A closed ring may differ by 5 bits a block; pictures beyond 31 bits that still chain are mostly true
#: (borders, crops), and the service has the last word.
DEFAULT_MAXIMUM_DISTANCE_BITS: Final = 40

#: Queries worked on at once: their hashes (128 KB each) and the touched table lines stay in the cache.
_QUERIES_AT_ONCE = 8


class NearFilter:
    """The near segments of one convention, asked together: a query is hashed once for all of them.

    Args:
        segments: at most 16, of one convention and one set of probing parameters.
        maximum_distance_bits: a reconstructed hash farther from the query than this is no candidate.

    Raises:
        FilterFormatError: too many segments, two of one number, mixed conventions or parameters.
    """

    def __init__(
        self, segments: Sequence[NearSegment], *, maximum_distance_bits: int = DEFAULT_MAXIMUM_DISTANCE_BITS
    ) -> None:
        _check_together(segments)
        self._segments = tuple(segments)
        self._maximum_distance_bits = maximum_distance_bits
        self._parameters = segments[0].header.parameters
        self._template = cheapest_subsets(self._parameters.probes)
        for depth in {depth for segment in segments for depth in _depths(segment)}:
            cheapest_subsets(depth)  # a tenth of a second at most, here and not in the first upload

    @property
    def algorithm(self) -> Algorithm:
        """The convention that queries must be made under."""
        return self._segments[0].header.algorithm

    @property
    def segments(self) -> tuple[NearSegment, ...]:
        """What is asked."""
        return self._segments

    def probe(self, queries: NearQueries) -> tuple[NearResult, ...]:
        """Ask about many queries; results aligned with them."""
        results: list[NearResult] = []
        for first in range(0, len(queries), _QUERIES_AT_ONCE):
            rows = slice(first, first + _QUERIES_AT_ONCE)
            batch = Batch.of(queries.bits[rows], queries.margins[rows], self._template)
            found = [_Found() for _ in queries.orientations[rows]]
            for segment in self._segments:
                _probe_segment(segment, batch, found)
            for orientation, one in zip(queries.orientations[rows], found, strict=True):
                results.append(self._result(one, orientation))
        return tuple(results)

    def _result(self, found: "_Found", orientation: Orientation) -> NearResult:
        if not found.chains and not found.overflows:
            return _NOTHING
        candidates = [
            _candidate(number, chain, orientation)
            for number, chain in found.chains
            if self._is_candidate(chain, orientation)
        ]
        candidates.sort(key=lambda candidate: candidate.gravity)
        return NearResult(candidates=tuple(candidates), overflows=tuple(dict.fromkeys(found.overflows)))

    def _is_candidate(self, chain: Chain, orientation: Orientation) -> bool:
        if chain.closed and chain.flips > self._maximum_distance_bits:
            return False
        upright = orientation is Orientation.UPRIGHT
        least = self._parameters.minimum_chain if upright else self._parameters.minimum_chain_oriented
        return len(chain) >= least and chain.flips <= self._parameters.flips_per_block * len(chain)


_NOTHING = NearResult()


@dataclass(slots=True, kw_only=True)
class _Found:
    """What one query has found so far, over all segments asked: chains with their segment's number."""

    chains: list[tuple[int, Chain]] = field(default_factory=list)
    overflows: list[Overflow] = field(default_factory=list)


def _check_together(segments: Sequence[NearSegment]) -> None:
    if not 1 <= len(segments) <= MAXIMUM_SEGMENTS:
        raise FilterFormatError(f"{len(segments)} near segments, allowed are 1 to {MAXIMUM_SEGMENTS}")
    headers = [segment.header for segment in segments]
    if len({header.number for header in headers}) != len(headers):
        # A segment shown twice, or two builds of one: the second kind would disclose the list.
        raise FilterFormatError("two near segments have one number")
    if len({header.algorithm for header in headers}) != 1:
        raise FilterFormatError("near segments of two conventions cannot be asked together")
    if len({probing(header.parameters) for header in headers}) != 1:
        raise FilterFormatError("near segments with different probing parameters cannot be asked together")


def _probe_segment(segment: NearSegment, batch: Batch, found: list[_Found]) -> None:
    """Add to `found` what one segment has for each query."""
    columns = len(batch.values)
    rows, column = np.divmod(segment.tier1.survivors(batch.hashes.ravel()), columns)
    counts = np.bincount(column, minlength=columns).reshape(-1, BLOCKS)
    too_many = counts.max(axis=1) > MAXIMUM_SURVIVORS
    too_wide = (counts * np.roll(counts, -1, axis=1)).max(axis=1) > MAXIMUM_PAIRS
    if too_many.any() or too_wide.any():
        for query in np.flatnonzero(too_many):
            found[query].overflows.append(Overflow.SURVIVORS)
        for query in np.flatnonzero(too_wide & ~too_many):
            found[query].overflows.append(Overflow.PAIRS)
        kept = ~(too_many | too_wide)[column // BLOCKS]
        rows, column = rows[kept], column[kept]
        counts[too_many | too_wide] = 0

    by_column = np.argsort(column, kind="stable")
    rows, column = rows[by_column], column[by_column]
    values = batch.flipped(batch.template, rows, column)
    left, right = _neighbours(column, counts.ravel())
    alive = segment.tier2.survivors(tier2_hash(column[left] % BLOCKS, values[left], values[right]))
    if len(alive) == 0:
        return
    left, right = left[alive], right[alive]
    flips = batch.template.flips[rows].astype(np.int64)
    edges = zip(
        (column[left] // BLOCKS).tolist(),
        (flips[left] + flips[right]).tolist(),
        (column[left] % BLOCKS).tolist(),
        values[left].tolist(),
        values[right].tolist(),
        strict=True,
    )
    for query, of_query in groupby(sorted(edges), key=itemgetter(0)):
        fewest_first = [edge[1:] for edge in of_query]
        if len(fewest_first) > MAXIMUM_EDGES:
            found[query].overflows.append(Overflow.EDGES)
        chains = _chains(segment, batch, query, fewest_first[:MAXIMUM_EDGES], found[query].overflows)
        found[query].chains += [(segment.header.number, chain) for chain in best_chains(chains)]


def _depths(segment: NearSegment) -> tuple[int, int]:
    """Values tried to extend a chain, and a chain that is a candidate already."""
    header = segment.header
    return header.parameters.extension_probes, deeper_probes(header.parameters, count=header.count)


def _neighbours(
    column: NDArray[np.intp], counts: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """All pairs (left, right) of survivors, sorted by column, in neighbouring blocks of one query."""
    first = np.cumsum(counts) - counts
    following = column - column % BLOCKS + (column + 1) % BLOCKS
    partners = counts[following]
    left = np.repeat(np.arange(len(column)), partners)
    nth = np.arange(len(left)) - np.repeat(np.cumsum(partners) - partners, partners)
    return left, first[following[left]] + nth


def _chains(
    segment: NearSegment,
    batch: Batch,
    query: int,
    edges: list[tuple[int, int, int, int]],
    overflows: list[Overflow],
) -> list[Chain]:
    """Chains through the edges (flips, block, left, right) of one query, each edge in one chain."""
    depths = _depths(segment)
    known: dict[tuple[int, bool], Survivors] = {}

    def survivors(block: int, deeper: bool) -> Survivors:
        if (block, deeper) not in known:
            column = query * BLOCKS + block
            known[block, deeper], too_many = batch.survivors(segment, column, probes=depths[deeper])
            if too_many:
                overflows.append(Overflow.EXTENSION)
        return known[block, deeper]

    chains: list[Chain] = []
    for flips, block, left, right in edges:
        if not any(chain.holds(block, left, right) for chain in chains):
            chains.append(
                grow_chain(
                    block=block,
                    left=left,
                    right=right,
                    flips=flips,
                    tier2=segment.tier2,
                    survivors=survivors,
                )
            )
    return chains


def _candidate(number: int, chain: Chain, orientation: Orientation) -> NearCandidate:
    reconstructed = None
    if chain.closed:
        in_order = np.roll(np.array([chain.values], np.uint32), chain.start, axis=1)
        reconstructed = join_blocks(in_order)[0].tobytes()
    return NearCandidate(
        segment=number,
        chain_length=len(chain),
        flips=chain.flips,
        orientation=orientation,
        reconstructed=reconstructed,
    )
