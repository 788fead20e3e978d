"""Near membership of pictures: their stored coefficients are probed in every view, nothing is hashed again.

A hit becomes up to two candidates: the *reconstructed* listed hash, whose distance is known here, and the
query's own hash (`own`), which is asked about only when the first was denied or the ring stayed open. Only
pictures that pass the gates are probed: flat and tiny ones would meet each other here. A gated hash is looked
for as it is: a list knows qualities and no margins, so a segment holds half-black pictures like any other.
"""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from iii_client.filters.near_results import NearCandidate, NearResult
from iii_client.filters.near_segment import NearSegment
from iii_client.filters.probing import NearFilter
from iii_client.filters.ring_chain import BLOCKS, HASH_BYTES, hash_bytes
from iii_client.filters.views import DEFAULT_ORIENTATIONS, SIDE, NearQueries, Orientation
from iii_client.model import (
    Algorithm,
    Candidate,
    Fingerprint,
    HashValue,
    LookUp,
    PerceptualHash,
    Reason,
)
from iii_client.model.coefficients import unpack_coefficients

#: Hits of one picture that are kept, best first. Several listed pictures may be close to one another; a
#: crafted picture that meets hundreds must not become hundreds of questions.
MAX_HITS = 4

#: Pictures probed at once: their queries, 4 KB a view, stay within a few megabytes in the longest rescan.
_HASHES_AT_ONCE = 512

#: A hit, the hash that was asked, and its value in the view that hit.
_Hit = tuple[NearCandidate, PerceptualHash, bytes]


class NearSections:
    """The near segments of a release, of one or both conventions.

    Args:
        segments: immutable, verified; numbers are distinct within a convention.
        orientations: views that each picture is asked as.
        withdrawn: SHA-256 of listed hashes that were withdrawn; their hits are suppressed here.

    Raises:
        FilterFormatError: segments that cannot be asked together.
    """

    def __init__(
        self,
        segments: Sequence[NearSegment],
        *,
        orientations: tuple[Orientation, ...] = DEFAULT_ORIENTATIONS,
        withdrawn: Collection[bytes] = frozenset(),
    ) -> None:
        by_convention: dict[Algorithm, list[NearSegment]] = defaultdict(list)
        for segment in segments:
            by_convention[segment.header.algorithm].append(segment)
        self._filters = {name: NearFilter(group) for name, group in by_convention.items()}
        self._orientations = orientations
        self._withdrawn = frozenset(withdrawn)

    def look_up(self, fingerprints: Sequence[Fingerprint]) -> list[LookUp]:
        """Hits of each fingerprint over all its frames, conventions and views; aligned with the input."""
        hits: list[list[_Hit]] = [[] for _ in fingerprints]
        overflowed: set[int] = set()
        for algorithm, near in self._filters.items():
            asked = [
                (index, perceptual)
                for index, fingerprint in enumerate(fingerprints)
                for perceptual in fingerprint.perceptual
                if perceptual.algorithm is algorithm
            ]
            for index, hit in _held(near, [(i, hash_) for i, hash_ in asked if hash_.gates]):
                hits[index].append(hit)
            free = [(i, hash_) for i, hash_ in asked if not hash_.gates]
            for first in range(0, len(free), _HASHES_AT_ONCE):
                for index, hash_, own, result in self._probe(near, free[first : first + _HASHES_AT_ONCE]):
                    hits[index] += [(candidate, hash_, own) for candidate in result.candidates]
                    if result.overflows:
                        overflowed.add(index)
        return [
            LookUp(
                candidates=_as_candidates([hit for hit in found if not self._is_withdrawn(hit[0])]),
                reasons=(Reason.PROBE_OVERFLOW,) if index in overflowed else (),
            )
            for index, found in enumerate(hits)
        ]

    def _probe(
        self, near: NearFilter, asked: Sequence[tuple[int, PerceptualHash]]
    ) -> Iterator[tuple[int, PerceptualHash, bytes, NearResult]]:
        coefficients = np.array([unpack_coefficients(p.coefficients) for _, p in asked], np.float32)
        queries = NearQueries.from_coefficients(coefficients.reshape(-1, SIDE, SIDE), self._orientations)
        results = near.probe(queries)
        for row, result in enumerate(results):
            if result.candidates or result.overflows:
                index, perceptual = asked[row // len(self._orientations)]
                yield index, perceptual, hash_bytes(queries.bits[row : row + 1])[0].tobytes(), result

    def _is_withdrawn(self, hit: NearCandidate) -> bool:
        return hit.reconstructed is not None and hashlib.sha256(hit.reconstructed).digest() in self._withdrawn


def _held(near: NearFilter, asked: Sequence[tuple[int, PerceptualHash]]) -> Iterator[tuple[int, _Hit]]:
    """Those of the hashes that are listed as they are, upright."""
    if not asked:
        return
    values = np.frombuffer(b"".join(hash_.value for _, hash_ in asked), np.uint8).reshape(-1, HASH_BYTES)
    for segment in near.segments:
        for row in np.flatnonzero(segment.holds(values)).tolist():
            index, hash_ = asked[row]
            hit = NearCandidate(
                segment=segment.header.number,
                chain_length=BLOCKS,
                flips=0,
                orientation=Orientation.UPRIGHT,
                reconstructed=hash_.value,
            )
            yield index, (hit, hash_, hash_.value)


def _as_candidates(found: list[_Hit]) -> tuple[Candidate, ...]:
    """The best hits: listed hashes first, then the own hashes, each hash once."""
    best = sorted(found, key=lambda entry: entry[0].gravity)[:MAX_HITS]
    candidates: dict[HashValue, Candidate] = {}
    for own in (False, True):
        for hit, asked, own_value in best:
            value = own_value if own else hit.reconstructed
            if value is not None:
                candidate = _candidate(hit, asked, value, own=own)
                candidates.setdefault(candidate.hash, candidate)
    return tuple(candidates.values())


def _candidate(hit: NearCandidate, asked: PerceptualHash, value: bytes, *, own: bool) -> Candidate:
    return Candidate(
        hash=HashValue(algorithm=asked.algorithm, value=value),
        section=f"near/{asked.algorithm}/{hit.segment}",
        frame=asked.frame,
        chain_length=hit.chain_length,
        flips=hit.flips,
        distance_bits=0 if own else hit.flips,
        view=f"trimmed-{hit.orientation}" if asked.trimmed else str(hit.orientation),
        own=own,
    )
