"""All near segments of one repository: a `NearPublisher` for each convention, and what was ever in them.

    <directory>/<convention>/    segments and their hashes, see near.py
    <directory>/lists.json       list name -> the convention under which it has been published

The directory is the list in the clear and the memory of what may never be published again: it lies with
the publishing keys, never beside the repository, and a repository whose ledger is lost publishes no more.
"""

import json
import logging
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

import numpy as np

from iii_client.errors import PublishError
from iii_client.filters.near_segment import CONVENTIONS
from iii_client.filters.ring_chain import (
    DEFAULT_PARAMETERS,
    HASH_BYTES,
    LARGE_PARAMETERS,
    MAXIMUM_SEGMENTS,
    MINIMUM_COUNT,
)
from iii_client.model import Algorithm, HashValue
from iii_client.publisher.build import test_picture_entries
from iii_client.publisher.exact_record import ExactRecord
from iii_client.publisher.near import NearPublisher, PublishedSegment, hashes_array
from iii_client.publisher.near_duplicates import fresh_hashes
from iii_client.publisher.sorting import (
    SortedHashes,
    Values,
    is_in,
    mixed_conventions,
)
from iii_client.updates.durable import replace_durably
from iii_client.updates.signed_near import MAX_WITHDRAWN

#: From so many hashes on a segment takes two more bits a key: more survivors of tier 1 need them.
LARGE_FROM_COUNT = 4_000_000
#: From this segment on each new one is announced with a warning: the rest must last for ever.
SCARCE_FROM_SEGMENT = 12

logger = logging.getLogger(__name__)


