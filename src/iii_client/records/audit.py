"""The audit log: append-only and hash-chained, so that a change to what was written shows.

Each row's digest is SHA-256 over the digest before it and the row's own text. Whoever can write the
database can also write the chain anew: it is evidence only against a head that was exported before.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime

from iii_client.errors import RecordError
from iii_client.records.store import Transaction, as_text

Detail = str | int | float | bool | None


def append_audit(tx: Transaction, kind: str, body: Mapping[str, Detail], *, now: datetime) -> int:
    """Chain one entry to the log and return its number, from 1.

    Args:
        tx: the transaction that it becomes part of.
        kind: what happened, e.g. `decision`.
        body: plain values, no hashes, no names of files or uploaders.
        now: aware.

    Raises:
        RecordError: the log cannot be gone on with.
    """
    # Taking the row's lock first gives concurrent writers an order on PostgreSQL; SQLite has one anyway.
    heads = tx.query("UPDATE audit_head SET seq = seq + 1 WHERE id = 1 RETURNING seq, digest")
    if not heads:
        raise RecordError(
            "the head of the audit log is gone: somebody changed the database",
            hint="Keep a copy of it as it is, then: iii-client audit verify.",
        )
    ((seq, previous),) = heads
    at, text = as_text(now), json.dumps(body, sort_keys=True, separators=(",", ":"))
    digest = entry_digest(previous=previous, seq=seq, at=at, kind=kind, body=text)
    tx.insert(
        "audit",
        [{"seq": seq, "at": at, "kind": kind, "body": text, "previous": previous, "digest": digest}],
    )
    tx.execute("UPDATE audit_head SET digest = :digest WHERE id = 1", digest=digest)
    return int(seq)


def entry_digest(*, previous: str, seq: int, at: str, kind: str, body: str) -> str:
    """Digest of one entry, hexadecimal: SHA-256 of a JSON array, which no choice of texts makes ambiguous."""
    return hashlib.sha256(json.dumps([previous, seq, at, kind, body]).encode()).hexdigest()
