"""The catalogue: every list that a publisher holds, deduplicated and linked, in one SQLite file.

Promises: what was added is there after a crash; adding it again changes nothing; a hash on two lists keeps
both sources and all categories; a list's version grows with each change of it; what is withdrawn by
decision stays withdrawn when the same delivery comes again; what a complete delivery merely leaves out
comes back with the next one that has it. The file is the lists in the clear: mode 0600, among the
publisher's private files.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from enum import IntEnum
from itertools import groupby
from pathlib import Path

from iii_client.errors import ConfigurationError, PublishError
from iii_client.model import Algorithm, Category, HashValue, ListKind
from iii_client.publisher.catalogue_file import BUSY_TIMEOUT_S, named_errors, open_catalogue, transaction
from iii_client.publisher.lists import ListEntry

#: Hashes of one picture on one list. Digests, a few perceptual hashes; more is a delivery that names
#: everything alike, and a withdrawal would take all of it.
MAX_ITEM_HASHES = 16
#: Hashes that are linked over any number of lists.
MAX_LINKED = 64
#: A complete delivery that leaves out more of a list than this share is refused: half a file looks like a
#: delivery, too, and everything in the other half would be found no more.
MAX_DROPPED_RATIO = 0.1

#: Rows between two calls of `progress`.
PROGRESS_EVERY = 10_000

#: Algorithm, value, list, source, scheme and code of a row.
_Key = tuple[str, bytes, str, str, str, str]


class _Standing(IntEnum):
    """Whether an entry stands, in the column `withdrawn`."""

    LISTED = 0
    #: By decision; stays whatever is delivered.
    WITHDRAWN = 1
    #: Left out by a complete delivery of its list.
    DROPPED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ListInfo:
    """One list, as it is now. An entry is a distinct hash."""

    name: str
    kind: ListKind
    version: int
    entries: int
    sources: tuple[str, ...]
    category_schemes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One hash on one list.

    Attributes:
        list_name, list_version: the list.
        sources, categories: as listed.
        withdrawn: it was listed once and is no more.
    """

    list_name: str
    list_version: int
    sources: tuple[str, ...]
    categories: tuple[Category, ...]
    withdrawn: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What adding did, in rows of a hash, list, source and category.

    Attributes:
        read: entries of the delivery.
        new: rows that did not stand before.
        dropped: rows that stand no more, because a complete delivery leaves them out.
        lists: names of the lists that changed, in order.
    """

    read: int
    new: int
    dropped: int
    lists: tuple[str, ...]


class Catalogue:
    """The lists in one file, created when it is not there. Thread-safe; one process at a time changes it.

    Args:
        path: the file.
        busy_timeout_s: how long another process's change is waited for.

    Raises:
        ConfigurationError: the file is none of ours, or of another version.
    """

    def __init__(self, path: Path, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._db = open_catalogue(path, busy_timeout_s=busy_timeout_s)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # --- changing ---------------------------------------------------------------------------------------

    def add(
        self,
        entries: Iterable[ListEntry],
        *,
        kind: ListKind | None = ListKind.OTHER,
        complete: bool = False,
        most_dropped: float = MAX_DROPPED_RATIO,
        progress: Callable[[int], None] = lambda _: None,
    ) -> Added:
        """Add entries, all or (when anything raises) none.

        Args:
            entries: what to list; each names its list.
            kind: of lists that are new; None refuses new lists.
            complete: each list that is named here is here as a whole: what else it held stands no more.
            most_dropped: share of a list that a complete delivery may leave out.
            progress: told the number of entries so far, now and then.

        Raises:
            ConfigurationError: a list is new and no kind was given.
            PublishError: a complete delivery leaves out too much, or too many hashes are of one picture.
        """
        read = new = dropped = 0
        changed: set[str] = set()
        known: set[str] = set()
        with self._lock, transaction(self._db):
            # Of the lists, not of the entries: that would look at every one of them.
            (delivery,) = self._db.execute("SELECT coalesce(max(delivery), 0) + 1 FROM lists").fetchone()
            for entry in entries:
                read += 1
                if read % PROGRESS_EVERY == 0:
                    progress(read)
                if entry.list_name not in known:
                    self._know(entry.list_name, kind, delivery)
                    known.add(entry.list_name)
                added = sum(self._put(key, entry.quality, delivery) for key in _keys(entry))
                linked = self._link(entry) if entry.item else False
                new += added
                if added or linked:
                    changed.add(entry.list_name)
            if complete:
                for name in sorted(known):
                    gone = self._drop(name, delivery, most_dropped)
                    if gone:
                        dropped += gone
                        changed.add(name)
            self._changed(changed)
        return Added(read=read, new=new, dropped=dropped, lists=tuple(sorted(changed)))

    def set_kind(self, list_name: str, kind: ListKind) -> None:
        """Say what a list is about.

        Raises:
            ConfigurationError: there is no such list.
        """
        with self._lock, transaction(self._db):
            found = self._db.execute("UPDATE lists SET kind = ? WHERE name = ?", (kind, list_name)).rowcount
        if not found:
            raise ConfigurationError(f"there is no list '{list_name}'")

    def withdraw(self, value: HashValue, *, linked: bool = False) -> int:
        """Take a hash off every list, by decision: it stays off.

        Args:
            value: the hash.
            linked: the other hashes of the same picture, too.

        Returns:
            How many hashes stood on a list and stand on none any more.

        Raises:
            PublishError: more hashes are linked to it than one picture has.
        """
        with self._lock, transaction(self._db):
            where = "WHERE algorithm = ? AND value = ? AND withdrawn != 1"
            lists: set[str] = set()
            withdrawn = 0
            for one in self.linked(value) if linked else (value,):
                key = (one.algorithm, one.value)
                named = {name for (name,) in self._db.execute(f"SELECT list FROM entries {where}", key)}  # noqa: S608
                self._db.execute(f"UPDATE entries SET withdrawn = 1 {where}", key)  # noqa: S608
                withdrawn += bool(named)
                lists |= named
            self._changed(lists)
        return withdrawn

    # --- asking -----------------------------------------------------------------------------------------

    @named_errors()
    def lists(self) -> tuple[ListInfo, ...]:
        """Every list, by name."""
        with self._lock:
            rows = self._db.execute("SELECT name, kind, version FROM lists ORDER BY name").fetchall()
            return tuple(
                ListInfo(
                    name=name,
                    kind=ListKind(kind),
                    version=version,
                    entries=self._count(name),
                    sources=self._distinct("source", name),
                    category_schemes=self._distinct("scheme", name),
                )
                for name, kind, version in rows
            )

    @named_errors()
    def kinds(self) -> Mapping[str, ListKind]:
        """The kind of each list, by name."""
        with self._lock:
            return {name: ListKind(kind) for name, kind in self._db.execute("SELECT name, kind FROM lists")}

    def entries(self, *, with_items: bool = False) -> Iterator[ListEntry]:
        """Everything that is listed, by hash; a snapshot that blocks nobody.

        Args:
            with_items: say which hashes are of one picture, which takes a look-up each.
        """
        with named_errors(), closing(sqlite3.connect(self._path)) as reader:
            rows = reader.execute(
                "SELECT algorithm, value, list, source, scheme, code, quality FROM entries "
                "WHERE NOT withdrawn ORDER BY algorithm, value, list, source, scheme, code"
            )
            for (algorithm, value, list_name, source), group in groupby(rows, key=lambda row: row[:4]):
                labels = list(group)
                yield ListEntry(
                    hash=HashValue(algorithm=Algorithm(algorithm), value=value),
                    quality=max(row[6] for row in labels),
                    list_name=list_name,
                    source=source,
                    categories=_categories((source, scheme, code) for *_, scheme, code, _ in labels),
                    item=_item_of(reader, list_name, algorithm, value) if with_items else "",
                )

    @named_errors()
    def values(self, algorithm: Algorithm) -> list[bytes]:
        """Every hash of one algorithm that is or was listed, ascending."""
        with self._lock:
            rows = self._db.execute(
                "SELECT DISTINCT value FROM entries WHERE algorithm = ? ORDER BY value", (algorithm,)
            )
            return [value for (value,) in rows]

    @named_errors()
    def withdrawn(self) -> tuple[HashValue, ...]:
        """Every hash that was listed and stands on no list any more."""
        with self._lock:
            rows = self._db.execute(
                "SELECT algorithm, value FROM entries GROUP BY algorithm, value HAVING min(withdrawn) > 0 "
                "ORDER BY algorithm, value"
            ).fetchall()
        return tuple(HashValue(algorithm=Algorithm(algorithm), value=value) for algorithm, value in rows)

    @named_errors()
    def listings(self, value: HashValue) -> tuple[Listing, ...]:
        """Where a hash stands or stood, by list."""
        with self._lock:
            rows = self._db.execute(
                "SELECT list, version, withdrawn != 0, source, scheme, code FROM entries "
                "JOIN lists ON name = list WHERE algorithm = ? AND value = ? "
                "ORDER BY list, withdrawn != 0, source, scheme, code",
                (value.algorithm, value.value),
            ).fetchall()
        found = []
        for (name, version, withdrawn), group in groupby(rows, key=lambda row: row[:3]):
            labels = [row[3:] for row in group]
            found.append(
                Listing(
                    list_name=name,
                    list_version=version,
                    sources=tuple(dict.fromkeys(source for source, _, _ in labels)),
                    categories=_categories(labels),
                    withdrawn=bool(withdrawn),
                )
            )
        return tuple(found)

    @named_errors()
    def linked(self, value: HashValue) -> tuple[HashValue, ...]:
        """The hashes of the same picture, as all lists together say; the asked one first.

        Raises:
            PublishError: more than `MAX_LINKED`: a list links what is not one picture.
        """
        found = {value: None}
        with self._lock:
            for one in (queue := [value]):
                rows = self._db.execute(
                    "SELECT other.algorithm, other.value FROM links AS here JOIN links AS other "
                    "USING (list, item) WHERE here.algorithm = ? AND here.value = ? ORDER BY 1, 2",
                    (one.algorithm, one.value),
                )
                for algorithm, other in rows.fetchall():
                    linked = HashValue(algorithm=Algorithm(algorithm), value=other)
                    if linked not in found:
                        found[linked] = None
                        queue.append(linked)
                if len(found) > MAX_LINKED:
                    raise PublishError(
                        f"more than {MAX_LINKED} hashes are linked as those of one picture",
                        hint="A list links what does not belong together; withdraw hash by hash.",
                    )
        return tuple(found)

    # --- the file ---------------------------------------------------------------------------------------

    def _know(self, list_name: str, kind: ListKind | None, delivery: int) -> None:
        known = self._db.execute("UPDATE lists SET delivery = ? WHERE name = ?", (delivery, list_name))
        if known.rowcount:
            return
        if kind is None:
            raise ConfigurationError(
                f"the list '{list_name}' is new, and nothing says what it is about",
                hint=f"Say so with --kind: {', '.join(k for k in ListKind if k is not ListKind.TEST)}.",
            )
        self._db.execute(
            "INSERT INTO lists (name, kind, version, delivery) VALUES (?, ?, 0, ?)",
            (list_name, kind, delivery),
        )

    def _put(self, key: _Key, quality: int, delivery: int) -> bool:
        """Let a row stand; returns whether something is new."""
        if self._db.execute(_INSERT, (*key, quality, delivery)).rowcount:
            return True
        (standing, known_quality) = self._db.execute(_SELECT, key).fetchone()
        back = _Standing.LISTED if standing == _Standing.DROPPED else standing
        # Where deliveries disagree about quality the highest counts, as it does between lists.
        self._db.execute(_UPDATE, (delivery, back, max(quality, known_quality), *key))
        return bool(standing == _Standing.DROPPED or quality > known_quality)

    def _link(self, entry: ListEntry) -> bool:
        key = (entry.list_name, entry.item)
        row = (*key, entry.hash.algorithm, entry.hash.value)
        is_new = self._db.execute("INSERT OR IGNORE INTO links VALUES (?, ?, ?, ?)", row).rowcount > 0
        if is_new:
            (count,) = self._db.execute(
                "SELECT count(*) FROM links WHERE list = ? AND item = ?", key
            ).fetchone()
            if count > MAX_ITEM_HASHES:
                raise PublishError(
                    f"more than {MAX_ITEM_HASHES} hashes of the list '{entry.list_name}' are of one item",
                    hint="An item is one picture. Leave the column out when the list does not tell pictures.",
                )
        return is_new

    def _drop(self, list_name: str, delivery: int, most_dropped: float) -> int:
        where = "WHERE list = ? AND NOT withdrawn"
        (listed, gone) = self._db.execute(
            f"SELECT count(*), coalesce(sum(delivery < ?), 0) FROM entries {where}",  # noqa: S608
            (delivery, list_name),
        ).fetchone()
        if gone > most_dropped * listed:
            raise PublishError(
                f"the delivery leaves out {gone} of {listed} entries of the list '{list_name}', at most "
                f"{most_dropped:.0%} may be",
                hint="Ask its source whether the delivery is whole. If so, allow it with --most-dropped.",
            )
        self._db.execute(
            f"UPDATE entries SET withdrawn = {_Standing.DROPPED:d} {where} AND delivery < ?",  # noqa: S608
            (list_name, delivery),
        )
        return int(gone)

    def _count(self, name: str) -> int:
        (count,) = self._db.execute(
            "SELECT count(*) FROM (SELECT DISTINCT algorithm, value FROM entries "
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

    def _changed(self, lists: Iterable[str]) -> None:
        self._db.executemany(
            "UPDATE lists SET version = version + 1 WHERE name = ?", [(name,) for name in lists]
        )


_INSERT = (
    "INSERT OR IGNORE INTO entries (algorithm, value, list, source, scheme, code, quality, delivery) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_KEY = "WHERE algorithm = ? AND value = ? AND list = ? AND source = ? AND scheme = ? AND code = ?"
_SELECT = f"SELECT withdrawn, quality FROM entries {_KEY}"  # noqa: S608
_UPDATE = f"UPDATE entries SET delivery = ?, withdrawn = ?, quality = ? {_KEY}"  # noqa: S608


def _keys(entry: ListEntry) -> list[_Key]:
    labels = [(c.scheme, c.code) for c in entry.categories] or [("", "")]
    return [
        (entry.hash.algorithm, entry.hash.value, entry.list_name, entry.source, *label) for label in labels
    ]


def _categories(labels: Iterable[tuple[str, str, str]]) -> tuple[Category, ...]:
    return tuple(
        Category(scheme=scheme, code=code, source=source) for source, scheme, code in labels if scheme
    )


def _item_of(reader: sqlite3.Connection, list_name: str, algorithm: str, value: bytes) -> str:
    row = reader.execute(
        "SELECT min(item) FROM links WHERE algorithm = ? AND value = ? AND list = ?",
        (algorithm, value, list_name),
    ).fetchone()
    return row[0] or ""
