"""What of PDQ was ever matched exactly: it never comes into a near segment, whatever quality it gets later.

    <directory>/<convention>.exact     the hashes, 32 bytes each, ascending

A hash is in one table, ever: whoever holds a near segment and an exact section of the same hash has more
filter bits of it than the secrecy inequality allows. A list that corrects a quality from 49 to 50 would
move it from one to the other. Like the hashes of the segments, beside which it lies, the record is the list.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from iii_client.errors import PublishError
from iii_client.filters.near_segment import CONVENTIONS
from iii_client.filters.ring_chain import HASH_BYTES
from iii_client.model import Algorithm
from iii_client.publisher.sorting import SortedHashes, Values, distinct, is_in
from iii_client.updates.durable import replace_durably


class ExactRecord:
    """The record of one repository. Call it under the repository's lock.

    Args:
        directory: private (0700), made when there is something to note.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def settled(self, hashes: SortedHashes) -> SortedHashes:
        """The same hashes, of which those that were ever matched exactly still are.

        Raises:
            PublishError: the record is damaged.
        """
        exact, near = dict(hashes.exact), dict(hashes.near)
        for algorithm, values in hashes.near.items():
            stays = is_in(values, self._known(algorithm))
            if stays.any():
                near[algorithm] = values[~stays]
                exact[algorithm] = distinct(np.concatenate([exact.get(algorithm, values[:0]), values[stays]]))
        return replace(hashes, exact=exact, near=near)

    def remember(self, exact: Mapping[Algorithm, Values]) -> None:
        """Note what is about to be published exactly: before it is, or a crash in between would forget it.

        Raises:
            PublishError: the record is damaged.
        """
        for algorithm in CONVENTIONS:
            known = self._known(algorithm)
            together = distinct(np.concatenate([known, exact.get(algorithm, known[:0])]))
            if len(together) > len(known):
                self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                replace_durably(self._path(algorithm), together.tobytes())

    def count(self, algorithm: Algorithm) -> int:
        """How many hashes of one convention were ever matched exactly.

        Raises:
            PublishError: the record is damaged.
        """
        return len(self._known(algorithm))

    def _known(self, algorithm: Algorithm) -> Values:
        try:
            raw = np.fromfile(self._path(algorithm), np.uint8)
        except FileNotFoundError:
            raw = np.empty(0, np.uint8)
        if len(raw) % HASH_BYTES:
            raise PublishError(
                f"the record of {algorithm} hashes that were matched exactly is damaged",
                hint="Restore the folder 'near' beside the keys from a backup.",
            )
        return raw.reshape(-1, HASH_BYTES)

    def _path(self, algorithm: Algorithm) -> Path:
        return self._directory / f"{algorithm}.exact"
