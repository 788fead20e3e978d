"""What the practice service lists: a publisher's catalogue, with pictures added and hashes found in it.

Promises: what was added is there after a restart; a withdrawn hash stays known as withdrawn. Digests are
found by index, perceptual hashes by brute-force Hamming distance. A digest also brings what is known about
the other digests of the same file, where a list links them.
"""

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from iii_client.config import Limits
from iii_client.content import Content
from iii_client.errors import ConfigurationError
from iii_client.fingerprint import RECIPES, build_fingerprint
from iii_client.model import Algorithm, Category, Fingerprint, HashValue, ListKind
from iii_client.publisher import FULL_QUALITY, Catalogue, ListEntry, ListInfo
from iii_client.sandbox.distances import MAX_DISTANCE_BITS, pack, within

#: Most listed hashes that one answer names, nearest first.
MAX_FOUND = 16

#: The source of pictures that were added without one.
DEFAULT_SOURCE = "sandbox"

_FEEDBACK = """
CREATE TABLE IF NOT EXISTS feedback (
    key TEXT PRIMARY KEY,
    id TEXT NOT NULL,
    content TEXT NOT NULL
);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One listed hash on one list that an asked hash is, or looks like.

    Attributes:
        hash: the listed hash.
        distance_bits: between the asked and the listed hash; 0 for digests.
        list_version: name and version of the list.
        sources, categories: as listed.
        withdrawn: it was listed once and is no more.
    """

    hash: HashValue
    distance_bits: int
    list_version: str
    sources: tuple[str, ...]
    categories: tuple[Category, ...]
    withdrawn: bool


