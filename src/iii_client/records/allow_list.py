"""The allow-list: digests that this hoster knows to be good, each with a reason and an author.

What stands on it is let through whatever lists say, and nobody is asked about it: a disputed hash stops
hurting at once. Digests of exact bytes only. A perceptual hash would excuse every picture that looks like it,
and a picture with a chosen perceptual hash is easy to make.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from iii_client.errors import ConfigurationError
from iii_client.model import Algorithm, HashValue
from iii_client.records.audit import append_audit
from iii_client.records.operators import Operators
from iii_client.records.store import Row, Store, as_text, storable, utc_now

#: Longest reason that is kept, in characters.
_MAX_REASON = 500
#: As much of a digest as the audit log holds: enough to find the entry, too little to find the file.
_AUDITED_HEX_DIGITS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedDigest:
    """One entry.

    Attributes:
        digest: of the exact bytes.
        reason: why it is known to be good; free text, kept locally.
        by: who said so.
        at: when, aware.
    """

    digest: HashValue
    reason: str
    by: Operators
    at: datetime


class AllowList:
    """The allow-list of one store. Fits `protocols.AllowList`.

    Args:
        store: where it lies.
        clock: aware.
    """

    def __init__(self, store: Store, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._clock = clock

    def allowed(self, digests: Sequence[HashValue]) -> frozenset[HashValue]:
        """Those of the digests that are on the list.

        Raises:
            RecordError: the list cannot be read.
        """
        if not digests:
            return frozenset()
        with self._store.reading() as tx:
            return frozenset(
                digest
                for digest in digests
                if tx.query(
                    "SELECT 1 FROM allowed WHERE algorithm = :algorithm AND value = :value",
                    algorithm=digest.algorithm.value,
                    value=digest.value,
                )
            )

    def add(self, digest: HashValue, *, reason: str, by: Operators) -> bool:
        """Put a digest on the list, with an entry in the audit log.

        Returns:
            Whether it is new; an entry that is there keeps its reason and its author.

        Raises:
            ConfigurationError: no digest, or no reason.
            RecordError: it could not be stored.
        """
        if not digest.algorithm.is_digest:
            raise not_a_digest(digest.algorithm)
        if not reason.strip():
            raise ConfigurationError(
                "an entry of the allow-list needs a reason",
                hint="Say how you know that it is good: whoever reviews it next year must be able to tell.",
            )
        now = self._clock()
        with self._store.transaction() as tx:
            added = tx.execute(
                "INSERT INTO allowed (algorithm, value, reason, author, second_author, at)"
                " VALUES (:algorithm, :value, :reason, :operator, :second_operator, :at)"
                " ON CONFLICT (algorithm, value) DO NOTHING",
                algorithm=digest.algorithm.value,
                value=digest.value,
                reason=storable(reason)[:_MAX_REASON],
                at=as_text(now),
                **by.named,
            )
            if added:
                append_audit(tx, "allow_added", _audited(digest, reason, by), now=now)
        return bool(added)

    def remove(self, digest: HashValue, *, reason: str = "", by: Operators) -> bool:
        """Take a digest off the list, with an entry in the audit log.

        Returns:
            Whether it was there.

        Raises:
            RecordError: it could not be stored.
        """
        now = self._clock()
        with self._store.transaction() as tx:
            removed = tx.execute(
                "DELETE FROM allowed WHERE algorithm = :algorithm AND value = :value",
                algorithm=digest.algorithm.value,
                value=digest.value,
            )
            if removed:
                append_audit(tx, "allow_removed", _audited(digest, reason, by), now=now)
        return bool(removed)

    def entries(self) -> tuple[AllowedDigest, ...]:
        """The whole list, oldest first.

        Raises:
            RecordError: it cannot be read.
        """
        with self._store.transaction() as tx:
            rows = tx.query(
                "SELECT algorithm, value, reason, author, second_author, at FROM allowed"
                " ORDER BY at, algorithm, value"
            )
        return tuple(map(_entry, rows))


def not_a_digest(algorithm: Algorithm) -> ConfigurationError:
    """The refusal of a perceptual hash, which says why."""
    return ConfigurationError(
        f"{algorithm} is a perceptual hash; the allow-list takes digests of exact bytes",
        hint="A perceptual hash would let through every picture that looks like it, and such a picture is "
        "easy to make. Give the SHA-256 of the file, or the file itself.",
    )


def _audited(digest: HashValue, reason: str, by: Operators) -> dict[str, str]:
    return {
        "algorithm": digest.algorithm.value,
        "digest_starts": digest.hex[:_AUDITED_HEX_DIGITS],
        "reason": storable(reason)[:_MAX_REASON],
        **by.named,
    }


def _entry(row: Row) -> AllowedDigest:
    algorithm, value, reason, author, second, at = row
    return AllowedDigest(
        digest=HashValue(algorithm=Algorithm(algorithm), value=bytes(value)),
        reason=reason,
        by=Operators(first=author, second=second),
        at=datetime.fromisoformat(at),
    )
