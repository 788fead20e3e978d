"""Tallies: counts by day of what is too plain to keep one by one, such as files without a match.

`Tallies` collects in memory and writes now and then, because a commit for each innocent file would cost more
than looking at it. What was not yet written is lost when the process is killed: at most `FLUSH_AFTER_S`
seconds or `FLUSH_AT` counts of it. Evidence is never kept this way; see the audit log.
"""

import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from iii_client.errors import RecordError
from iii_client.model import Decision
from iii_client.records.store import Store, Transaction, utc_now
from iii_client.records.write_behind import in_background

logger = logging.getLogger(__name__)

#: Names of tallies: items by outcome (`scanned_no_match`), items whose bytes had been seen before, items with
#: filter hits, and hashes that left.
SCANNED, RECALLED, CANDIDATES, HASHES_SENT = "scanned_", "recalled", "candidates", "hashes_sent"

#: Counts are written when the oldest of them waited this long, seen at the next count, ...
FLUSH_AFTER_S = 10.0
#: ... or when there are so many.
FLUSH_AT = 1000


def add(tx: Transaction, day: str, name: str, amount: int) -> None:
    """Add to one count.

    Args:
        tx: the transaction that it becomes part of.
        day: in UTC, e.g. `2026-11-24`.
        name: what is counted, e.g. `no_match`.
        amount: how many more.
    """
    tx.execute(
        "INSERT INTO tally (day, name, amount) VALUES (:day, :name, :amount)"
        " ON CONFLICT (day, name) DO UPDATE SET amount = tally.amount + excluded.amount",
        day=day,
        name=name,
        amount=amount,
    )


def totals(tx: Transaction, *, since: str = "") -> Mapping[str, int]:
    """Every count, summed over the days from `since` on."""
    rows = tx.query("SELECT name, SUM(amount) FROM tally WHERE day >= :since GROUP BY name", since=since)
    # PostgreSQL sums to a decimal number.
    return {name: int(amount) for name, amount in sorted(rows)}


class Tallies:
    """Counts that are written in batches. Thread-safe; a forked child starts with none.

    Args:
        store: where to.
        clock: aware.
        start: how a write that is due is begun; a database that is locked lets it wait for seconds.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], datetime] = utc_now,
        start: Callable[[Callable[[], None]], None] = in_background,
    ) -> None:
        self._store = store
        self._clock = clock
        self._start = start
        self._pending = _Pending(clock())

    def count(self, name: str, amount: int = 1) -> None:
        """Count something. Never raises: a count is not worth an upload."""
        now = self._clock()
        pending = self._of_this_process(now)
        with pending.lock:
            pending.counts[(now.astimezone(UTC).date().isoformat(), name)] += amount
            pending.events += 1
            waited_s = (now - pending.since).total_seconds()
            # A clock that was set back would otherwise hold them for as long.
            due = pending.events >= FLUSH_AT or not 0 <= waited_s < FLUSH_AFTER_S
            if due:
                # Not due again before it was tried.
                pending.events, pending.since = 0, now
        if due:
            self._start(self.flush)

    def scanned(self, decision: Decision, *, seconds: float, recalled: bool) -> None:  # noqa: ARG002
        """Count one item by what was found. Fits `protocols.Observer`."""
        verdict = decision.verdict
        self.count(f"{SCANNED}{verdict.outcome.value}")
        if recalled:
            self.count(RECALLED)
        if verdict.candidates:
            self.count(CANDIDATES)
        if verdict.hashes_sent:
            self.count(HASHES_SENT, verdict.hashes_sent)

    def flush(self) -> None:
        """Write what was counted. Never raises: what cannot be written is tried again later."""
        now = self._clock()
        pending = self._of_this_process(now)
        with pending.lock:
            counts, pending.counts, pending.events, pending.since = pending.counts, Counter(), 0, now
        if not counts:
            return
        try:
            with self._store.transaction() as tx:
                # In one order, so that two writers never wait for each other's rows.
                for (day, name), amount in sorted(counts.items()):
                    add(tx, day, name, amount)
        except RecordError as error:
            logger.warning("counts could not be written yet: %s", error)
            with pending.lock:
                pending.counts.update(counts)

    def close(self) -> None:
        """Write what was counted."""
        self.flush()

    def _of_this_process(self, now: datetime) -> "_Pending":
        # What the parent had counted it writes itself; its lock may have been held when the child was made.
        if self._pending.pid != os.getpid():
            self._pending = _Pending(now)
        return self._pending


class _Pending:
    """What one process has counted and not written."""

    def __init__(self, now: datetime) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.counts: Counter[tuple[str, str]] = Counter()
        self.events = 0
        self.since = now
