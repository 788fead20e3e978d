"""The items of a job that are not plain "no match": one row an item, however often its chunk is done again.

A late answer of the service is a follow-up of the item's encounter, so what is read here is what an item is
now, and not what it was when it was recorded.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from iii_client.model import Outcome, Reason
from iii_client.records.store import Row, Store, Transaction, Value, as_text, storable

#: State of an item that killed whatever worked on it.
FAILED = "failed"
#: States of an item that is not plain.
STATES = (Outcome.MATCHED.value, Outcome.UNCONFIRMED.value, Outcome.UNSCANNABLE.value, FAILED)

#: What an item is now: as recorded, or as a late answer said since.
_NOW = (
    "COALESCE((SELECT f.outcome FROM follow_up f WHERE f.encounter_id = i.encounter_id AND f.outcome <> ''"
    " ORDER BY f.at DESC LIMIT 1), i.outcome)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Exceptions of a job: by state, and how often each reason stands among those still open."""

    states: dict[str, int]
    reasons: dict[str, int]


def count_exceptions(tx: Transaction, job: str) -> Counted:
    """The counts of this moment."""
    rows = tx.query(
        f"SELECT {_NOW} AS outcome, i.reasons, COUNT(*) FROM rescan_item i"  # noqa: S608
        " WHERE i.job = :job GROUP BY 1, 2",
        job=job,
    )
    states: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for state, words, count in rows:
        states[state] += count
        if state != Outcome.NO_MATCH.value:
            reasons.update(dict.fromkeys(words.split(), count))
    return Counted(states={state: states[state] for state in STATES}, reasons=dict(sorted(reasons.items())))


def read_exceptions(store: Store, job: str, *, page: int = 1000) -> Iterator[Row]:
    """Every item that is not plain, in order: (shard, reference, outcome, ruled, action, reasons, size_bytes,
    kind, sources, categories, encounter_id, release, at)."""
    after: tuple[int, str] = (-1, "")
    while True:
        with store.reading() as tx:
            rows = tx.query(
                f"SELECT i.shard, i.reference, {_NOW}, i.ruled, i.action, i.reasons,"  # noqa: S608
                " i.size_bytes, i.kind, i.sources, i.categories, i.encounter_id, i.release, i.at"
                " FROM rescan_item i WHERE i.job = :job"
                " AND (i.shard > :shard OR (i.shard = :shard AND i.reference > :reference))"
                " ORDER BY i.shard, i.reference LIMIT :page",
                job=job,
                shard=after[0],
                reference=after[1],
                page=page,
            )
        yield from rows
        if len(rows) < page:
            return
        after = (rows[-1][0], rows[-1][1])


def has_reason(store: Store, job: str, shard: int, reference: str, reason: Reason) -> bool:
    """Whether an item is an exception for this reason, among others."""
    with store.reading() as tx:
        rows = tx.query(
            "SELECT reasons FROM rescan_item WHERE job = :job AND shard = :shard AND reference = :reference",
            job=job,
            shard=shard,
            reference=storable(reference),
        )
    return any(reason.value in reasons.split() for (reasons,) in rows)


def put_exception(
    tx: Transaction,
    job: str,
    shard: int,
    reference: str,
    *,
    outcome: str,
    reasons: str,
    release: str,
    now: datetime,
    ruled: str = "",
    action: str = "",
    size_bytes: int = 0,
    kind: str = "",
    sha256: bytes = b"",
    sources: Sequence[str] = (),
    categories: Sequence[Sequence[str]] = (),
    encounter_id: str = "",
    case_reference: str = "",
) -> None:
    """The row of one item, in place of an older one."""
    values: dict[str, Value] = {
        "outcome": outcome,
        "ruled": ruled,
        "action": action,
        "reasons": reasons,
        "size_bytes": size_bytes,
        "kind": kind,
        "sha256": sha256,
        "sources": json.dumps(list(sources)),
        "categories": json.dumps([list(category) for category in categories]),
        "encounter_id": encounter_id,
        "case_reference": case_reference,
        "release": release,
        "at": as_text(now),
    }
    names = ", ".join(values)
    tx.execute(
        f"INSERT INTO rescan_item (job, shard, reference, {names}) VALUES (:job, :shard, :reference, "  # noqa: S608
        f"{', '.join(':' + name for name in values)}) ON CONFLICT (job, shard, reference) DO UPDATE SET "
        + ", ".join(f"{name} = :{name}" for name in values),
        job=job,
        shard=shard,
        reference=storable(reference),
        **values,
    )
