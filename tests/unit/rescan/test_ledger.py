"""The ledger on SQLite and PostgreSQL: counts add up, what was killed is counted, nothing is doubled."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from iii_client.errors import ConfigurationError, LedgerLockedError
from iii_client.model import Reason
from iii_client.records.store import Store
from iii_client.rescan.exceptions import put_exception
from iii_client.rescan.jobs import JobSpec, JobState, job_names
from iii_client.rescan.ledger import Ledger
from iii_client.rescan.segments import Position

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
SPEC = JobSpec(roots=("/srv/a", "/srv/caf\udce9"), recipe="fast", include=("*.jpg",))


def commit(ledger: Ledger, shard: int, cursor: str, *, items: int, dispatched: int = 0) -> bool:
    return ledger.commit_chunk(
        shard,
        cursor=cursor,
        items=items,
        size_bytes=10,
        end=Position(1, 99),
        dispatched=dispatched,
        now=NOON,
    )


def test_a_job_from_its_start_to_its_end(store: Store, tmp_path: Path) -> None:
    Ledger.create(store, tmp_path, "job", SPEC, now=NOON)
    with pytest.raises(ConfigurationError):
        Ledger.create(store, tmp_path, "job", SPEC, now=NOON)
    ledger = Ledger.open(store, tmp_path, "job")
    assert ledger.spec == SPEC
    ledger.begin(release="1.0")
    ledger.note_dispatched(6)
    assert not commit(ledger, 0, "caf\udce9", items=3, dispatched=3)
    ledger.begin(release="2.0")  # the driver was killed with three items under way
    assert ledger.shards()[0].cursor == "caf\udce9"
    for _ in range(2):
        ledger.set_aside(1, "/srv/caf\udce9/x", now=NOON, release="1.0")
        with store.transaction() as tx:
            put_exception(tx, "job", 0, "/srv/a/x", outcome="matched", reasons="", release="1.0", now=NOON)
    assert ledger.request_stop()
    assert commit(ledger, 1, "z", items=2)
    for shard in (0, 1):
        ledger.finish_shard(shard)
    ledger.end(JobState.FINISHED)
    status = ledger.status()
    assert (status.items, status.no_match, status.matched, status.failed) == (5, 3, 1, 1)
    assert (status.redone, status.release, status.reasons) == (3, "1.0", {"worker_lost": 1})
    assert ledger.throughput() == [(int(NOON.timestamp()) // 60, 5, 20)]
    assert [row[2] for row in ledger.exceptions(page=1)] == ["matched", "failed"]
    assert not ledger.has_reason(0, "/srv/a/x", Reason.DECODER_DISAGREED)
    assert all(shard.listed for shard in ledger.shards())
    ledger.forget()
    assert job_names(store) == []


def test_a_recheck_goes_on_only_against_the_same_release(store: Store, tmp_path: Path) -> None:
    ledger = Ledger.create(store, tmp_path, "job", SPEC, now=NOON)
    assert not ledger.begin_recheck("2.0")
    ledger.note_rechecked(0, Position(1, 50))
    assert ledger.begin_recheck("2.0")
    assert ledger.shards()[0].rechecked == Position(1, 50)
    assert not ledger.begin_recheck("3.0")
    assert ledger.shards()[0].rechecked == Position()
    ledger.finish_recheck(release="3.0")
    assert ledger.status().release == "3.0"
    assert not ledger.begin_recheck("3.0")


def test_a_job_that_is_driven_is_not_erased(store: Store, tmp_path: Path) -> None:
    ledger = Ledger.create(store, tmp_path, "job", SPEC, now=NOON)
    with ledger.locked(), pytest.raises(LedgerLockedError):
        Ledger.open(store, tmp_path, "job").forget()
    assert job_names(store) == ["job"]