class Corpus:
    """The lists in one file, created when it is not there. Thread-safe; one process at a time.

    Raises:
        ConfigurationError: the file is none of ours, or of another version.
    """

    def __init__(self, path: Path) -> None:
        self._catalogue = Catalogue(path)
        self._lock = threading.Lock()
        self._matrices: dict[Algorithm, tuple[list[bytes], npt.NDArray[np.uint16]]] = {}
        self._feedback = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._feedback.execute("PRAGMA synchronous = FULL")
        self._feedback.executescript(_FEEDBACK)

    def close(self) -> None:
        """Close the file."""
        self._feedback.close()
        self._catalogue.close()

    # --- adding -----------------------------------------------------------------------------------------

    def add_entries(self, entries: Iterable[ListEntry], *, kind: ListKind = ListKind.OTHER) -> int:
        """Add entries, all or (when the iterable raises) none.

        Args:
            entries: what to list; each names its list, which is made when it is new.
            kind: of lists that are new.

        Returns:
            How many entries were read.
        """
        added = self._catalogue.add(entries, kind=kind)
        self._forget_matrices()
        return added.read

    def add_pictures(
        self,
        paths: Iterable[Path],
        *,
        list_name: str = "known",
        source: str = DEFAULT_SOURCE,
        categories: Sequence[tuple[str, str]] = (),
    ) -> int:
        """Hash pictures and list their digests and their PDQ hash. What is not a picture is passed over.

        Args:
            paths: files, or folders with everything below them.
            list_name: the list that they go to.
            source: the body that lists them.
            categories: (scheme, code) of each.

        Returns:
            How many pictures were listed.

        Raises:
            ConfigurationError: a path does not exist.
        """
        labels = tuple(Category(scheme=scheme, code=code, source=source) for scheme, code in categories)
        entries: list[ListEntry] = []
        pictures = 0
        for path in _files(paths):
            fingerprint = build_fingerprint(Content.from_path(path), recipe=RECIPES["exact"], limits=Limits())
            if not fingerprint.is_picture or not fingerprint.digests:
                continue
            pictures += 1
            entries += [
                ListEntry(hash=value, quality=quality, list_name=list_name, source=source, categories=labels)
                for value, quality in _listed_hashes(fingerprint)
            ]
        self.add_entries(entries)
        return pictures

    def withdraw(self, value: HashValue) -> None:
        """Take a hash off every list. It is answered as withdrawn from now on."""
        self._catalogue.withdraw(value)
        self._forget_matrices()

    def keep_feedback(self, key: str, *, new_id: str, content: str) -> tuple[str, bool]:
        """Store a hoster's feedback once.

        Args:
            key: the caller's idempotency key.
            new_id: id to give it when the key is new.
            content: the feedback itself.

        Returns:
            The id under which the key is stored, and whether what is stored is this content.
        """
        with self._lock:
            self._feedback.execute("INSERT OR IGNORE INTO feedback VALUES (?, ?, ?)", (key, new_id, content))
            stored_id, stored = self._feedback.execute(
                "SELECT id, content FROM feedback WHERE key = ?", (key,)
            ).fetchone()
        return str(stored_id), stored == content

    # --- asking -----------------------------------------------------------------------------------------

    def lists(self) -> tuple[ListInfo, ...]:
        """Every list, by name."""
        return self._catalogue.lists()

    @property
    def catalogue(self) -> Catalogue:
        """The lists themselves, to publish."""
        return self._catalogue

    def entries(self) -> Iterator[ListEntry]:
        """Everything that is listed and not withdrawn, by hash; a snapshot that blocks nobody."""
        return self._catalogue.entries()

    def withdrawn(self) -> tuple[HashValue, ...]:
        """Every hash that was listed and stands on no list any more."""
        return self._catalogue.withdrawn()

    def find(self, value: HashValue) -> tuple[Found, ...]:
        """What is listed at this hash or, for a perceptual one, within its algorithm's distance of it.

        Returns:
            At most `MAX_FOUND`, nearest first; withdrawn ones included.
        """
        found = (item for listed, distance in self._near(value) for item in self._on_lists(listed, distance))
        return tuple(found)[:MAX_FOUND]

    def _near(self, value: HashValue) -> list[tuple[HashValue, int]]:
        if value.algorithm.is_digest:
            if not self._catalogue.listings(value):
                return []
            # Other digests of the same bytes, not other looks of the same picture: those are not exact.
            return [(one, 0) for one in self._catalogue.linked(value) if one.algorithm.is_digest]
        with self._lock:
            values, matrix = self._matrix(value.algorithm)
            rows = within(matrix, value.value, most=MAX_DISTANCE_BITS[value.algorithm])[:MAX_FOUND]
            return [
                (HashValue(algorithm=value.algorithm, value=values[row]), distance) for row, distance in rows
            ]

    def _on_lists(self, listed: HashValue, distance_bits: int) -> Iterator[Found]:
        for listing in self._catalogue.listings(listed):
            yield Found(
                hash=listed,
                distance_bits=distance_bits,
                list_version=f"{listing.list_name}@{listing.list_version}",
                sources=listing.sources,
                categories=listing.categories,
                withdrawn=listing.withdrawn,
            )

    def _matrix(self, algorithm: Algorithm) -> tuple[list[bytes], npt.NDArray[np.uint16]]:
        if algorithm not in self._matrices:
            values = self._catalogue.values(algorithm)
            self._matrices[algorithm] = values, pack(values, width_bits=algorithm.width_bits)
        return self._matrices[algorithm]

    def _forget_matrices(self) -> None:
        with self._lock:
            self._matrices.clear()


def _listed_hashes(fingerprint: Fingerprint) -> list[tuple[HashValue, int]]:
    """Digests, and one perceptual hash: a filter that holds two of one picture tells more than either."""
    pdq = [p for p in fingerprint.perceptual if p.algorithm is Algorithm.PDQ][:1]
    return [
        *((digest, FULL_QUALITY) for digest in fingerprint.digests),
        *((p.hash_value, p.quality) for p in pdq),
    ]


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.exists():
            raise ConfigurationError(
                "a picture or folder that should be listed does not exist",
                hint="Check the paths of the known pictures.",
            )
        if path.is_dir():
            for folder, subfolders, names in os.walk(path):
                subfolders.sort()
                yield from (Path(folder) / name for name in sorted(names))
        else:
            yield path
