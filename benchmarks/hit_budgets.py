"""What the budgets of filter hits cost: nothing without a hit, and how much with one, also amid a flood.

    python benchmarks/hit_budgets.py [--encounters 100000]

Fills a state database with a month of encounters, among them a flood of one listed file by a few uploaders
within the last day (the worst case: many rows, and never too many uploaders), and times
`HitBudgets.exhausted` for one item, and the ruling of the policy.
"""

import argparse
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from iii_client.config import GuardConfig
from iii_client.decide import TablePolicy
from iii_client.model import (
    ANONYMOUS,
    Algorithm,
    Candidate,
    Fingerprint,
    HashValue,
    Outcome,
    ReleaseId,
    UploadContext,
    Verdict,
)
from iii_client.records import SqliteStore
from iii_client.records.hit_budgets import HitBudgets
from iii_client.records.pseudonyms import PseudonymKey
from iii_client.records.store import Value, as_text

REPEATS = 200
#: Share of the encounters that is the flood, and the uploaders it comes from.
FLOOD_SHARE, FLOOD_UPLOADERS = 0.2, 15


def main() -> None:
    """Fill, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--encounters", type=int, default=100_000)
    count = parser.parse_args().encounters
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "state.db")
        key = PseudonymKey(Path(folder) / "encounter.key")
        now = datetime.now(UTC)
        flooded = HashValue(algorithm=Algorithm.SHA256, value=secrets.token_bytes(32))
        fill(store, key, count, flooded, now=now)
        budgets = HitBudgets(store, key=key, config=GuardConfig())
        fresh = HashValue(algorithm=Algorithm.SHA256, value=secrets.token_bytes(32))
        known = HitBudgets(store, key=key, config=GuardConfig(uploaders_per_hash=FLOOD_UPLOADERS - 1))
        print(f"{count:,} encounters, {int(count * FLOOD_SHARE):,} of them one file within a day")
        for name, guard, value in (
            ("no hit", budgets, None),
            ("a hit of a new hash", budgets, fresh),
            ("a hit of the flooded hash, its budget not used up", budgets, flooded),
            ("a hit of the flooded hash, its budget used up", known, flooded),
        ):
            hits = [] if value is None else [Candidate(hash=value, section="sha256")]
            context = UploadContext(uploader="somebody")
            print(f"{name:60} {timed(lambda g=guard, h=hits, c=context: g.exhausted([h], [c]))}")  # type: ignore[misc]
        policy, innocent = TablePolicy(), verdict()
        print(f"{'ruling of an innocent file':60} {timed(lambda: policy.rule(innocent, ANONYMOUS))}")


def fill(store: SqliteStore, key: PseudonymKey, count: int, flooded: HashValue, *, now: datetime) -> None:
    """Encounters of a month, one hit each; the flood lies in the last day."""
    flood = int(count * FLOOD_SHARE)
    encounters: list[dict[str, Value]] = []
    hits: list[dict[str, Value]] = []
    seen: dict[bytes, dict[str, Value]] = {}
    uploaders = [key.of(f"flooder{n}") for n in range(FLOOD_UPLOADERS)]
    for n in range(count):
        is_flood = n < flood
        uploader = uploaders[n % FLOOD_UPLOADERS] if is_flood else secrets.token_bytes(32)
        at = as_text(now - timedelta(hours=23 * n / flood if is_flood else 24 + 700 * n / count))
        encounter_id = secrets.token_hex(16)
        encounters.append(
            {
                "id": encounter_id,
                "at": at,
                "outcome": "matched",
                "ruled": "block",
                "action": "block",
                "mode": "enforce",
                "rule": "matched_exact",
                "reasons": "",
                "release": "1.0",
                "recipe": "fast-v1",
                "sha256": b"",
                "hashes_sent": 1,
                "route": "",
                "uploader_key": uploader,
                "place_key": b"",
                "reference": "",
                "counts": 1,
            }
        )
        value = flooded.value if is_flood else secrets.token_bytes(32)
        hits.append(
            {
                "encounter_id": encounter_id,
                "algorithm": "sha256",
                "value": value,
                "section": "sha256",
                "view": "upright",
                "confirmed": 1,
                "distance_bits": 0,
                "sources": "[]",
                "categories": "[]",
            }
        )
        seen[value + uploader] = {
            "algorithm": "sha256",
            "value": value,
            "who": uploader,
            "at": at,
            "encounter_id": encounter_id,
        }
    with store.transaction() as tx:
        tx.insert("encounter", encounters)
        tx.insert("encounter_hit", hits)
        tx.insert("hash_uploader", list(seen.values()))


def verdict() -> Verdict:
    """Nothing found."""
    return Verdict(
        outcome=Outcome.NO_MATCH,
        fingerprint=Fingerprint(recipe="fast-v1", size_bytes=1, kind="png"),
        release=ReleaseId(epoch=1, sequence=0),
    )


def timed(call: Callable[[], object]) -> str:
    """Median and worst of some calls."""
    times_us = []
    for _ in range(REPEATS):
        started_s = time.perf_counter()
        call()
        times_us.append((time.perf_counter() - started_s) * 1e6)
    return f"median {statistics.median(times_us):8,.1f} us, worst {max(times_us):8,.0f} us"


if __name__ == "__main__":
    main()
