"""What is forgotten and what stays: settled records go, open ones and the audit log stay."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from iii_client.content import Content
from iii_client.model import (
    Action,
    Algorithm,
    DisputeCode,
    Mode,
    Outcome,
    Reason,
    Receipt,
    ReleaseHeld,
    UploadContext,
)
from iii_client.records import SqliteStore, Store
from iii_client.records.audit_check import verify_audit
from iii_client.records.feedback import dispute
from iii_client.records.follow_ups import FollowUpKind
from iii_client.records.key_file import KeyFile
from iii_client.records.notices import add_notice
from iii_client.records.operators import Operators
from iii_client.records.pseudonyms import PseudonymKey
from iii_client.records.quarantine import Quarantine
from iii_client.records.retention import PurgeReport, purge_records
from iii_client.records.review import decide, note_follow_up

ALICE = Operators(first="operator-1")
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
LATER = NOON + timedelta(days=31)
SETTLED = {"action": Action.BLOCK}

Record = Callable[..., Receipt]


def purge(
    store: Store, *, uploader_key: bytes = b"", dry_run: bool = False, now: datetime = LATER
) -> PurgeReport:
    return purge_records(
        store,
        older_than=now if now < LATER else LATER - timedelta(days=30),
        uploader_key=uploader_key,
        by=ALICE,
        dry_run=dry_run,
        now=now,
    )


def left(store: Store) -> set[str]:
    with store.transaction() as tx:
        return {encounter_id for (encounter_id,) in tx.query("SELECT id FROM encounter")}


def count(store: Store, table: str) -> int:
    with store.transaction() as tx:
        ((rows,),) = tx.query(f"SELECT count(*) FROM {table}")
    return int(rows)


@pytest.fixture
def quarantine(store: Store, tmp_path: Path) -> Quarantine:
    key = KeyFile(tmp_path / "quarantine.key", what="key")
    return Quarantine(store, place=str(tmp_path / "q"), key=key, keep_days=90)


def test_settled_cases_go_with_all_their_rows_and_newer_ones_stay(store: Store, record: Record) -> None:
    record(**SETTLED)
    record(outcome=Outcome.NO_MATCH, action=Action.ALLOW)
    record(outcome=Outcome.UNSCANNABLE, action=Action.ALLOW, reasons=(Reason.FORMAT_NOT_ENABLED,))
    young = record(**SETTLED, at=LATER - timedelta(days=29)).encounter_id
    assert purge(store, dry_run=True).deleted == 3
    assert len(left(store)) == 4
    assert purge(store) == PurgeReport(deleted=3, notices=0, kept={})
    assert left(store) == {young}
    assert count(store, "encounter_hit") == 1
    assert verify_audit(store).broken_at is None


def test_whatever_is_open_stays_and_the_report_says_why(
    store: Store, record: Record, quarantine: Quarantine
) -> None:
    held = record(**SETTLED).encounter_id
    quarantine.hold(Content.from_bytes(b"x"), held)
    legal = record(**SETTLED).encounter_id
    held_id = quarantine.hold(Content.from_bytes(b"x"), legal)
    quarantine.set_legal_hold(held_id, reason="file 1", by=ALICE)
    record(outcome=Outcome.UNCONFIRMED, reasons=(Reason.SERVICE_TIMEOUT,))
    record(algorithm=Algorithm.PDQ)
    record(mode=Mode.SHADOW, action=Action.BLOCK)
    disputed = record(**SETTLED).encounter_id
    with store.transaction() as tx:
        dispute(tx, disputed, code=DisputeCode.INNOCENT, by=ALICE, now=NOON)
    everything = left(store)
    assert dict(purge(store).kept) == {
        "in_quarantine": 1,
        "legal_hold": 1,
        "waits_for_the_service": 1,
        "waits_for_a_person": 1,
        "still_reachable": 1,
        "message_to_the_service": 1,
    }
    assert left(store) == everything


def test_what_was_open_goes_once_it_is_settled(store: Store, record: Record, quarantine: Quarantine) -> None:
    near = record(algorithm=Algorithm.PDQ).encounter_id
    shadow = record(mode=Mode.SHADOW, action=Action.BLOCK).encounter_id
    held = record(**SETTLED).encounter_id
    held_id = quarantine.hold(Content.from_bytes(b"x"), held)
    quarantine.purge(held_id, by=ALICE)
    with store.transaction() as tx:
        decide(tx, near, innocent=True, by=ALICE, now=NOON)
        note_follow_up(tx, shadow, FollowUpKind.REMOVED, by=ALICE, done_at=NOON, now=NOON)
    assert purge(store).deleted == 3
    for table in ("encounter", "encounter_hit", "follow_up", "held", "outbox"):
        assert count(store, table) == 0


def test_one_uploader_is_forgotten_and_the_others_are_not(
    store: Store, record: Record, tmp_path: Path
) -> None:
    for uploader in ("alice@example.org", "bob@example.org"):
        record(**SETTLED, context=UploadContext(uploader=uploader, reference=f"files/{uploader}"))
    key = PseudonymKey(tmp_path / "encounter.key").of("alice@example.org")
    assert purge(store, uploader_key=key).deleted == 1
    with store.transaction() as tx:
        assert tx.query("SELECT reference FROM encounter") == [("files/bob@example.org",)]


def test_nothing_of_an_uploader_is_left_in_any_table_and_the_audit_log_never_had_it(
    store: Store, record: Record, tmp_path: Path
) -> None:
    context = UploadContext(
        route="avatar", uploader="alice@example.org", place="board-7", reference="files/alice.jpg"
    )
    near = record(algorithm=Algorithm.PDQ, context=context)
    with store.transaction() as tx:
        decide(tx, near.encounter_id, innocent=True, by=ALICE, note="alice wrote to us", now=NOON)
        tx.execute("UPDATE notice SET state = 'delivered'")
    key = PseudonymKey(tmp_path / "encounter.key").of("alice@example.org")
    assert purge(store, uploader_key=key).deleted == 1
    with store.transaction() as tx:
        tables = ("encounter", "encounter_hit", "follow_up", "outbox", "held", "notice", "feedback", "audit")
        everything = repr([tx.query(f"SELECT * FROM {table}") for table in tables])
    for secret in ("alice", "board-7", "avatar", "files/", key.hex(), repr(key)[2:-1]):
        assert secret not in everything
    assert "operator-1" in everything


def test_a_message_that_the_application_still_waits_for_is_delivered_before_it_goes(
    store: Store, record: Record, tmp_path: Path
) -> None:
    near = record(algorithm=Algorithm.PDQ, context=UploadContext(uploader="alice"))
    with store.transaction() as tx:
        decide(tx, near.encounter_id, innocent=False, by=ALICE, now=NOON)
    key = PseudonymKey(tmp_path / "encounter.key").of("alice")
    assert purge(store, uploader_key=key, now=NOON + timedelta(days=1)).deleted == 1
    assert count(store, "notice") == 1


def test_a_message_that_no_application_takes_goes_with_its_uploader(
    store: Store, record: Record, tmp_path: Path
) -> None:
    """Without a webhook nobody ever takes it, and it names the application's reference."""
    near = record(algorithm=Algorithm.PDQ, context=UploadContext(uploader="alice", reference="of-alice"))
    with store.transaction() as tx:
        decide(tx, near.encounter_id, innocent=False, by=ALICE, now=NOON)
    assert purge(store, uploader_key=PseudonymKey(tmp_path / "encounter.key").of("alice")).deleted == 1
    assert count(store, "notice") == 0


