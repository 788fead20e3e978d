"""The encounter log: durable, private, linkable, safe after fork."""

import os
import sqlite3
import stat
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from iii_client.errors import RecordError
from iii_client.model import (
    Action,
    Algorithm,
    Candidate,
    Category,
    Decision,
    Fingerprint,
    HashValue,
    Match,
    Mode,
    Outcome,
    Reason,
    ReleaseId,
    UploadContext,
    Verdict,
)
from iii_client.records import SqliteStore, StateRecorder
from iii_client.records.encounters import name_reference

SHA256 = HashValue(algorithm=Algorithm.SHA256, value=bytes(range(32)))
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def decision() -> Decision:
    match = Match(
        hash=SHA256,
        distance_bits=0,
        exact=True,
        sources=("list-a",),
        categories=(Category(scheme="s", code="1", source="list-a"),),
    )
    verdict = Verdict(
        outcome=Outcome.MATCHED,
        fingerprint=Fingerprint(recipe="fast-v1", size_bytes=9, kind="png", digests=(SHA256,)),
        candidates=(Candidate(hash=SHA256, section="sha256"),),
        matches=(match,),
        reasons=(Reason.SERVICE_TIMEOUT,),
        release=ReleaseId(epoch=3, sequence=1),
        hashes_sent=1,
    )
    return Decision(
        action=Action.BLOCK, ruled=Action.BLOCK, rule="matched_exact", verdict=verdict, mode=Mode.ENFORCE
    )


