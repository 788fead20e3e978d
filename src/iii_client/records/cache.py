"""The cache: fingerprints of bytes that were seen before, and the service's answers while they hold.

    SHA-256, recipe, limits ──► fingerprint, and the key under which it was last "no match"
    endpoint, hash          ──► answer (answers.py)

`cache.db` holds nothing that is evidence. It may be deleted at any time, it is kept under a size, and
whatever is wrong with it costs a second look at a file and never an answer (`cache_file.py`).

Promises: a fingerprint is found by SHA-256 only, never by MD5 or SHA-1, for which somebody can make a twin of
a harmless file; one that could come out otherwise next time is not kept; none is older than the retention.
"""

import hashlib
import logging
import sqlite3
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

from iii_client import __version__
from iii_client.config import MIB, Config, Limits
from iii_client.errors import RecordError
from iii_client.model import UNSCANNABLE_REASONS, Algorithm, Fingerprint, HashValue, ReleaseId, Remembered
from iii_client.records import answers
from iii_client.records.cache_file import CacheFile, sealed, unsealed
from iii_client.records.fingerprint_codec import decode_fingerprint, encode_fingerprint
from iii_client.records.store import as_ms, utc_now
from iii_client.records.write_behind import WriteBehind, in_background

logger = logging.getLogger(__name__)

#: Of the tables below and of what is in their rows. Another version's file is made anew.
VERSION = 1
_TABLES = (
    # Numbers grow with each write, so the smallest is the oldest.
    "CREATE TABLE IF NOT EXISTS fingerprint (number INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE,"
    " at_ms INTEGER NOT NULL, row BLOB NOT NULL) STRICT",
    *answers.TABLES,
)

#: After so many writes of a process it tidies up, and then drops at most so many rows of each kind: twice as
#: many as were written, so that it catches up, and few enough that nobody waits for it.
TIDY_EVERY = 256
_TIDY_ROWS = 512

