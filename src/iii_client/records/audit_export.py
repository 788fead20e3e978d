"""The audit log for other programs: one entry a line, in a form that whoever gets it can verify alone.

No hashes of pictures unless asked for. Each line holds what the chain's digest covers, so a recipient needs
twelve lines of any language to check it (docs/reference/audit-log.md).
"""

import csv
import io
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from iii_client.errors import RecordError
from iii_client.records.store import Store, Transaction, as_text

COLUMNS = ("seq", "at", "kind", "case", "body", "previous", "digest")
#: Entries of one read. Each is a view of its own, so that a slow reader of the export keeps nothing alive.
BATCH = 500


def export_entries(
    store: Store, *, since: datetime | None = None, with_hashes: bool = False
) -> Iterator[dict[str, Any]]:
    """Entries as plain values, oldest first.

    Args:
        store: that holds the log.
        since: leave out older ones; aware.
        with_hashes: add the hashes of the case's hits, as long as they are kept.

    Raises:
        RecordError: an entry cannot be read.
    """
    last = 0
    while True:
        with store.reading() as tx:
            rows = tx.query(
                "SELECT seq, at, kind, body, previous, digest FROM audit"
                " WHERE seq > :last AND at >= :since ORDER BY seq LIMIT :batch",
                last=last,
                since=as_text(since) if since else "",
                batch=BATCH,
            )
            entries = [_entry(tx, row, with_hashes=with_hashes) for row in rows]
        yield from entries
        if not rows:
            return
        last = rows[-1][0]


def as_csv(entries: Iterator[dict[str, Any]]) -> Iterator[str]:
    """Lines of a CSV file with a header; `body` and `hashes` as JSON."""
    header = False
    for entry in entries:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        columns = [*COLUMNS, "hashes"] if "hashes" in entry else COLUMNS
        if not header:
            writer.writerow(columns)
            header = True
        writer.writerow(
            [
                canonical(entry[name]) if isinstance(entry[name], (dict, list)) else entry[name]
                for name in columns
            ]
        )
        yield text.getvalue()


def canonical(value: Any) -> str:
    """The text of a body that the chain's digest covers."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _entry(tx: Transaction, row: tuple[Any, ...], *, with_hashes: bool) -> dict[str, Any]:
    seq, at, kind, text, previous, digest = row
    try:
        body = dict(json.loads(text))
    except (ValueError, TypeError):
        raise RecordError(
            f"audit entry {seq} is not what was written", hint="Run: iii-client audit verify."
        ) from None
    encounter_id = str(body.get("encounter", ""))
    entry = {
        "seq": seq,
        "at": at,
        "kind": kind,
        "case": _case_reference(tx, encounter_id),
        "body": body,
        "previous": previous,
        "digest": digest,
    }
    if with_hashes:
        entry["hashes"] = [
            {"algorithm": algorithm, "value": bytes(value).hex(), "confirmed": bool(confirmed)}
            for algorithm, value, confirmed in tx.query(
                "SELECT algorithm, value, confirmed FROM encounter_hit WHERE encounter_id = :id"
                " ORDER BY algorithm, value",
                id=encounter_id,
            )
        ]
    return entry


def _case_reference(tx: Transaction, encounter_id: str) -> str:
    rows = tx.query("SELECT case_reference FROM encounter WHERE id = :id", id=encounter_id)
    return str(rows[0][0]) if rows else ""
