"""A rate that all processes of one database share: who wants to call takes the next free slot and waits."""

from datetime import datetime

from iii_client.records.store import Transaction, as_ms

#: A slot farther away than this many intervals (and a minute) was taken by a clock that ran ahead: ignored.
_MOST_INTERVALS_AHEAD = 100
_MINUTE_MS = 60_000


def take_slot(tx: Transaction, *, per_s: float, now: datetime) -> float:
    """Take the next slot and return how many seconds there are until it comes, from 0.

    Args:
        tx: commit it before waiting.
        per_s: slots a second, of all who share this database.
        now: aware.
    """
    interval_ms = max(1, round(1000 / per_s))
    now_ms = as_ms(now)
    farthest_ms = now_ms + max(_MINUTE_MS, _MOST_INTERVALS_AHEAD * interval_ms)
    ((next_ms,),) = tx.query(
        "UPDATE pace SET next_ms = :interval +"
        " CASE WHEN next_ms > :now AND next_ms <= :farthest THEN next_ms ELSE :now END"
        " WHERE name = 'drain' RETURNING next_ms",
        interval=interval_ms,
        now=now_ms,
        farthest=farthest_ms,
    )
    return max(0.0, (int(next_ms) - interval_ms - now_ms) / 1000)


def one_at_a_time(tx: Transaction) -> None:
    """Let the transactions that call this come one after the other, also on PostgreSQL."""
    tx.execute("UPDATE pace SET next_ms = next_ms WHERE name = 'drain'")