#: Longest key of a "no match", in bytes.
_MAX_NO_MATCH_KEY = 1000


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is to be written of one item, and when it was seen."""

    remembered: Remembered
    at_ms: int


class Cache:
    """Fingerprints and answers in one deletable file. Thread-safe, also after a fork.

    Fits `protocols.Memory`.

    Args:
        path: of the file, by convention `cache.db` in the state directory.
        limits: under which the fingerprints are made; others may come out otherwise.
        max_mib: size that the file is kept under, about.
        keep_days: fingerprints that were not seen for so many days are forgotten: they are personal data.
        clock: aware.
        start: how a write of fingerprints is begun.
    """

    def __init__(
        self,
        path: Path,
        *,
        limits: Limits,
        max_mib: int = 512,
        keep_days: int = 30,
        clock: Callable[[], datetime] = utc_now,
        start: Callable[[Callable[[], None]], None] = in_background,
    ) -> None:
        self._file = CacheFile(path, version=VERSION, tables=_TABLES)
        self._limits = limits
        self._max_bytes = max_mib * MIB
        self._keep = timedelta(days=keep_days)
        self._clock = clock
        self._pending = WriteBehind[_Seen](self._write, start=start)
        self._scopes: dict[str, bytes] = {}
        self._writes = 0

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """The cache of a state directory."""
        return cls(
            config.state_dir / "cache.db",
            limits=config.limits,
            max_mib=config.records.cache_mib,
            keep_days=config.records.keep_days,
        )

    def recall(self, sha256: HashValue, *, recipe: str) -> Remembered | None:
        """What is known about these exact bytes. Never raises.

        Args:
            sha256: of the bytes.
            recipe: `Recipe.id`.

        Raises:
            ValueError: another algorithm than SHA-256.
        """
        key = self._key(sha256, recipe)
        pending = self._pending.get(key)
        if pending is not None and pending.remembered.no_match_key:
            return pending.remembered
        # What is pending without such a key does not replace what is written with one.
        written = self._written(key, sha256, recipe)
        return written if written is not None or pending is None else pending.remembered

    def remember(self, fingerprint: Fingerprint) -> None:
        """Keep a fingerprint, if it may be kept and is not known yet. Never raises."""
        self._put(fingerprint, no_match_key="")

    def remember_no_match(self, fingerprint: Fingerprint, *, key: str) -> None:
        """Keep a fingerprint, and under which key "no match" was concluded for it. Never raises.

        Args:
            key: all that the conclusion rests on beside bytes, recipe and limits: the release, the version
                of the policy, the views.
        """
        self._put(fingerprint, no_match_key=key)

    def answers(self, endpoint: str, release: Callable[[], ReleaseId]) -> answers.Answers:
        """A memory of what one service answered.

        Args:
            endpoint: names the service and the account, see `service.endpoint_of`.
            release: the filter of this moment; negative answers are dropped with their release.
        """
        return answers.Answers(self._file, endpoint=endpoint, release=release, clock=self._clock)

    def size_bytes(self) -> int:
        """What it takes on disk."""
        return self._file.size_bytes()

    def forget_before(self, moment: datetime) -> int:
        """Erase every fingerprint that was not seen since. Returns how many."""
        self.flush()

        def erase(db: sqlite3.Connection) -> int:
            erased = db.execute("DELETE FROM fingerprint WHERE at_ms < ?", (as_ms(moment),)).rowcount
            # The log, too, holds what was written lately.
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return erased

        return self._file.use(erase, otherwise=0)

    def forget_all(self) -> None:
        """Erase the whole cache."""
        self._pending.clear()
        self._file.remove()

    def flush(self) -> None:
        """Write what this process remembers and has not written yet."""
        self._pending.flush()

    def close(self) -> None:
        """Write what is pending and close this process's connection; the next use opens another."""
        self.flush()
        self._file.close()

    def _key(self, sha256: HashValue, recipe: str) -> bytes:
        if sha256.algorithm is not Algorithm.SHA256:
            raise ValueError(f"a cache key is a SHA-256, not {sha256.algorithm}")
        scope = self._scopes.get(recipe)
        if scope is None:
            # With the library's version: a later one may know the type of a file that this one does not.
            scope = hashlib.sha256(f"{recipe}\n{self._limits}\n{__version__}".encode()).digest()[:8]
            self._scopes[recipe] = scope
        return sha256.value + scope

    def _put(self, fingerprint: Fingerprint, *, no_match_key: str) -> None:
        if not may_be_kept(fingerprint):
            return
        key = self._key(fingerprint.digest(Algorithm.SHA256), fingerprint.recipe)
        if not no_match_key and self._pending.get(key) is not None:
            return
        remembered = Remembered(fingerprint=fingerprint, no_match_key=no_match_key, recalled=True)
        self._pending.put(key, _Seen(remembered, as_ms(self._clock())))

    def _written(self, key: bytes, sha256: HashValue, recipe: str) -> Remembered | None:
        row = self._file.use(lambda db: db.execute(_SELECT, (key,)).fetchone(), otherwise=None)
        seen = None if row is None else _unpack(key, row[0])
        if seen is None:
            return None
        # One from the future was written by a clock that was wrong: its age is not known.
        age = timedelta(milliseconds=as_ms(self._clock()) - seen.at_ms)
        fingerprint = seen.remembered.fingerprint
        is_this = fingerprint.recipe == recipe and sha256 in fingerprint.digests
        return seen.remembered if is_this and timedelta(0) <= age <= self._keep else None

    def _write(self, entries: Mapping[bytes, "_Seen"]) -> None:
        """One batch, in one transaction."""
        new: list[tuple[bytes, int, bytes]] = []
        replacing: list[tuple[bytes, int, bytes]] = []
        for key, seen in entries.items():
            try:
                row = _pack(key, seen)
            except ValueError as error:
                # Its text may quote what cannot be stored.
                logger.info("a fingerprint is not kept: %s", type(error).__name__)
                continue
            (replacing if seen.remembered.no_match_key else new).append((key, seen.at_ms, row))
        oldest_ms = as_ms(self._clock() - self._keep)

        def work(db: sqlite3.Connection) -> None:
            db.executemany(_INSERT_NEW, [(*row, oldest_ms) for row in new])
            db.executemany(_REPLACE, replacing)

        self._file.write(work)
        self._writes += len(entries)
        if self._writes >= TIDY_EVERY:
            self._writes = 0
            self._file.use(self._tidy, otherwise=None)

    def _tidy(self, db: sqlite3.Connection) -> None:
        now = self._clock()
        db.execute(
            "DELETE FROM fingerprint WHERE at_ms < ? AND number IN"
            " (SELECT number FROM fingerprint ORDER BY number LIMIT ?)",
            (as_ms(now - self._keep), _TIDY_ROWS),
        )
        answers.tidy(db, now=now, at_most=_TIDY_ROWS)
        pages, free, page_bytes = (
            db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        if (pages - free) * page_bytes > self._max_bytes:
            db.execute(
                "DELETE FROM fingerprint WHERE number IN"
                " (SELECT number FROM fingerprint ORDER BY number LIMIT ?)",
                (_TIDY_ROWS,),
            )


#: Of a row: when it was seen, in milliseconds since 1970, and the length of the key of "no match".
_HEAD = struct.Struct(">qH")

_SELECT = "SELECT row FROM fingerprint WHERE key = ?"
#: One that is too old to be found is not known any more.
_INSERT_NEW = (
    "INSERT INTO fingerprint (key, at_ms, row) VALUES (?, ?, ?)"
    " ON CONFLICT (key) DO UPDATE SET at_ms = excluded.at_ms, row = excluded.row WHERE at_ms < ?"
)
_REPLACE = "INSERT OR REPLACE INTO fingerprint (key, at_ms, row) VALUES (?, ?, ?)"


def may_be_kept(fingerprint: Fingerprint) -> bool:
    """Whether the same bytes would give the same fingerprint at any other time.

    What could not be looked at might be next time: a decoder that was killed or timed out, an extra that was
    not installed, a disk that was full.
    """
    looked_at = all(skip.reason not in UNSCANNABLE_REASONS for skip in fingerprint.skipped)
    return looked_at and any(d.algorithm is Algorithm.SHA256 for d in fingerprint.digests)


def _pack(key: bytes, seen: _Seen) -> bytes:
    """When it was seen, the key of "no match" behind its length, the fingerprint; sealed."""
    text = seen.remembered.no_match_key.encode("utf-8")
    if len(text) > _MAX_NO_MATCH_KEY:
        raise ValueError(f"a key of {len(text)} bytes; at most {_MAX_NO_MATCH_KEY}")
    body = _HEAD.pack(seen.at_ms, len(text)) + text + encode_fingerprint(seen.remembered.fingerprint)
    return sealed(key, body)


def _unpack(key: bytes, row: object) -> _Seen | None:
    """The inverse of `_pack`; None for a row that is damaged."""
    body = unsealed(key, row)
    if body is None:
        logger.warning("a row of the cache is damaged: it is not used")
        return None
    try:
        at_ms, length = _HEAD.unpack_from(body)
        end = _HEAD.size + length
        fingerprint = decode_fingerprint(body[end:])
        no_match_key = body[_HEAD.size : end].decode("utf-8")
    except (RecordError, UnicodeDecodeError, struct.error):
        logger.warning("a row of the cache cannot be read: it is not used")
        return None
    return _Seen(Remembered(fingerprint=fingerprint, no_match_key=no_match_key, recalled=True), at_ms)
