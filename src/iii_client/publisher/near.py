"""Publishes near segments, and refuses everything that would disclose the list.

A segment `near/<n>` is built once from hashes that no table ever held, and stays as it is. Refused are:

- fewer than 10,000 new hashes (a delta in all but name: differences between releases name hashes);
- hashes published before, or within 10 bits of one (they are left out; with too few others that is a
  rebuild, and two differently built filters of the same hashes disclose the list);
- a second convention of PDQ for the same list;
- parameters of asking other than those of the segments before it, with which no reader could ask both;
- a 17th segment, and any layout that breaks the secrecy inequality.

There is nothing to set that could make two builds differ: no salt, no size, no permutation, no key. To
know what it published before, the publisher keeps a ledger of the hashes in its own directory. The
ledger is the list: keep it with the publishing keys, and never beside the repository.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from iii_client.errors import FilterFormatError, PublishError
from iii_client.filters.near_fill import check_fill
from iii_client.filters.near_segment import CONVENTIONS, NearHeader, NearSegment
from iii_client.filters.ring_chain import (
    DEFAULT_PARAMETERS,
    HASH_BYTES,
    MAXIMUM_SEGMENTS,
    MINIMUM_COUNT,
    Hashes,
    NearParameters,
    probing,
)
from iii_client.model import Algorithm
from iii_client.publisher.near_duplicates import block_columns, fresh_hashes, related_hashes
from iii_client.publisher.near_tables import distinct_keys, segment_bytes
from iii_client.publisher.sorting import is_in
from iii_client.updates.durable import install_durably, replace_durably

_FILE_MODE: Final = 0o600
_HEADER_SUFFIX = ".header"
_HASHES_SUFFIX = ".hashes"
_SEGMENT_SUFFIX = ".near"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedSegment:
    """A segment on disk.

    Attributes:
        path: its file, `<n>.near` in the publisher's directory.
        header: what it says of itself.
        left_out: hashes offered but not inserted, being within 10 bits of a published or inserted one.
    """

    path: Path
    header: NearHeader
    left_out: int = 0


class NearPublisher:
    """Builds the near segments of one list, for ever of one convention.

    Args:
        directory: holds segments and ledger; made when missing (0700). One process at a time.
        algorithm: `Algorithm.PDQ` or `PDQ_512`, the convention of the list.
        practice: flag segments as practice, which alone may hold fewer than 10,000 hashes: for a
            sandbox whose pictures are harmless.
        minimum_count: gather at least so many new hashes before a segment is built.

    Raises:
        PublishError: not a convention of PDQ, or a minimum under 10,000 for real segments.
    """

    def __init__(
        self,
        directory: Path,
        *,
        algorithm: Algorithm,
        practice: bool = False,
        minimum_count: int = MINIMUM_COUNT,
    ) -> None:
        if algorithm not in CONVENTIONS:
            raise PublishError(f"{algorithm} has no near segments")
        if minimum_count < (1 if practice else MINIMUM_COUNT):
            raise PublishError(
                f"a segment of {minimum_count} hashes could be read back, 10,000 are the least"
            )
        self._directory = directory
        self._algorithm = algorithm
        self._practice = practice
        self._minimum_count = minimum_count

    def segments(self) -> tuple[PublishedSegment, ...]:
        """What was published, in order; a file that is missing is built anew, byte for byte the same.

        Raises:
            PublishError: the ledger is damaged, or is one of practice and this publisher is not, or vice
                versa.
        """
        published = []
        for number in self._numbers():
            header, path = self._header(number), self._path(number, _SEGMENT_SUFFIX)
            if header.practice is not self._practice:
                raise PublishError(
                    "practice and real near segments cannot stand in one repository",
                    hint="Name other folders for one of them.",
                )
            if not path.exists():
                self._write_segment(header, self._hashes(number))
            published.append(PublishedSegment(path=path, header=header))
        return tuple(published)

    def asked_like_the_first(self, parameters: NearParameters) -> NearParameters:
        """A layout of the same densities that the readers of the first segment can ask, too.

        Raises:
            PublishError: the ledger is damaged.
        """
        if not self._numbers():
            return parameters
        return replace(
            self._header(1).parameters, tier1_bits=parameters.tier1_bits, tier2_bits=parameters.tier2_bits
        )

    def fresh(self, hashes: Iterable[bytes] | Hashes) -> Hashes:
        """What the next segment of these hashes would hold: (n, 32) bytes, ascending.

        Raises:
            PublishError: a value is not 32 bytes long, or the ledger is damaged.
        """
        return self._fresh(hashes_array(hashes))

    def held(self, hashes: Iterable[bytes] | Hashes) -> NDArray[np.bool_]:
        """Which of these hashes stand in a segment, to the bit: (n,).

        Raises:
            PublishError: a value is not 32 bytes long, or the ledger is damaged.
        """
        return is_in(hashes_array(hashes), self._all_published())

    def found_by(self, hashes: Iterable[bytes] | Hashes) -> NDArray[np.bool_]:
        """Which of these hashes have a published one within 10 bits, which stands for them: (n,).

        Raises:
            PublishError: a value is not 32 bytes long, or the ledger is damaged.
        """
        offered, published = hashes_array(hashes), self._all_published()
        found = is_in(offered, published)
        found[~found] = related_hashes(offered[~found], published)
        return found

    def everything(self) -> Hashes:
        """All hashes that stand in segments: (n, 32).

        Raises:
            PublishError: the ledger is damaged.
        """
        return self._all_published()

    def publish(
        self, hashes: Iterable[bytes] | Hashes, *, parameters: NearParameters = DEFAULT_PARAMETERS
    ) -> PublishedSegment:
        """Build the next segment from those of `hashes` that are new.

        Args:
            hashes: PDQ values of 32 bytes and quality 50 or more, in any order. Lower quality belongs
                into the exact section.
            parameters: `LARGE_PARAMETERS` for more than about 4 million.

        Raises:
            PublishError: it would disclose the list, or the list is not fit for near match.
        """
        published = self.segments()
        if len(published) >= MAXIMUM_SEGMENTS:
            raise PublishError(
                f"{len(published)} near segments are live, {MAXIMUM_SEGMENTS} may be",
                hint="No segment can be merged, moved or built again: two builds of the same hashes disclose "
                "the list. For practice lists, begin with a new data directory; else see 'When 16 segments "
                "are used' in the explanation of near matches.",
            )
        if any(segment.header.algorithm is not self._algorithm for segment in published):
            raise PublishError(
                f"this list is published under another convention than {self._algorithm}",
                hint="One convention a list: the same pictures under two would be two filters of one list.",
            )
        if any(probing(segment.header.parameters) != probing(parameters) for segment in published):
            # Every reader would refuse the release: a query is hashed once for all segments.
            raise PublishError(
                "near segments of one repository are all asked with the same parameters",
                hint="Only the density (tier1_bits, tier2_bits) may differ from the first segment's.",
            )
        offered = hashes_array(hashes)
        new = self._fresh(offered)
        if len(new) < self._minimum_count:
            raise PublishError(
                f"{len(new)} new hashes of {len(offered)} offered, {self._minimum_count} make a segment",
                hint="Gather more. What was published is not built again: two builds disclose the list.",
            )
        columns = block_columns(new)
        tier1_keys, tier2_keys = distinct_keys(columns)
        try:
            header = NearHeader(
                number=len(published) + 1,
                algorithm=self._algorithm,
                count=len(new),
                tier1_keys=tier1_keys,
                tier2_keys=tier2_keys,
                parameters=parameters,
                practice=self._practice,
            )
        except ValueError as refused:
            raise PublishError(f"near segment refused: {refused}") from refused
        self._remember(header, new)
        path = self._write_segment(header, new)
        return PublishedSegment(path=path, header=header, left_out=len(offered) - len(new))

    def _fresh(self, offered: Hashes) -> Hashes:
        published = self._all_published()
        # Most of a list was published before, to the bit: only the rest needs the search for relatives.
        return fresh_hashes(offered[~is_in(offered, published)], published)

    def _remember(self, header: NearHeader, hashes: Hashes) -> None:
        """Ledger before segment: after a crash in between, `segments` builds the same file again."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_durably(self._path(header.number, _HASHES_SUFFIX), hashes.tobytes())
        replace_durably(self._path(header.number, _HEADER_SUFFIX), header.to_bytes())

    def _write_segment(self, header: NearHeader, hashes: Hashes) -> Path:
        path = self._path(header.number, _SEGMENT_SUFFIX)
        temporary = path.with_name(f".{path.name}.new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _FILE_MODE)
        with os.fdopen(descriptor, "wb") as file:
            for piece in segment_bytes(header, block_columns(hashes)):
                file.write(piece)
        check_fill(NearSegment.open(temporary))
        install_durably(temporary, path)
        return path

    def _numbers(self) -> range:
        """A segment exists once its header stands in the ledger; numbers have no gaps."""
        number = 1
        while self._path(number, _HEADER_SUFFIX).exists():
            number += 1
        return range(1, number)

    def _header(self, number: int) -> NearHeader:
        try:
            return NearHeader.from_bytes(self._path(number, _HEADER_SUFFIX).read_bytes())
        except FilterFormatError as error:
            raise PublishError(f"the ledger of near segment {number} is damaged") from error

    def _hashes(self, number: int) -> Hashes:
        try:
            raw = np.fromfile(self._path(number, _HASHES_SUFFIX), np.uint8)
        except FileNotFoundError:
            raw = np.empty(0, np.uint8)
        if len(raw) != HASH_BYTES * self._header(number).count:
            raise PublishError(f"the ledger of near segment {number} has lost or gained hashes")
        return raw.reshape(-1, HASH_BYTES)

    def _all_published(self) -> Hashes:
        empty = np.empty((0, HASH_BYTES), np.uint8)
        return np.concatenate([empty, *(self._hashes(number) for number in self._numbers())])

    def _path(self, number: int, suffix: str) -> Path:
        return self._directory / f"{number}{suffix}"


def hashes_array(hashes: Iterable[bytes] | Hashes) -> Hashes:
    """(n, 32) bytes of single values; an array of that shape as it is.

    Raises:
        PublishError: a value is not 32 bytes long.
    """
    if isinstance(hashes, np.ndarray):
        return hashes
    joined = bytearray()
    for value in hashes:
        if len(value) != HASH_BYTES:
            raise PublishError(f"a PDQ hash has {HASH_BYTES} bytes, one offered has {len(value)}")
        joined += value
    return np.frombuffer(bytes(joined), np.uint8).reshape(-1, HASH_BYTES)
