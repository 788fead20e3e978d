"""One pinned release of the filter: fingerprints in, candidates out.

A snapshot is read-only and belongs to whoever holds it: a new release is a new snapshot over a new file,
and the old map goes when its last reader lets go of it. Nothing closes a map; unmapping under a reader
would kill the process.
"""

import mmap
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from iii_client.errors import FilterFormatError
from iii_client.filters.bloom import ExactSection
from iii_client.filters.bundle import Bundle, parse_bundle
from iii_client.model import (
    Algorithm,
    Candidate,
    Fingerprint,
    Freshness,
    HashValue,
    Release,
    ReleaseId,
    freshness,
)

#: Returns the present time, aware and in UTC.
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The clock of this machine."""
    return datetime.now(UTC)


class Section(Protocol):
    """A part of a release that answers for whole fingerprints: the exact sections, or a near segment."""

    def candidates(self, fingerprints: Sequence[Fingerprint]) -> Sequence[Sequence[Candidate]]:
        """Hits of each fingerprint, aligned with the input."""
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

    @property
    def release(self) -> ReleaseId:
        """Which release this is."""
        return self.info.id

    @property
    def freshness(self) -> Freshness:
        """How old its metadata is now."""
        return freshness(self.info.signed_at, now=self._clock())

    def candidates(self, fingerprints: Sequence[Fingerprint]) -> tuple[tuple[Candidate, ...], ...]:
        """Hits of each fingerprint, aligned with the input; all of them are looked up in one batch."""
        answers = [section.candidates(fingerprints) for section in self._sections]
        return tuple(tuple(hit for answer in answers for hit in answer[i]) for i in range(len(fingerprints)))


class ExactSections:
    """Exact membership of every hash whose algorithm has a section."""

    def __init__(self, sections: Mapping[Algorithm, ExactSection]) -> None:
        self._sections = dict(sections)

    def __contains__(self, value: HashValue) -> bool:
        section = self._sections.get(value.algorithm)
        return section is not None and value.hex in section

    def candidates(self, fingerprints: Sequence[Fingerprint]) -> list[list[Candidate]]:
        """Hits of each fingerprint in its own order, digests first; each hash once."""
        wanted: dict[Algorithm, list[tuple[int, int, HashValue]]] = {name: [] for name in self._sections}
        for index, fingerprint in enumerate(fingerprints):
            for digest in fingerprint.digests:
                if digest.algorithm in wanted:
                    wanted[digest.algorithm].append((index, 0, digest))
            for perceptual in fingerprint.perceptual:
                if perceptual.algorithm in wanted:
                    wanted[perceptual.algorithm].append((index, perceptual.frame, perceptual.hash_value))
        hits: list[dict[HashValue, Candidate]] = [{} for _ in fingerprints]
        for algorithm, section in self._sections.items():
            asked = wanted[algorithm]
            found = section.contains_many([value.hex for _, _, value in asked])
            for (index, frame, value), hit in zip(asked, found, strict=True):
                if hit:
                    hits[index].setdefault(value, Candidate(hash=value, section=str(algorithm), frame=frame))
        return [_in_order(f, found) for f, found in zip(fingerprints, hits, strict=True)]


def open_snapshot(path: Path, *, release: Release, clock: Clock = utc_now) -> FilterSnapshot:
    """Map an installed bundle. Takes the same time whatever its size; reads only its headers.

    Raises:
        FilterFormatError: the file is no bundle, or not of this release.
        OSError: the file cannot be opened.
    """
    bundle, exact = open_bundle(path)
    if bundle.release != release.id:
        raise FilterFormatError(f"the file holds release {bundle.release}, not {release.id}", offset=16)
    return FilterSnapshot(release=release, sections=[exact], clock=clock)


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


def _in_order(fingerprint: Fingerprint, hits: Mapping[HashValue, Candidate]) -> list[Candidate]:
    if not hits:
        return []
    return [hits[value] for value in fingerprint.hash_values() if value in hits]
