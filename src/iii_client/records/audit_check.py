"""Whether the audit log is what was written: every digest, every link, and a head that was exported before.

Whoever can write the database can also write the whole chain anew, or cut off its end. Neither shows from
within. What shows it is a head kept elsewhere: the entry that it names must still be there, with its digest.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from iii_client.errors import RecordError
from iii_client.records import places
from iii_client.records.audit import entry_digest
from iii_client.records.store import Row, Store, as_text

#: Entries of one read. Each is a view of its own, so that a long check keeps no old versions of rows alive.
BATCH = 1000
#: Longest file that is read as a head.
_MAX_HEAD_BYTES = 4096
_DIGEST = re.compile(r"[0-9a-f]{64}")
_VERSION = 1
_HEAD_NAME = "audit-head-"
#: Heads that are read at most: more than two years of daily ones.
_MAX_HEADS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditHead:
    """The end of the log at one moment.

    Attributes:
        seq: number of the last entry; 0 for an empty log.
        digest: of that entry, hexadecimal; empty for an empty log.
    """

    seq: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What a check found.

    Attributes:
        entries: how many were checked and found whole, from the first on.
        head: where the log ends.
        broken_at: number of the first entry that is not what was written; None when there is none.
        why: what is wrong with it, for a person; empty when nothing is.
    """

    entries: int
    head: AuditHead
    broken_at: int | None = None
    why: str = ""


def audit_head(store: Store) -> AuditHead:
    """Where the log ends now."""
    with store.reading() as tx:
        heads = tx.query("SELECT seq, digest FROM audit_head WHERE id = 1")
    # Somebody who deleted it wants an empty log: its entries, if there are any, will speak against that.
    seq, digest = heads[0] if heads else (0, "")
    return AuditHead(seq=int(seq), digest=digest)


def verify_audit(store: Store, *, exported: Sequence[AuditHead] = ()) -> AuditReport:
    """Walk the whole log.

    Args:
        store: that holds it.
        exported: heads that were kept elsewhere, each to be found again at its place.
    """
    kept: dict[int, set[str]] = {}
    for one in exported:
        kept.setdefault(one.seq, set()).add(one.digest)
    head = audit_head(store)
    seq, digest = 0, ""

    def broken(at: int, why: str) -> AuditReport:
        return AuditReport(entries=at - 1, head=head, broken_at=at, why=why)

    while rows := _read(store, after=seq, up_to=head.seq):
        for row in rows:
            if why := _fault(row, seq=seq + 1, previous=digest):
                return broken(seq + 1, why)
            seq, digest = seq + 1, row[5]
            if kept.get(seq, {digest}) != {digest}:
                return broken(seq, "the entry is another one than when the head was exported")
    if seq < head.seq:
        return broken(seq + 1, "the entry is missing")
    if digest != head.digest:
        return broken(max(seq, 1), "the last entry is not the one that the log's head names")
    if max(kept, default=0) > seq:
        return broken(seq + 1, "the log ends before an exported head: entries were cut off")
    with store.reading() as tx:
        seq_now = tx.query("SELECT max(seq) FROM audit")[0][0] or 0
        # Written since the walk began, or behind the head's back?
        if seq_now > head.seq and [(seq_now,)] != tx.query("SELECT seq FROM audit_head WHERE id = 1"):
            return broken(head.seq + 1, "there is an entry after the log's head")
    return AuditReport(entries=seq, head=head)


def head_to_json(head: AuditHead, *, now: datetime) -> bytes:
    """The file that is kept elsewhere."""
    tree = {"iii_client_audit_head": _VERSION, "seq": head.seq, "digest": head.digest, "at": as_text(now)}
    return json.dumps(tree, indent=1).encode() + b"\n"


def export_head(head: AuditHead, place: str, *, now: datetime) -> str:
    """Write the head as a new file of a folder, bucket or prefix, and return its name.

    Raises:
        RecordError: it cannot be written, or there is one of this second.
    """
    name = f"{_HEAD_NAME}{now:%Y%m%dT%H%M%SZ}-{head.seq}.json"
    places.write_new(places.join(place, name), [head_to_json(head, now=now)])
    return name


def read_head(address: str) -> AuditHead:
    """Read what `export_head` or `audit head --json` wrote: a file or an fsspec address.

    Raises:
        RecordError: it cannot be read, or is something else.
    """
    with places.reading(address) as stream:
        content = stream.read(_MAX_HEAD_BYTES + 1)
    try:
        tree = json.loads(content) if len(content) <= _MAX_HEAD_BYTES else None
    except ValueError:
        tree = None
    if not isinstance(tree, dict) or tree.get("iii_client_audit_head") != _VERSION:
        raise RecordError("not an exported head of the audit log")
    seq, digest = tree.get("seq"), tree.get("digest")
    if not isinstance(seq, int) or isinstance(seq, bool) or seq < 0 or not isinstance(digest, str):
        raise RecordError("not an exported head of the audit log")
    if not _DIGEST.fullmatch(digest) if seq else digest:
        raise RecordError("not an exported head of the audit log")
    return AuditHead(seq=seq, digest=digest)


def read_heads(place: str) -> tuple[AuditHead, ...]:
    """All heads of a folder, bucket or prefix that `export_head` wrote to; or the one of a file.

    Raises:
        RecordError: there is none, or one cannot be read.
    """
    name = place.rstrip("/").rsplit("/", 1)[-1]
    found = () if name.endswith(".json") else places.names(place)
    heads = [entry for entry in found if entry.startswith(_HEAD_NAME) and entry.endswith(".json")]
    if found and not heads:
        raise RecordError("there is no exported head in this place")
    # The last ones are enough: each stands for all that came before it.
    return tuple(read_head(places.join(place, entry)) for entry in heads[-_MAX_HEADS:]) or (read_head(place),)


def _read(store: Store, *, after: int, up_to: int) -> list[Row]:
    with store.reading() as tx:
        return tx.query(
            "SELECT seq, at, kind, body, previous, digest FROM audit"
            " WHERE seq > :after AND seq <= :up_to ORDER BY seq LIMIT :batch",
            after=after,
            up_to=up_to,
            batch=BATCH,
        )


def _fault(row: Row, *, seq: int, previous: str) -> str:
    found, at, kind, body, linked, digest = row
    if found != seq:
        return "the entry is missing"
    if linked != previous:
        return "the entry does not follow the one before it"
    if entry_digest(previous=linked, seq=found, at=at, kind=kind, body=body) != digest:
        return "the entry is not what was written"
    return ""
