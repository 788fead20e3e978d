"""Quarantine: sealed, restorable, never overwriting, deaf under legal hold, audited before it happens."""

import contextlib
import json
import os
import stat
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from iii_client.content import Content
from iii_client.errors import ContentError, RecordError
from iii_client.model import Receipt
from iii_client.records import Store, places
from iii_client.records.audit_check import verify_audit
from iii_client.records.follow_ups import follow_ups_of
from iii_client.records.held import Held, HeldState, advance
from iii_client.records.key_file import KeyFile
from iii_client.records.operators import Operators
from iii_client.records.places import AlreadyThereError
from iii_client.records.quarantine import Quarantine
from iii_client.records.vault import Vault

PICTURE = b"a harmless picture" * 9000
ALICE = Operators(first="alice", second="bob")
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)

Record = Callable[..., Receipt]


class Clock:
    now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "local":
        yield str(tmp_path / "quarantine")
        return
    yield f"memory://quarantine-{tmp_path.name}"
    with contextlib.suppress(FileNotFoundError):
        fsspec.filesystem("memory").rm(f"quarantine-{tmp_path.name}", recursive=True)


@pytest.fixture
def quarantine(store: Store, place: str, tmp_path: Path, clock: Clock) -> Quarantine:
    key = KeyFile(tmp_path / "quarantine.key", what="quarantine key")
    return Quarantine(store, place=place, key=key, keep_days=90, clock=clock)


@pytest.fixture
def upload(tmp_path: Path) -> Path:
    path = tmp_path / "uploads" / "holiday-of-alice.jpg"
    path.parent.mkdir()
    path.write_bytes(PICTURE)
    path.chmod(0o644)
    return path


def hold(quarantine: Quarantine, record: Record, path: Path, *, move: bool = True) -> Held:
    held_id = quarantine.hold(Content.from_path(path), record().encounter_id, str(path), move=move, by=ALICE)
    (held,) = quarantine.find(held_id)
    return held


def audit(store: Store) -> list[tuple[str, dict[str, str]]]:
    with store.transaction() as tx:
        rows = tx.query("SELECT kind, body FROM audit ORDER BY seq")
    return [(kind, json.loads(body)) for kind, body in rows if kind.startswith("quarantine")]


def kinds(store: Store, encounter_id: str) -> set[str]:
    with store.transaction() as tx:
        return {follow_up.kind for follow_up in follow_ups_of(tx, encounter_id)}


def test_a_moved_file_is_sealed_and_its_original_is_gone(
    quarantine: Quarantine, record: Record, upload: Path, place: str, store: Store
) -> None:
    held = hold(quarantine, record, upload)
    assert held.state is HeldState.HELD
    assert held.size_bytes == len(PICTURE)
    assert not upload.exists()
    with places.reading(places.join(place, held.name)) as stream:
        assert b"harmless" not in stream.read()
    assert "alice" not in held.name
    assert kinds(store, held.encounter_id) == {"held", "removed"}
    assert [kind for kind, _ in audit(store)] == ["quarantine_held", "quarantine_removed"]
    assert quarantine.verify() == ()


def test_a_copy_leaves_the_original_alone(quarantine: Quarantine, record: Record, upload: Path) -> None:
    held = hold(quarantine, record, upload, move=False)
    assert held.state is HeldState.HELD
    assert upload.read_bytes() == PICTURE
    assert quarantine.verify() == ()


