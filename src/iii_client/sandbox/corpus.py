"""What the practice service lists: named lists of hashes with sources and categories, in one SQLite file.

Promises: what was added is there after a restart; adding it again changes nothing; a list's version grows
with each change of it; a withdrawn hash stays known as withdrawn. Digests are found by index, perceptual
hashes by brute-force Hamming distance.
"""

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt

from iii_client.config import Limits
from iii_client.content import Content
from iii_client.errors import ConfigurationError
from iii_client.fingerprint import RECIPES, build_fingerprint
from iii_client.model import Algorithm, Category, Fingerprint, HashValue
from iii_client.publisher import FULL_QUALITY, ListEntry
from iii_client.sandbox.distances import MAX_DISTANCE_BITS, pack, within

#: Most listed hashes that one answer names, nearest first.
MAX_FOUND = 16

KIND_KNOWN = "known"
KIND_TEST = "test"

#: The source of pictures that were added without one.
DEFAULT_SOURCE = "sandbox"

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE lists (
    name TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    version INTEGER NOT NULL
);
CREATE TABLE entries (
    algorithm TEXT NOT NULL,
    value BLOB NOT NULL,
    list TEXT NOT NULL REFERENCES lists (name),
    source TEXT NOT NULL,
    scheme TEXT NOT NULL,
    code TEXT NOT NULL,
    quality INTEGER NOT NULL,
    withdrawn INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (algorithm, value, list, source, scheme, code)
) WITHOUT ROWID;
CREATE TABLE feedback (
    key TEXT PRIMARY KEY,
    id TEXT NOT NULL,
    content TEXT NOT NULL
);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListInfo:
    """One list, as it is now. An entry is a distinct hash."""

    name: str
    kind: str
    version: int
    entries: int
    sources: tuple[str, ...]
    category_schemes: tuple[str, ...]


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
        self._path = path
        self._lock = threading.Lock()
        self._matrices: dict[Algorithm, tuple[list[bytes], npt.NDArray[np.uint16]]] = {}
        path.touch(mode=0o600)
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._migrate()
        except sqlite3.DatabaseError as error:
            raise ConfigurationError(
                f"the practice service's lists cannot be opened: {error}",
                hint="Name another data folder, or one that the practice service made.",
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # --- adding -----------------------------------------------------------------------------------------

    def add_entries(self, entries: Iterable[ListEntry], *, kind: str = KIND_KNOWN) -> int:
        """Add entries, all or (when the iterable raises) none.

        Args:
            entries: what to list; each names its list, which is made when it is new.
            kind: of lists that are new.

        Returns:
            How many entries were read.
        """
        read = 0
        changed: set[str] = set()
        with self._transaction():
            for entry in entries:
                read += 1
                self._db.execute(
                    "INSERT OR IGNORE INTO lists (name, kind, version) VALUES (?, ?, 0)",
                    (entry.list_name, kind),
                )
                if self._db.executemany(_INSERT, _rows(entry)).rowcount > 0:
                    changed.add(entry.list_name)
            self._changed(changed)
        return read

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
        with self._transaction():
            where = "WHERE algorithm = ? AND value = ? AND NOT withdrawn"
            key = (value.algorithm, value.value)
            lists = {name for (name,) in self._db.execute(f"SELECT list FROM entries {where}", key)}  # noqa: S608
            self._db.execute(f"UPDATE entries SET withdrawn = 1 {where}", key)  # noqa: S608
            self._changed(lists)

    def keep_feedback(self, key: str, *, new_id: str, content: str) -> tuple[str, bool]:
        """Store a hoster's feedback once.

        Args:
            key: the caller's idempotency key.
            new_id: id to give it when the key is new.
            content: the feedback itself.

        Returns:
            The id under which the key is stored, and whether what is stored is this content.
        """
        with self._transaction():
            self._db.execute("INSERT OR IGNORE INTO feedback VALUES (?, ?, ?)", (key, new_id, content))
            stored_id, stored = self._db.execute(
                "SELECT id, content FROM feedback WHERE key = ?", (key,)
            ).fetchone()
        return str(stored_id), stored == content

    # --- asking -----------------------------------------------------------------------------------------

    def lists(self) -> tuple[ListInfo, ...]:
        """Every list, by name."""
        with self._lock:
            rows = self._db.execute("SELECT name, kind, version FROM lists ORDER BY name").fetchall()
            return tuple(
                ListInfo(
                    name=name,
                    kind=kind,
                    version=version,
                    entries=self._count(name),
                    sources=self._distinct("source", name),
                    category_schemes=self._distinct("scheme", name),
                )
                for name, kind, version in rows
            )

    def entries(self) -> Iterator[ListEntry]:
        """Everything that is listed and not withdrawn, by hash; a snapshot that blocks nobody."""
        with closing(sqlite3.connect(self._path)) as reader:
            rows = reader.execute(
                "SELECT algorithm, value, list, source, scheme, code, quality FROM entries "
                "WHERE NOT withdrawn ORDER BY algorithm, value, list, source, scheme, code"
            )
            for (algorithm, value, list_name, source), group in groupby(rows, key=lambda row: row[:4]):
                labels = list(group)
                yield ListEntry(
                    hash=HashValue(algorithm=Algorithm(algorithm), value=value),
                    quality=labels[0][6],
                    list_name=list_name,
                    source=source,
                    categories=_categories((source, scheme, code) for *_, scheme, code, _ in labels),
                )

    def withdrawn(self) -> tuple[HashValue, ...]:
        """Every hash that was listed and stands on no list any more."""
        with self._lock:
            rows = self._db.execute(
                "SELECT algorithm, value FROM entries GROUP BY algorithm, value HAVING min(withdrawn) "
                "ORDER BY algorithm, value"
            ).fetchall()
        return tuple(HashValue(algorithm=Algorithm(algorithm), value=value) for algorithm, value in rows)

    def find(self, value: HashValue) -> tuple[Found, ...]:
        """What is listed at this hash or, for a perceptual one, within its algorithm's distance of it.

        Returns:
            At most `MAX_FOUND`, nearest first; withdrawn ones included.
        """
        with self._lock:
            if value.algorithm.is_digest:
                near = [(value, 0)]
            else:
                values, matrix = self._matrix(value.algorithm)
                near = [
                    (HashValue(algorithm=value.algorithm, value=values[row]), distance)
                    for row, distance in within(matrix, value.value, most=MAX_DISTANCE_BITS[value.algorithm])[
                        :MAX_FOUND
                    ]
                ]
            found = (item for listed, distance in near for item in self._on_lists(listed, distance))
            return tuple(found)[:MAX_FOUND]

    def _on_lists(self, listed: HashValue, distance_bits: int) -> Iterator[Found]:
        rows = self._db.execute(
            "SELECT list, version, withdrawn, source, scheme, code FROM entries JOIN lists ON name = list "
            "WHERE algorithm = ? AND value = ? ORDER BY list, withdrawn, source, scheme, code",
            (listed.algorithm, listed.value),
        ).fetchall()
        for (name, version, withdrawn), group in groupby(rows, key=lambda row: row[:3]):
            labels = [row[3:] for row in group]
            yield Found(
                hash=listed,
                distance_bits=distance_bits,
                list_version=f"{name}@{version}",
                sources=tuple(dict.fromkeys(source for source, _, _ in labels)),
                categories=_categories(labels),
                withdrawn=bool(withdrawn),
            )

    def _matrix(self, algorithm: Algorithm) -> tuple[list[bytes], npt.NDArray[np.uint16]]:
        if algorithm not in self._matrices:
            rows = self._db.execute(
                "SELECT DISTINCT value FROM entries WHERE algorithm = ? ORDER BY value", (algorithm,)
            )
            values = [value for (value,) in rows]
            self._matrices[algorithm] = values, pack(values, width_bits=algorithm.width_bits)
        return self._matrices[algorithm]

    def _count(self, name: str) -> int:
        (count,) = self._db.execute(
            "SELECT COUNT(*) FROM (SELECT DISTINCT algorithm, value FROM entries "
            "WHERE list = ? AND NOT withdrawn)",
            (name,),
        ).fetchone()
        return int(count)

    def _distinct(self, column: str, name: str) -> tuple[str, ...]:
        rows = self._db.execute(
            f"SELECT DISTINCT {column} FROM entries WHERE list = ? AND {column} != '' ORDER BY 1",  # noqa: S608
            (name,),
        )
        return tuple(text for (text,) in rows)

    # --- the file ---------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One write transaction: committed when the block ends, rolled back when it raises."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _changed(self, lists: Iterable[str]) -> None:
        self._db.executemany(
            "UPDATE lists SET version = version + 1 WHERE name = ?", [(name,) for name in lists]
        )
        self._matrices.clear()

    def _migrate(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;")
        elif version != _SCHEMA_VERSION:
            raise ConfigurationError(
                f"the practice service's lists are of version {version}, not {_SCHEMA_VERSION}",
                hint="Name an empty data folder, or use the version that made this one.",
            )


_INSERT = (
    "INSERT OR IGNORE INTO entries (algorithm, value, list, source, scheme, code, quality) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)"
)


def _rows(entry: ListEntry) -> list[tuple[object, ...]]:
    labels = [(c.scheme, c.code) for c in entry.categories] or [("", "")]
    return [
        (entry.hash.algorithm, entry.hash.value, entry.list_name, entry.source, *label, entry.quality)
        for label in labels
    ]


def _categories(labels: Iterable[tuple[str, str, str]]) -> tuple[Category, ...]:
    return tuple(
        Category(scheme=scheme, code=code, source=source) for source, scheme, code in labels if scheme
    )


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
