"""The service's answers, kept for as long as it said (`cache_s`), in the cache's file.

Promises: an expired answer is no answer, so the service is asked again; "not listed" also ends with the
release of the filter that it was given under; what has no time of its own (v1) is not kept. The key of a row
is a digest of endpoint and hash, so the file does not name the hashes that were asked about.
"""

import hashlib
import json
import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from iii_client.model import Answer, Category, HashValue, Listed, Match, NotListed, ReleaseId, Unanswered
from iii_client.records.cache_file import CacheFile, sealed, unsealed
from iii_client.records.store import as_ms

logger = logging.getLogger(__name__)

TABLES = (
    "CREATE TABLE IF NOT EXISTS answer"
    " (key BLOB PRIMARY KEY, until_ms INTEGER NOT NULL, row BLOB NOT NULL) STRICT",
    "CREATE INDEX IF NOT EXISTS answer_until ON answer (until_ms)",
)


class Answers:
    """Remembers what one service answered. Fits `service.AnswerMemory`; made by `Cache.answers`."""

    def __init__(
        self,
        file: CacheFile,
        *,
        endpoint: str,
        release: Callable[[], ReleaseId],
        clock: Callable[[], datetime],
    ) -> None:
        self._file = file
        self._endpoint = endpoint
        self._release = release
        self._clock = clock

    def recall(self, hashes: Sequence[HashValue]) -> Mapping[HashValue, Answer]:
        """Answers that still hold. Never raises."""
        keys = {value: self._key(value) for value in hashes}
        none: dict[HashValue, object] = {}
        rows = self._file.use(lambda db: _fetch(db, keys), otherwise=none)
        if not rows:
            return {}
        now_ms, release = as_ms(self._clock()), str(self._release())
        found = {
            value: _unpack(keys[value], row, value, now_ms=now_ms, release=release)
            for value, row in rows.items()
        }
        return {value: answer for value, answer in found.items() if answer is not None}

    def remember(self, answers: Sequence[Answer]) -> None:
        """Keep those that the service gave a time for. Never raises."""
        kept = [a for a in answers if not isinstance(a, Unanswered) and a.cache_s > 0]
        if not kept:
            return
        now_ms, release = as_ms(self._clock()), str(self._release())
        rows = []
        for answer in kept:
            key = self._key(answer.hash)
            body = _pack(answer, at_ms=now_ms, release=release)
            rows.append((key, now_ms + answer.cache_s * 1000, sealed(key, body)))
        statement = "INSERT OR REPLACE INTO answer (key, until_ms, row) VALUES (?, ?, ?)"
        self._file.use(lambda db: db.executemany(statement, rows), otherwise=None)

    def _key(self, value: HashValue) -> bytes:
        named = b"\0".join((self._endpoint.encode(), value.algorithm.value.encode(), value.value))
        return hashlib.sha256(named).digest()


def tidy(db: sqlite3.Connection, *, now: datetime, at_most: int) -> None:
    """Drop answers that have expired, the oldest first."""
    db.execute(
        "DELETE FROM answer WHERE key IN"
        " (SELECT key FROM answer WHERE until_ms < ? ORDER BY until_ms LIMIT ?)",
        (as_ms(now), at_most),
    )


def _fetch(db: sqlite3.Connection, keys: Mapping[HashValue, bytes]) -> dict[HashValue, object]:
    found: dict[HashValue, object] = {}
    for value, key in keys.items():
        row = db.execute("SELECT row FROM answer WHERE key = ?", (key,)).fetchone()
        if row is not None:
            found[value] = row[0]
    return found


def _pack(answer: Listed | NotListed, *, at_ms: int, release: str) -> bytes:
    body: dict[str, Any] = {"at_ms": at_ms, "until_ms": at_ms + answer.cache_s * 1000, "release": release}
    if isinstance(answer, NotListed):
        body["withdrawn"] = answer.withdrawn
    else:
        body["matches"] = [
            [
                match.distance_bits,
                match.exact,
                match.sources,
                [[c.scheme, c.code, c.source] for c in match.categories],
                match.list_version,
            ]
            for match in answer.matches
        ]
    return json.dumps(body, separators=(",", ":")).encode()


def _unpack(key: bytes, row: object, value: HashValue, *, now_ms: int, release: str) -> Answer | None:
    """The answer, if it is whole and still holds."""
    body = unsealed(key, row)
    if body is None:
        logger.warning("a remembered answer is damaged: it is not used")
        return None
    # The checksum holds, so this version wrote it.
    kept = json.loads(body)
    # A clock that was set back must not make answers last longer than the service said.
    if not kept["at_ms"] <= now_ms < kept["until_ms"]:
        return None
    cache_s = (kept["until_ms"] - now_ms) // 1000
    if "withdrawn" in kept:
        if kept["release"] != release:
            return None
        return NotListed(hash=value, withdrawn=kept["withdrawn"], cache_s=cache_s)
    matches = tuple(
        Match(
            hash=value,
            distance_bits=distance_bits,
            exact=exact,
            sources=tuple(sources),
            categories=tuple(Category(scheme=s, code=c, source=o) for s, c, o in categories),
            list_version=list_version,
        )
        for distance_bits, exact, sources, categories, list_version in kept["matches"]
    )
    return Listed(hash=value, matches=matches, cache_s=cache_s)