def test_an_upload_without_an_origin_can_be_held_and_put_anywhere(
    quarantine: Quarantine, record: Record, tmp_path: Path
) -> None:
    held_id = quarantine.hold(Content.from_bytes(PICTURE), record().encounter_id)
    with pytest.raises(RecordError, match="no place to go back to"):
        quarantine.restore(held_id, by=ALICE)
    with pytest.raises(ValueError, match="nothing to move"):
        quarantine.hold(Content.from_bytes(PICTURE), record().encounter_id, move=True)
    assert quarantine.restore(held_id, by=ALICE, to=str(tmp_path / "back")) == str(tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == PICTURE


def test_an_upload_that_was_never_stored_goes_to_its_place_with_the_permissions_it_would_have_had(
    quarantine: Quarantine, record: Record, tmp_path: Path
) -> None:
    target = tmp_path / "media" / "holiday.jpg"
    held_id = quarantine.hold(Content.from_bytes(PICTURE), record().encounter_id, str(target), mode=0o644)
    assert not target.exists()
    quarantine.restore(held_id, by=ALICE)
    assert target.read_bytes() == PICTURE
    assert stat.S_IMODE(target.stat().st_mode) == 0o644


def test_a_restored_file_is_what_it_was_and_where_it_was(
    quarantine: Quarantine, record: Record, upload: Path, place: str, store: Store
) -> None:
    held = hold(quarantine, record, upload)
    assert quarantine.restore(held.id, by=ALICE) == str(upload)
    assert upload.read_bytes() == PICTURE
    assert stat.S_IMODE(upload.stat().st_mode) == 0o644
    assert places.names(place) == ()
    assert quarantine.list() == ()
    ordered, done = audit(store)[-2:]
    assert ordered == (
        "quarantine_restore",
        {"held": held.id, "encounter": held.encounter_id, "operator": "alice", "second_operator": "bob"},
    )
    assert done[0] == "quarantine_restored"
    with pytest.raises(RecordError, match="not held any more"):
        quarantine.restore(held.id, by=ALICE)


def test_a_release_does_not_meddle_with_a_restore_under_way_and_ends_one_that_died(
    quarantine: Quarantine, record: Record, upload: Path, store: Store, clock: Clock
) -> None:
    held = hold(quarantine, record, upload)
    with store.transaction() as tx:
        advance(
            tx,
            held.id,
            old=HeldState.HELD,
            new=HeldState.RESTORING,
            now=clock(),
            target=str(upload),
        )
    with pytest.raises(RecordError, match="in the middle of another act"):
        quarantine.release(held.encounter_id, by="late answer")
    assert not upload.exists()
    clock.now += timedelta(seconds=150)
    quarantine.release(held.encounter_id, by="late answer")
    assert upload.read_bytes() == PICTURE


def test_a_file_that_two_have_held_comes_back_once_and_neither_stays(
    quarantine: Quarantine, record: Record, upload: Path, place: str
) -> None:
    first = hold(quarantine, record, upload)
    upload.write_bytes(PICTURE)
    second = hold(quarantine, record, upload)
    for held in (first, second):
        quarantine.release(held.encounter_id, by="late answer")
    assert upload.read_bytes() == PICTURE
    assert places.names(place) == ()


def test_a_restore_never_overwrites(quarantine: Quarantine, record: Record, upload: Path) -> None:
    held = hold(quarantine, record, upload)
    upload.write_bytes(b"another file came to be there")
    with pytest.raises(AlreadyThereError) as caught:
        quarantine.restore(held.id, by=ALICE)
    assert "--to" in caught.value.hint
    assert upload.read_bytes() == b"another file came to be there"
    assert quarantine.find(held.id)[0].state is HeldState.HELD


def test_a_pipe_in_its_place_is_not_waited_for(quarantine: Quarantine, record: Record, upload: Path) -> None:
    held = hold(quarantine, record, upload)
    os.mkfifo(upload)
    with pytest.raises(AlreadyThereError):
        quarantine.restore(held.id, by=ALICE)


def test_a_folder_that_became_a_link_is_not_followed(
    quarantine: Quarantine, record: Record, upload: Path, tmp_path: Path
) -> None:
    """An uploader who owns the folder would have his file written wherever the operator may write."""
    held = hold(quarantine, record, upload)
    (tmp_path / "cron.d").mkdir()
    upload.parent.rmdir()
    upload.parent.symlink_to(tmp_path / "cron.d")
    for act in (
        lambda: quarantine.restore(held.id, by=ALICE),
        lambda: quarantine.release(held.encounter_id, by="x"),
    ):
        with pytest.raises(RecordError, match="link"):
            act()
    assert list((tmp_path / "cron.d").iterdir()) == []
    quarantine.restore(held.id, by=ALICE, to=str(tmp_path / "looked at"))
    assert (tmp_path / "looked at").read_bytes() == PICTURE


def test_of_a_link_the_file_is_moved_and_goes_back_to_its_own_place(
    quarantine: Quarantine, record: Record, upload: Path, tmp_path: Path
) -> None:
    link = tmp_path / "latest.jpg"
    link.symlink_to(upload)
    held = hold(quarantine, record, link)
    assert not upload.exists()
    quarantine.restore(held.id, by=ALICE)
    assert link.read_bytes() == PICTURE


def test_what_is_under_legal_hold_is_neither_restored_nor_purged(
    quarantine: Quarantine, record: Record, upload: Path, clock: Clock
) -> None:
    held = hold(quarantine, record, upload)
    quarantine.set_legal_hold(held.id, reason="file 12/2026", by=ALICE)
    clock.now += timedelta(days=1000)
    for act in (quarantine.restore, quarantine.purge):
        with pytest.raises(RecordError, match="legal hold"):
            act(held.id, by=ALICE)
    assert quarantine.purge_due(by=ALICE) == 0
    quarantine.release(held.encounter_id, by="late answer")
    assert not upload.exists()
    quarantine.set_legal_hold(held.id, reason="", by=ALICE)
    assert quarantine.purge_due(by=ALICE) == 1


def test_purge_takes_what_is_due_and_nothing_else(
    quarantine: Quarantine, record: Record, upload: Path, place: str, store: Store, clock: Clock
) -> None:
    first = hold(quarantine, record, upload)
    clock.now += timedelta(days=50)
    quarantine.hold(Content.from_bytes(b"later"), record().encounter_id)
    clock.now += timedelta(days=40)
    assert quarantine.purge_due(by=ALICE) == 1
    assert quarantine.find(first.id)[0].state is HeldState.PURGED
    assert len(places.names(place)) == 1
    assert "purged" in kinds(store, first.encounter_id)


def test_one_file_that_cannot_be_purged_keeps_no_other(
    quarantine: Quarantine, record: Record, upload: Path, place: str, store: Store, clock: Clock
) -> None:
    if places.local_path(place) is None:
        pytest.skip("only a folder can hold what is no file")
    stuck = hold(quarantine, record, upload)
    quarantine.hold(Content.from_bytes(b"another"), record().encounter_id)
    clock.now += timedelta(days=90)
    sealed = Path(place) / stuck.name
    sealed.unlink()
    sealed.mkdir()  # what cannot be deleted as a file
    with pytest.raises(RecordError, match="1 of 2 held files could not be purged"):
        quarantine.purge_due(by=ALICE)
    assert places.names(place) == (stuck.name,)


def test_a_late_not_listed_puts_the_file_back_once(
    quarantine: Quarantine, record: Record, upload: Path, store: Store
) -> None:
    held = hold(quarantine, record, upload)
    for _ in range(2):
        quarantine.release(held.encounter_id, by="late answer")
    assert upload.read_bytes() == PICTURE
    assert [kind for kind, _ in audit(store)].count("quarantine_restored") == 1
    quarantine.release("no such encounter", by="late answer")


def test_holding_the_same_file_again_is_holding_it_once(
    quarantine: Quarantine, record: Record, upload: Path
) -> None:
    held = hold(quarantine, record, upload, move=False)
    again = quarantine.hold(Content.from_path(upload), held.encounter_id, str(upload), move=True)
    assert again == held.id
    assert not upload.exists()
    assert len(quarantine.list()) == 1


def test_a_file_without_an_encounter_is_not_held(quarantine: Quarantine, upload: Path, place: str) -> None:
    with pytest.raises(RecordError, match="no such encounter"):
        quarantine.hold(Content.from_path(upload), "0" * 32, str(upload), move=True)
    assert upload.exists()
    assert places.names(place) == ()


def test_what_cannot_be_read_is_not_held(
    quarantine: Quarantine, record: Record, tmp_path: Path, place: str
) -> None:
    with pytest.raises(ContentError):
        quarantine.hold(Content.from_path(tmp_path / "gone"), record().encounter_id, str(tmp_path / "gone"))
    assert places.names(place) == ()
    assert quarantine.list() == ()


def test_verify_names_what_is_missing_changed_or_left_over(
    store: Store, record: Record, tmp_path: Path, upload: Path, clock: Clock
) -> None:
    folder = tmp_path / "q"
    quarantine = Quarantine(
        store, place=str(folder), key=KeyFile(tmp_path / "k", what="key"), keep_days=1, clock=clock
    )
    moved = hold(quarantine, record, upload)
    ids = [quarantine.hold(Content.from_bytes(PICTURE), record().encounter_id) for _ in range(3)]
    missing, changed, swapped = (quarantine.find(held_id)[0] for held_id in ids)
    (folder / missing.name).unlink()
    data = bytearray((folder / changed.name).read_bytes())
    data[-1] ^= 1
    (folder / changed.name).write_bytes(data)
    other = quarantine.find(quarantine.hold(Content.from_bytes(b"other"), record().encounter_id))[0]
    (folder / swapped.name).write_bytes((folder / other.name).read_bytes())
    (folder / "stray.jpg").write_bytes(b"x")
    upload.write_bytes(PICTURE)
    assert {(problem.held_id, problem.what) for problem in quarantine.verify()} == {
        (moved.id, "original_still_there"),
        (missing.id, "missing"),
        (changed.id, "unreadable"),
        (swapped.id, "changed"),
        ("", "unknown_file"),
    }
    for damaged in (missing, changed, swapped):
        with pytest.raises(RecordError):
            quarantine.restore(damaged.id, by=ALICE, to=str(tmp_path / "never"))
        assert quarantine.find(damaged.id)[0].state is HeldState.HELD
    assert not (tmp_path / "never").exists()


def test_with_another_key_nothing_opens_and_the_hint_says_why(
    store: Store, record: Record, tmp_path: Path
) -> None:
    parts = {"place": str(tmp_path / "q"), "keep_days": 1}
    mine = Quarantine(store, key=KeyFile(tmp_path / "a", what="key"), **parts)  # type: ignore[arg-type]
    theirs = Quarantine(store, key=KeyFile(tmp_path / "b", what="key"), **parts)  # type: ignore[arg-type]
    held_id = mine.hold(Content.from_bytes(PICTURE), record().encounter_id)
    with pytest.raises(RecordError, match="another key"):
        theirs.restore(held_id, by=ALICE, to=str(tmp_path / "never"))
    assert [problem.what for problem in theirs.verify()] == ["unreadable"]
    assert mine.verify() == ()


def test_an_original_that_changed_meanwhile_is_left(
    quarantine: Quarantine, record: Record, upload: Path
) -> None:
    """Somebody replaces the file between the scan and the move: what was not looked at is not deleted."""
    other = upload.with_name("seen")
    other.write_bytes(PICTURE)
    encounter_id = record().encounter_id
    upload.write_bytes(b"another picture")
    with pytest.raises(RecordError, match="changed"):
        quarantine.hold(Content.from_path(other), encounter_id, str(upload), move=True)
    assert upload.read_bytes() == b"another picture"
    (held,) = quarantine.list()
    assert (held.state, held.size_bytes) == (HeldState.HELD, len(PICTURE))


def test_other_names_of_a_moved_file_are_noted(
    quarantine: Quarantine, record: Record, upload: Path, store: Store
) -> None:
    upload.with_name("second name").hardlink_to(upload)
    held = hold(quarantine, record, upload)
    with store.transaction() as tx:
        notes = {follow_up.kind: follow_up.note for follow_up in follow_ups_of(tx, held.encounter_id)}
    assert notes["removed"] == "1 other names (hard links) of the file remain"


def test_a_file_is_found_by_case_encounter_or_its_own_id(quarantine: Quarantine, record: Record) -> None:
    receipt = record()
    held_id = quarantine.hold(Content.from_bytes(PICTURE), receipt.encounter_id)
    for reference in (held_id, receipt.encounter_id, receipt.case_reference.lower().replace("-", " ")):
        assert [held.id for held in quarantine.find(reference)] == [held_id]
    assert quarantine.find("") == quarantine.find("nothing") == ()
    assert "holiday" not in repr(quarantine.find(held_id))


def test_operators_have_names_and_are_two_people() -> None:
    for first, second in (("", ""), (" ", ""), ("alice", "Alice ")):
        with pytest.raises(ValueError):
            Operators(first=first, second=second)


def test_putting_back_takes_the_same_content_for_done_and_nothing_else(tmp_path: Path) -> None:
    """What `finish` meets after a crash: the file that was being restored, or a stranger's."""
    vault = Vault(str(tmp_path / "q"), KeyFile(tmp_path / "k", what="key"))
    seen = vault.seal("x", Content.from_bytes(PICTURE))
    target = tmp_path / "target"
    for _ in range(2):
        vault.put_back("x", str(target), sha256=seen.sha256, like=places.UNKNOWN)
    target.write_bytes(b"a stranger's")
    with pytest.raises(AlreadyThereError):
        vault.put_back("x", str(target), sha256=seen.sha256, like=places.UNKNOWN)
    assert target.read_bytes() == b"a stranger's"


def test_of_many_who_act_at_once_one_does_it_and_the_others_are_told(
    quarantine: Quarantine, record: Record, upload: Path, place: str, store: Store
) -> None:
    held = hold(quarantine, record, upload)
    ready, said = threading.Barrier(8), []

    def act(number: int) -> None:
        what = (quarantine.restore, quarantine.purge)[number % 2]
        ready.wait()
        try:
            what(held.id, by=ALICE)
            said.append(what.__name__)
        except RecordError:
            pass
        finally:
            store.close()

    threads = [threading.Thread(target=act, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) == 1
    assert upload.exists() == (said == ["restore"])
    assert places.names(place) == ()
    assert verify_audit(store).broken_at is None
    assert (
        len([kind for kind, _ in audit(store) if kind in ("quarantine_restored", "quarantine_purged")]) == 1
    )


class ForgetfulFileSystem(MemoryFileSystem):  # type: ignore[misc]
    """Says that it stored everything, and drops the last byte."""

    protocol = "forgetful"

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode == "rb" and self.store[path].getbuffer().nbytes:
            self.store[path].truncate(self.store[path].getbuffer().nbytes - 1)
        return super()._open(path, mode, **options)


def test_a_storage_that_does_not_keep_what_it_took_is_not_believed(
    store: Store, record: Record, upload: Path, tmp_path: Path
) -> None:
    fsspec.register_implementation("forgetful", ForgetfulFileSystem, clobber=True)
    key = KeyFile(tmp_path / "k", what="key")
    quarantine = Quarantine(store, place=f"forgetful://{tmp_path.name}", key=key, keep_days=1)
    with pytest.raises(RecordError):
        quarantine.hold(Content.from_path(upload), record().encounter_id, str(upload), move=True)
    assert upload.read_bytes() == PICTURE
    assert quarantine.list() == ()
