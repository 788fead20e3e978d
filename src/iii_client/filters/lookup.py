"""One pinned release of the filter: fingerprints in, candidates out.

A snapshot is read-only and belongs to whoever holds it: a new release is a new snapshot over a new file,
and the old map goes when its last reader lets go of it. Nothing closes a map; unmapping under a reader
would kill the process.
"""

import hashlib
import mmap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from iii_client.errors import FilterFormatError
from iii_client.filters.bloom import BATCH_FROM_KEYS, ExactSection
from iii_client.filters.bundle import Bundle, parse_bundle
from iii_client.filters.near_lookup import NearSections
from iii_client.filters.near_segment import NearSegment
from iii_client.filters.views import DEFAULT_ORIENTATIONS, Orientation
from iii_client.model import (
    Algorithm,
    Candidate,
    Fingerprint,
    Freshness,
    HashValue,
    LookUp,
    NearInfo,
    PerceptualHash,
    Release,
    ReleaseId,
    freshness,
)

#: From so many fingerprints on, looking them up in batches is faster.
_BATCH_FROM_FINGERPRINTS = BATCH_FROM_KEYS

#: Returns the present time, aware and in UTC.
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The clock of this machine."""
    return datetime.now(UTC)


class Section(Protocol):
    """A part of a release that answers for whole fingerprints: the exact sections, or a near segment."""

    def look_up(self, fingerprints: Sequence[Fingerprint]) -> Sequence[LookUp]:
        """What this part says about each fingerprint, aligned with the input."""
        ...


class FilterSnapshot:
    """A release, ready for look-ups (a `protocols.MembershipFilter`). Thread-safe.

    Args:
        release: what the installed pointer says about it.
        sections: what is asked, in this order; a fingerprint's hits are concatenated.
        clock: tells how old the release is.
    """

    def __init__(self, *, release: Release, sections: Sequence[Section], clock: Clock = utc_now) -> None:
        self.info = release
        self._sections = tuple(sections)
        self._clock = clock
        parts = [str(release.id), release.sha256, *(f"{near.name}={near.sha256}" for near in release.near)]
        self._contents = f"{release.id}-{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:32]}"

    @property
    def release(self) -> ReleaseId:
        """Which release this is."""
        return self.info.id

    @property
    def contents(self) -> str:
        """A name of all that a look-up asks, by what is in it.

        A login for exact sections alone gives no near segments; and another repository, to which a state
        directory may be moved (from the practice service, say), counts its releases from 1.0, too.
        """
        return self._contents

    @property
    def freshness(self) -> Freshness:
        """How old its metadata is now."""
        return freshness(self.info.signed_at, now=self._clock())

    def look_up(self, fingerprints: Sequence[Fingerprint]) -> tuple[LookUp, ...]:
        """What the release says about each, aligned with the input; all are looked up in one batch."""
        first, *others = (section.look_up(fingerprints) for section in self._sections)
        if not others:
            return tuple(first)
        return tuple(map(_joined, zip(first, *others, strict=True)))


class ExactSections:
    """Exact membership of every hash whose algorithm has a section."""

    def __init__(self, sections: Mapping[Algorithm, ExactSection]) -> None:
        self._sections = tuple(sections.items())

    def __contains__(self, value: HashValue) -> bool:
        return any(
            algorithm is value.algorithm and value.hex in section for algorithm, section in self._sections
        )

    @property
    def sections(self) -> tuple[tuple[Algorithm, ExactSection], ...]:
        """The sections that can be asked, in the order of the bundle."""
        return self._sections

    def look_up(self, fingerprints: Sequence[Fingerprint]) -> list[LookUp]:
        """Hits of each fingerprint in its own order, digests first; each hash once."""
        if len(fingerprints) < _BATCH_FROM_FINGERPRINTS:
            return [self._look_up(fingerprint) for fingerprint in fingerprints]
        wanted = {algorithm: _Wanted() for algorithm, _ in self._sections}
        for number, fingerprint in enumerate(fingerprints):
            hashes: tuple[HashValue | PerceptualHash, ...] = (*fingerprint.digests, *fingerprint.perceptual)
            for hashed in hashes:
                if (asked := wanted.get(hashed.algorithm)) is not None:
                    asked.owners.append(number)
                    asked.keys.append(hashed.value.hex())
        hit: set[int] = set()
        for algorithm, section in self._sections:
            asked = wanted[algorithm]
            found = section.contains_many(asked.keys)
            hit.update(owner for owner, is_hit in zip(asked.owners, found, strict=True) if is_hit)
        # Hits are rare: the few fingerprints that have one are looked up again, in their own order.
        return [self._look_up(f) if number in hit else _NOTHING for number, f in enumerate(fingerprints)]

    def _look_up(self, fingerprint: Fingerprint) -> LookUp:
        hits: dict[HashValue, Candidate] = {}
        for digest in fingerprint.digests:
            # Few sections: comparing identities is faster than hashing a member of an enumeration.
            for algorithm, section in self._sections:
                if algorithm is digest.algorithm and digest.value.hex() in section:
                    hits[digest] = Candidate(hash=digest, section=str(algorithm))
        for perceptual in fingerprint.perceptual:
            for algorithm, section in self._sections:
                if algorithm is perceptual.algorithm and perceptual.value.hex() in section:
                    value = perceptual.hash_value
                    hits.setdefault(
                        value, Candidate(hash=value, section=str(algorithm), frame=perceptual.frame)
                    )
        return LookUp(candidates=tuple(hits.values())) if hits else _NOTHING


_NOTHING = LookUp()


def _joined(parts: Sequence[LookUp]) -> LookUp:
    if not any(part.candidates or part.reasons for part in parts):
        return _NOTHING
    return LookUp(
        candidates=tuple(hit for part in parts for hit in part.candidates),
        reasons=tuple(dict.fromkeys(reason for part in parts for reason in part.reasons)),
    )


def open_snapshot(
    path: Path,
    *,
    release: Release,
    near: Sequence[Path] = (),
    orientations: tuple[Orientation, ...] = DEFAULT_ORIENTATIONS,
    clock: Clock = utc_now,
) -> FilterSnapshot:
    """Map an installed release. Takes the same time whatever its size; reads headers, and probes canaries.

    The canaries find a bundle whose bits were lost on disk, which would silently find nothing: each of them
    tests about 20 bits that are spread over its whole section, so that a section of which a quarter is lost
    is told with 99.7 %. All bytes are checked by `FilterStore.verify`.

    Args:
        path: the bundle of exact sections.
        release: what the installed pointer says.
        near: the near segments' files, aligned with `release.near`.
        orientations: views that each picture is asked as in the near segments.
        clock: tells how old the release is.

    Raises:
        FilterFormatError: a file is not what the release says.
        OSError: a file cannot be opened.
    """
    bundle, exact = open_bundle(path)
    if bundle.release != release.id:
        raise FilterFormatError(f"the file holds release {bundle.release}, not {release.id}", offset=16)
    missed = sum(canary not in exact for canary in release.canaries)
    if missed:
        raise FilterFormatError(
            f"the filter misses {missed} of {len(release.canaries)} hashes that it must list: it is damaged",
            hint="Run: iii-client filter update",
        )
    sections: list[Section] = [exact]
    if release.near:
        segments = [_open_segment(file, info) for file, info in zip(near, release.near, strict=True)]
        sections.append(
            NearSections(segments, orientations=orientations, withdrawn=frozenset(release.withdrawn))
        )
    return FilterSnapshot(release=release, sections=sections, clock=clock)


def _open_segment(path: Path, info: NearInfo) -> NearSegment:
    segment = NearSegment.open(path)
    header = segment.header
    found = (header.algorithm, header.number, header.count, header.size_bytes, header.practice)
    if found != (info.algorithm, info.number, info.count, info.size_bytes, info.practice):
        raise FilterFormatError(f"the file of {info.name} holds another near segment")
    return segment


def open_bundle(path: Path) -> tuple[Bundle, ExactSections]:
    """Map a bundle, and what it holds.

    Raises:
        FilterFormatError: the file is no bundle.
        OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        try:
            view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except ValueError:
            raise FilterFormatError("the file is empty", offset=0) from None
    bundle = parse_bundle(view)
    sections = {}
    for row in bundle.sections:
        try:
            algorithm = Algorithm(row.name)
        except ValueError:
            # A list of an algorithm that this version cannot compute: nothing here could be looked up.
            continue
        sections[algorithm] = ExactSection(view[row.offset : row.offset + row.size_bytes])
    return bundle, ExactSections(sections)


@dataclass(slots=True)
class _Wanted:
    """Keys for one section, and the number of the fingerprint that each belongs to."""

    owners: list[int] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