def test_what_was_deleted_is_not_in_the_file_any_more(store: Store, record: Record, tmp_path: Path) -> None:
    """SQLite would only mark the pages as free."""
    if not isinstance(store, SqliteStore):
        pytest.skip("PostgreSQL overwrites what is free when it vacuums")
    record(**SETTLED, context=UploadContext(reference="files/of-alice.jpg"))
    store.close()
    assert b"of-alice" in b"".join(path.read_bytes() for path in tmp_path.glob("state.db*"))
    purge(store)
    store.close()
    assert b"of-alice" not in b"".join(path.read_bytes() for path in tmp_path.glob("state.db*"))


def test_notices_go_with_their_time_also_those_that_nobody_took(store: Store, record: Record) -> None:
    encounter_id = record(algorithm=Algorithm.PDQ).encounter_id
    with store.transaction() as tx:
        for moment in (NOON, NOON, LATER - timedelta(days=6)):
            decide(tx, encounter_id, innocent=False, by=ALICE, now=moment, again=True)
        ((first,), *_) = tx.query("SELECT id FROM notice ORDER BY created_ms, id")
        tx.execute("UPDATE notice SET state = 'delivered' WHERE id = :id", id=first)
        add_notice(tx, ReleaseHeld(encounter_id=encounter_id, at=NOON), now=NOON)
    assert purge(store, dry_run=True).notices == 2
    assert count(store, "notice") == 4
    assert purge(store).notices == 2
    with store.reading() as tx:
        assert sorted(tx.query("SELECT kind, state FROM notice")) == [
            ("late_answer", "pending"),
            ("release", "pending"),
        ]


def test_a_long_purge_goes_in_batches_past_what_it_keeps(tmp_path: Path) -> None:
    from iii_client.records.retention import BATCH

    store = SqliteStore(tmp_path / "state.db")
    with store.transaction() as tx:
        for number in range(BATCH * 2 + 10):
            outcome = "unconfirmed" if number % 3 == 0 else "no_match"
            action = "quarantine" if number % 3 == 0 else "allow"
            tx.execute(
                "INSERT INTO encounter (id, at, outcome, ruled, action, mode, rule, reasons, release, recipe,"
                " sha256, hashes_sent, route, uploader_key, reference) VALUES (:id, '2020-01-01', :outcome,"
                " :action, :action, 'enforce', '', '', '1.0', '', X'', 0, '', X'', '')",
                id=f"{number:032x}",
                outcome=outcome,
                action=action,
            )
    report = purge(store)
    kept = len(range(0, BATCH * 2 + 10, 3))
    assert (report.deleted, dict(report.kept)) == (BATCH * 2 + 10 - kept, {"waits_for_a_person": kept})
    assert len(left(store)) == kept
    store.close()