class NearLedger:
    """The near segments of one repository. Call it under the repository's lock.

    Args:
        directory: private (0700), made with the first segment.
        practice: segments are for practice and may hold any number of hashes.
        minimum_count: new hashes that make a segment; None takes the least that is allowed.

    Attributes:
        exact: what was ever matched exactly, and stays so.

    Raises:
        PublishError: a minimum under 10,000 for real segments.
    """

    def __init__(self, directory: Path, *, practice: bool, minimum_count: int | None = None) -> None:
        self.exact = ExactRecord(directory)
        self._directory = directory
        self._practice = practice
        self._minimum_count = minimum_count or (1 if practice else MINIMUM_COUNT)
        self._publishers = {
            algorithm: NearPublisher(
                directory / algorithm,
                algorithm=algorithm,
                practice=practice,
                minimum_count=self._minimum_count,
            )
            for algorithm in CONVENTIONS
        }

    def segments(self) -> tuple[PublishedSegment, ...]:
        """Every segment, by convention and number.

        Raises:
            PublishError: the ledger is damaged, or practice and real segments are mixed.
        """
        return tuple(segment for publisher in self._publishers.values() for segment in publisher.segments())

    def gather(self, hashes: SortedHashes) -> int:
        """Build a segment of each convention of which enough new hashes are offered.

        Returns:
            How many new hashes wait for a segment; they are in none yet.

        With 16 segments there is no room: new hashes wait, which is logged as an error, and all else is
        published. Segments are never merged, moved or built again; see the explanation of near matches.

        Raises:
            PublishError: a list changed its convention.
        """
        known = self._lists()
        for name, convention in hashes.conventions.items():
            if known.get(name, convention) is not convention:
                raise mixed_conventions(name)
        waiting = 0
        for algorithm, values in hashes.near.items():
            publisher = self._publishers[algorithm]
            values = self._without_test_picture(algorithm, values)
            count = len(publisher.fresh(values))
            live = len(publisher.segments())
            is_enough = count >= self._minimum_count and live < MAXIMUM_SEGMENTS
            if is_enough or live:
                # Before the segment: after a crash in between the list is bound, and nothing is published.
                known |= {name: c for name, c in hashes.conventions.items() if c is algorithm}
                self._remember_lists(known)
            if is_enough:
                layout = LARGE_PARAMETERS if count >= LARGE_FROM_COUNT else DEFAULT_PARAMETERS
                segment = publisher.publish(values, parameters=publisher.asked_like_the_first(layout))
                number = segment.header.number
                logger.info("built near segment %s/%d of %d hashes", algorithm, number, count)
                if number >= SCARCE_FROM_SEGMENT:
                    logger.warning(
                        "%d of at most %d near segments of %s are used: gather more hashes for each",
                        number,
                        MAXIMUM_SEGMENTS,
                        algorithm,
                    )
            elif count and live >= MAXIMUM_SEGMENTS:
                waiting += count
                logger.error(
                    "all %d near segments of %s are used: %d new hashes wait and pictures near them are not "
                    "found; no segment can be merged or built again",
                    live,
                    algorithm,
                    count,
                )
            elif count:
                waiting += count
                logger.warning(
                    "%d new %s hashes wait for a near segment, which takes %d: pictures near them are not "
                    "found yet",
                    count,
                    algorithm,
                    self._minimum_count,
                )
        return waiting

    def ready(self, hashes: SortedHashes) -> dict[Algorithm, int]:
        """How many new hashes would be in a segment of each convention, if one can be built; builds nothing.

        Raises:
            PublishError: the ledger is damaged.
        """
        counts = {algorithm: self._count_new(algorithm, values) for algorithm, values in hashes.near.items()}
        return {
            algorithm: count
            for algorithm, count in counts.items()
            if count >= self._minimum_count and len(self._publishers[algorithm].segments()) < MAXIMUM_SEGMENTS
        }

    def without_held(self, exact: Mapping[Algorithm, Values]) -> dict[Algorithm, Values]:
        """Hashes of exact sections without those that a near segment holds: a hash is in one table, ever."""
        left = dict(exact)
        for algorithm, publisher in self._publishers.items():
            if algorithm in left:
                left[algorithm] = left[algorithm][~publisher.held(left[algorithm])]
        return {algorithm: values for algorithm, values in left.items() if len(values)}

    def count_found(self, algorithm: Algorithm, values: Values) -> int:
        """How many hashes for near segments the segments find, by themselves or by one within 10 bits."""
        return int(self._publishers[algorithm].found_by(values).sum()) if len(values) else 0

    def count_waiting(self, hashes: SortedHashes) -> int:
        """How many new hashes are in no segment yet."""
        return sum(self._count_new(algorithm, values) for algorithm, values in hashes.near.items())

    def withdrawn(
        self, values: Iterable[HashValue] | None = None, *, listed: SortedHashes
    ) -> tuple[bytes, ...]:
        """What a release says about hashes that are listed no more but stand in a segment.

        A hash stays in force while one within 10 bits of it is listed: for that one it stands, too.

        Args:
            values: the hashes in question; None asks about everything that stands in a segment.
            listed: what is listed.

        Returns:
            SHA-256 of each, ascending.

        Raises:
            PublishError: more than a release can name.
        """
        digests = self.withdrawn_digests(values, listed=listed)
        if len(digests) > MAX_WITHDRAWN:
            raise PublishError(
                f"{len(digests)} withdrawn hashes in near segments, a release names {MAX_WITHDRAWN} at most",
                hint="Is a list missing, or half of it? Segments cannot change: hosts find these, and "
                "the service must answer 'withdrawn'. Publish deltas (--no-base) until it is clear.",
            )
        return tuple(sorted(digests))

    def withdrawn_digests(
        self, values: Iterable[HashValue] | None = None, *, listed: SortedHashes
    ) -> frozenset[bytes]:
        """The same, however many they are."""
        asked = None if values is None else list(values)
        digests: set[bytes] = set()
        for algorithm, publisher in self._publishers.items():
            if asked is None:
                held = publisher.everything()
            else:
                offered = hashes_array(value.value for value in asked if value.algorithm is algorithm)
                held = offered[publisher.held(offered)]
            still_listed = listed.near.get(algorithm, no_hashes())
            gone = fresh_hashes(held[~is_in(held, still_listed)], still_listed)
            digests |= {sha256(value.tobytes()).digest() for value in gone}
        return frozenset(digests)

    def _count_new(self, algorithm: Algorithm, values: Values) -> int:
        return len(self._publishers[algorithm].fresh(self._without_test_picture(algorithm, values)))

    def _without_test_picture(self, algorithm: Algorithm, values: Values) -> Values:
        # Everybody has that picture, and before 10,000 others have gathered no segment may exist.
        return values if self._practice else values[~is_in(values, _test_pictures(algorithm))]

    def _lists(self) -> dict[str, Algorithm]:
        try:
            content = self._lists_path.read_bytes()
        except FileNotFoundError:
            return {}
        try:
            return {str(name): Algorithm(convention) for name, convention in json.loads(content).items()}
        except (ValueError, AttributeError):
            raise PublishError(
                "the ledger of published lists is damaged", hint="Restore the folder of keys from a backup."
            ) from None

    def _remember_lists(self, lists: Mapping[str, Algorithm]) -> None:
        if lists != self._lists():
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_durably(self._lists_path, json.dumps(lists, sort_keys=True).encode())

    @property
    def _lists_path(self) -> Path:
        return self._directory / "lists.json"


def no_hashes() -> Values:
    """No PDQ hash at all: (0, 32)."""
    return np.empty((0, HASH_BYTES), np.uint8)


def _test_pictures(algorithm: Algorithm) -> Values:
    """The hashes of the shipped test picture under one convention: (n, 32)."""
    return hashes_array(
        entry.hash.value for entry in test_picture_entries() if entry.hash.algorithm is algorithm
    )