def rows(state_dir: Path, query: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(state_dir / "state.db") as db:
        return db.execute(query).fetchall()


def test_a_decision_is_stored_with_its_circumstances(tmp_path: Path) -> None:
    log = StateRecorder.in_directory(tmp_path, clock=lambda: NOON)
    receipt = log.record(decision(), UploadContext(route="avatar", uploader="u1", reference="obj/7"))
    assert rows(
        tmp_path, "SELECT id, at, outcome, action, rule, reasons, release, route, reference FROM encounter"
    ) == [
        (
            receipt.encounter_id,
            "2026-11-24T12:00:00.000+00:00",
            "matched",
            "block",
            "matched_exact",
            "service_timeout",
            "3.1",
            "avatar",
            "obj/7",
        )
    ]
    assert rows(tmp_path, "SELECT algorithm, value, confirmed, sources FROM encounter_hit") == [
        ("sha256", SHA256.value, 1, '["list-a"]')
    ]


def test_uploaders_are_linkable_and_not_named(tmp_path: Path) -> None:
    log = StateRecorder.in_directory(tmp_path)
    for uploader in ("alice@example.org", "alice@example.org", "bob@example.org"):
        log.record(decision(), UploadContext(uploader=uploader))
    keys = [row[0] for row in rows(tmp_path, "SELECT uploader_key FROM encounter ORDER BY rowid")]
    assert keys[0] == keys[1] != keys[2]
    log.close()
    assert b"alice" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_two_logs_of_one_state_directory_agree_on_the_key(tmp_path: Path) -> None:
    for _ in range(2):
        StateRecorder.in_directory(tmp_path).record(decision(), UploadContext(uploader="alice"))
    keys = {row[0] for row in rows(tmp_path, "SELECT uploader_key FROM encounter")}
    assert len(keys) == 1


def test_nobody_else_may_read_the_files(tmp_path: Path) -> None:
    StateRecorder.in_directory(tmp_path / "state").record(decision(), UploadContext(uploader="u"))
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    for file in (tmp_path / "state").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name


def test_a_reference_that_is_no_utf8_is_stored_all_the_same(tmp_path: Path) -> None:
    StateRecorder.in_directory(tmp_path).record(
        decision(), UploadContext(reference=os.fsdecode(b"caf\xe9.jpg"))
    )
    assert rows(tmp_path, "SELECT reference FROM encounter") == [("caf\\udce9.jpg",)]


def test_threads_share_one_log(tmp_path: Path) -> None:
    log = StateRecorder.in_directory(tmp_path)
    threads = [
        threading.Thread(target=lambda: [log.record(decision(), UploadContext()) for _ in range(20)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows(tmp_path, "SELECT count(*) FROM encounter") == [(80,)]


def test_a_forked_child_writes_through_a_connection_of_its_own(tmp_path: Path) -> None:
    log = StateRecorder.in_directory(tmp_path)
    log.record(decision(), UploadContext(route="parent"))
    child = os.fork()
    if child == 0:
        try:
            log.record(decision(), UploadContext(route="child"))
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    log.record(decision(), UploadContext(route="parent again"))
    assert rows(tmp_path, "SELECT route FROM encounter ORDER BY rowid") == [
        ("parent",),
        ("child",),
        ("parent again",),
    ]


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "state.db") as db:
        db.execute("PRAGMA user_version=999")
    with pytest.raises(RecordError, match="999"):
        StateRecorder.in_directory(tmp_path).record(decision(), UploadContext())


def test_a_damaged_store_is_a_record_error_that_says_to_keep_it(tmp_path: Path) -> None:
    log = StateRecorder.in_directory(tmp_path)
    damaged = b"this is not a database at all" * 100
    (tmp_path / "state.db").write_bytes(damaged)
    with pytest.raises(RecordError) as caught:
        log.record(decision(), UploadContext())
    assert "evidence" in caught.value.hint
    (tmp_path / "state.db").rename(tmp_path / "kept.db")
    log.record(decision(), UploadContext(route="after"))
    assert rows(tmp_path, "SELECT route FROM encounter") == [("after",)]
    assert (tmp_path / "kept.db").read_bytes() == damaged


def test_a_refusal_names_the_reason_and_no_path(tmp_path: Path) -> None:
    (tmp_path / "state.db").mkdir()
    (tmp_path / "a file").touch()
    for state_dir in (tmp_path, tmp_path / "a file"):
        with pytest.raises(RecordError) as caught:
            StateRecorder.in_directory(state_dir).record(decision(), UploadContext())
        assert str(tmp_path) not in str(caught.value) + caught.value.hint
        assert "permissions" in caught.value.hint


@pytest.mark.parametrize("left", [(), ("-wal",), ("-shm",), ("-wal", "-shm")], ids=" ".join)
def test_a_store_that_was_removed_is_made_anew_and_written_to(tmp_path: Path, left: tuple[str, ...]) -> None:
    """A worker that goes on with the file that has no name any more would record into nothing."""
    log = StateRecorder.in_directory(tmp_path)
    log.record(decision(), UploadContext(route="before"))
    for path in tmp_path.glob("state.db*"):
        if path.name.removeprefix("state.db") not in left:
            path.unlink()
    for route in ("after", "later"):
        log.record(decision(), UploadContext(route=route))
    assert rows(tmp_path, "SELECT route FROM encounter ORDER BY rowid") == [("after",), ("later",)]


def test_all_threads_follow_when_the_store_is_removed(tmp_path: Path) -> None:
    log = StateRecorder.in_directory(tmp_path)
    ready, removed = threading.Barrier(5), threading.Event()

    def work() -> None:
        log.record(decision(), UploadContext(route="before"))
        ready.wait()
        removed.wait()
        for _ in range(10):
            log.record(decision(), UploadContext(route="after"))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    ready.wait()
    (tmp_path / "state.db").unlink()
    removed.set()
    for thread in threads:
        thread.join()
    assert rows(tmp_path, "SELECT route, count(*) FROM encounter GROUP BY route") == [("after", 40)]


def test_a_store_that_was_replaced_is_written_to(tmp_path: Path) -> None:
    log = StateRecorder.in_directory(tmp_path / "live")
    log.record(decision(), UploadContext(route="lost"))
    other = StateRecorder.in_directory(tmp_path / "other")
    other.record(decision(), UploadContext(route="restored"))
    other.close()
    for path in (tmp_path / "live").glob("state.db*"):
        path.unlink()
    (tmp_path / "other" / "state.db").rename(tmp_path / "live" / "state.db")
    log.record(decision(), UploadContext(route="after"))
    assert rows(tmp_path / "live", "SELECT route FROM encounter ORDER BY rowid") == [
        ("restored",),
        ("after",),
    ]


def test_a_transaction_that_fails_leaves_nothing_and_the_next_one_works(tmp_path: Path) -> None:
    log = StateRecorder.in_directory(tmp_path)
    (tmp_path / "encounter.key").mkdir()
    with pytest.raises(RecordError):
        log.record(decision(), UploadContext(uploader="u"))
    (tmp_path / "encounter.key").rmdir()
    log.record(decision(), UploadContext(uploader="u"))
    assert rows(tmp_path, "SELECT count(*) FROM encounter") == [(1,)]


def test_where_an_item_is_found_may_be_said_later_and_once(tmp_path: Path) -> None:
    recorder = StateRecorder.in_directory(tmp_path)
    receipt = recorder.record(decision(), UploadContext(route="avatar"))
    with SqliteStore(tmp_path / "state.db").transaction() as tx:
        name_reference(tx, receipt.encounter_id, "photos/42.jpg")
        name_reference(tx, receipt.encounter_id, "photos/43.jpg")
    assert rows(tmp_path, "SELECT reference FROM encounter") == [("photos/42.jpg",)]
