"""SIGKILL at every step of hold, restore and purge: nothing is lost or doubled, all can be finished."""

import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from iii_client.content import Content
from iii_client.errors import RecordError
from iii_client.model import Receipt
from iii_client.records import Store, Transaction, places
from iii_client.records.audit_check import verify_audit
from iii_client.records.held import HeldState
from iii_client.records.key_file import KeyFile
from iii_client.records.operators import Operators
from iii_client.records.quarantine import Quarantine

PICTURE = bytes(range(256)) * 1024
ALICE = Operators(first="alice")
#: One more than any act has; the tests check that the last is not reached.
MOST_TRANSACTIONS = 4

Act = Callable[[Quarantine], object]


class DyingStore:
    """A store whose process is killed right before or right after its n-th transaction."""

    def __init__(self, store: Store, *, number: int, after: bool) -> None:
        self._store = store
        self._number = number
        self._after = after
        self._seen = 0

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        self._seen += 1
        if self._seen == self._number and not self._after:
            os.kill(os.getpid(), signal.SIGKILL)
        with self._store.transaction() as tx:
            yield tx
        if self._seen == self._number:
            os.kill(os.getpid(), signal.SIGKILL)

    def reading(self) -> AbstractContextManager[Transaction]:
        return self._store.reading()

    def close(self) -> None:
        self._store.close()


def in_a_child(act: Callable[[], object]) -> bool:
    """Run it in a process of its own; True when that was killed, False when it came to its end."""
    child = os.fork()
    if child == 0:
        try:
            act()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert status == 0 or os.WIFSIGNALED(status), "the act failed instead of being killed"
    return os.WIFSIGNALED(status)


class Site:
    """A folder with an upload, and its quarantine."""

    def __init__(self, store: Store, folder: Path, encounter_id: str) -> None:
        self.store = store
        self.folder = folder
        self.encounter_id = encounter_id
        self.upload = folder / "uploads" / "picture"
        self.upload.parent.mkdir()
        self.upload.write_bytes(PICTURE)

    def quarantine(self, store: Store | None = None) -> Quarantine:
        key = KeyFile(self.folder / "quarantine.key", what="key")
        return Quarantine(store or self.store, place=str(self.folder / "q"), key=key, keep_days=1)

    def hold(self, quarantine: Quarantine) -> str:
        content = Content.from_path(self.upload)
        return quarantine.hold(content, self.encounter_id, str(self.upload), move=True, by=ALICE)

    def state(self) -> set[HeldState]:
        return {held.state for held in self.quarantine().list(live_only=False)}

    def assert_nothing_lies_about(self) -> None:
        """Only the upload, or nothing, in its folder; only known files in quarantine; a whole log."""
        assert {path.name for path in self.upload.parent.iterdir()} <= {"picture"}
        assert self.quarantine().verify() == ()
        assert verify_audit(self.store).broken_at is None

    def audited(self, kind: str) -> int:
        with self.store.transaction() as tx:
            ((count,),) = tx.query("SELECT count(*) FROM audit WHERE kind = :kind", kind=kind)
        return int(count)


@pytest.fixture
def site(store: Store, tmp_path: Path, record: Callable[..., Receipt]) -> Site:
    return Site(store, tmp_path, record().encounter_id)


STEPS = [(number, after) for number in range(1, MOST_TRANSACTIONS + 1) for after in (False, True)]


@pytest.mark.parametrize(("number", "after"), STEPS)
def test_a_hold_that_is_killed_loses_nothing_and_goes_on(site: Site, number: int, after: bool) -> None:
    dying = DyingStore(site.store, number=number, after=after)
    killed = in_a_child(lambda: site.hold(site.quarantine(dying)))
    assert killed == (number <= 3)
    whole = [held for held in site.quarantine().list() if held.state in (HeldState.MOVING, HeldState.HELD)]
    assert site.upload.exists() or len(whole) == 1, "neither the original nor a sealed copy"
    site.quarantine().finish(interrupted_after_s=-1)
    if site.upload.exists():
        site.hold(site.quarantine())
    (held,) = site.quarantine().list()
    assert held.state is HeldState.HELD
    assert site.audited("quarantine_held") == site.audited("quarantine_removed") == 1
    assert not site.upload.exists()
    site.assert_nothing_lies_about()
    site.quarantine().restore(held.id, by=ALICE)
    assert site.upload.read_bytes() == PICTURE


@pytest.mark.parametrize(("number", "after"), STEPS)
def test_a_restore_that_is_killed_is_finished_once(site: Site, number: int, after: bool) -> None:
    held_id = site.hold(site.quarantine())
    dying = DyingStore(site.store, number=number, after=after)
    killed = in_a_child(lambda: site.quarantine(dying).restore(held_id, by=ALICE))
    assert killed == (number <= 3)
    assert site.upload.exists() or site.quarantine().list(), "neither the original nor a sealed copy"
    site.quarantine().finish(interrupted_after_s=-1)
    if site.state() == {HeldState.HELD}:
        assert number == 1, "an ordered restore is not forgotten"
        site.quarantine().restore(held_id, by=ALICE)
    assert site.state() == {HeldState.RESTORED}
    assert site.upload.read_bytes() == PICTURE
    assert site.audited("quarantine_restored") == 1
    assert places.names(str(site.folder / "q")) == ()
    site.assert_nothing_lies_about()


@pytest.mark.parametrize(("number", "after"), STEPS[:6])
def test_a_purge_that_is_killed_is_finished(site: Site, number: int, after: bool) -> None:
    held_id = site.hold(site.quarantine())
    dying = DyingStore(site.store, number=number, after=after)
    killed = in_a_child(lambda: site.quarantine(dying).purge(held_id, by=ALICE))
    assert killed == (number <= 2)
    site.quarantine().finish(interrupted_after_s=-1)
    if site.state() == {HeldState.HELD}:
        site.quarantine().purge(held_id, by=ALICE)
    assert site.state() == {HeldState.PURGED}
    assert places.names(str(site.folder / "q")) == ()
    site.assert_nothing_lies_about()


def test_a_kill_while_a_file_is_written_leaves_no_part_of_it(site: Site) -> None:
    """Neither sealed in the quarantine nor, much worse, in the clear in a public folder."""
    try:
        os.close(os.open(site.folder, os.O_TMPFILE | os.O_WRONLY))
    except OSError:
        pytest.skip("this file system knows no files without a name; the documentation says what that means")
    quarantine = site.quarantine()
    held_id = site.hold(quarantine)

    def parts() -> Iterator[bytes]:
        yield b"half a picture"
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_a_child(lambda: places.write_new(str(site.upload), parts()))
    assert list(site.upload.parent.iterdir()) == []
    quarantine.restore(held_id, by=ALICE)
    assert site.upload.read_bytes() == PICTURE


def test_a_full_disk_while_sealing_leaves_the_original_and_no_open_row(site: Site) -> None:
    large = PICTURE * 32

    def hold_with_little_room() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        # Enough for the database's log, too little for the sealed file.
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, 4 << 20))
        with pytest.raises(RecordError, match="File too large"):
            site.hold(site.quarantine())

    site.upload.write_bytes(large)
    assert not in_a_child(hold_with_little_room)
    assert site.upload.read_bytes() == large
    assert site.quarantine().list() == ()
    site.assert_nothing_lies_about()
