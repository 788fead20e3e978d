"""What was held comes back when the service denies it later, whichever of both came first."""

from pathlib import Path

import pytest
from tests.outbox_items import NOON, denied, listed, record

from iii_client.content import Content
from iii_client.notify import Delivery
from iii_client.records import SqliteStore, Store
from iii_client.records.key_file import KeyFile
from iii_client.records.late_answers import settle
from iii_client.records.operators import Operators
from iii_client.records.outbox import lease
from iii_client.records.quarantine import Quarantine
from iii_client.records.review import decide

PICTURE = b"a harmless picture" * 1000


class Site:
    """A small hoster: one upload whose decision said "hold"."""

    def __init__(self, folder: Path) -> None:
        self.store: Store = SqliteStore(folder / "state" / "state.db")
        self.quarantine = Quarantine(
            self.store,
            place=str(folder / "quarantine"),
            key=KeyFile(folder / "quarantine.key", what="quarantine key"),
            keep_days=90,
            clock=lambda: NOON,
        )
        self.upload = folder / "holiday.jpg"
        self.upload.write_bytes(PICTURE)
        (self.encounter_id,) = record(self.store, folder, [1])

    def hold(self, *, by: Operators | None = None) -> None:
        content = Content.from_path(self.upload)
        self.quarantine.hold(content, self.encounter_id, str(self.upload), move=True, by=by)
        assert not self.upload.exists()

    def answer(self, *, is_listed: bool) -> None:
        with self.store.transaction() as tx:
            (waiting,) = lease(tx, holder="me", limit=1, now=NOON, lease_s=60)
            settle(tx, [(listed if is_listed else denied)(waiting)], now=NOON)

    def deliver(self) -> int:
        return Delivery(self.store, releaser=self.quarantine, clock=lambda: NOON).deliver_due().delivered


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_held_and_then_denied_it_comes_back(site: Site) -> None:
    site.hold()
    site.answer(is_listed=False)
    assert site.deliver() == 1
    assert site.upload.read_bytes() == PICTURE


def test_denied_before_it_was_held_it_comes_back_too(site: Site) -> None:
    site.answer(is_listed=False)
    assert site.deliver() == 1, "the first order finds nothing held"
    site.hold()
    assert site.deliver() == 1
    assert site.upload.read_bytes() == PICTURE


def test_what_is_listed_stays_held(site: Site) -> None:
    site.answer(is_listed=True)
    site.hold()
    assert site.deliver() == 0
    assert not site.upload.exists()


def test_what_a_person_holds_against_the_answer_stays_held(site: Site) -> None:
    site.answer(is_listed=False)
    site.deliver()
    site.hold(by=Operators(first="ann"))
    assert site.deliver() == 0
    assert not site.upload.exists()


def test_denied_under_a_legal_hold_it_comes_back_when_that_is_lifted(site: Site) -> None:
    site.hold()
    (held,) = site.quarantine.list()
    site.quarantine.set_legal_hold(held.id, reason="police 12/26", by=Operators(first="ann"))
    site.answer(is_listed=False)
    site.deliver()
    assert not site.upload.exists()
    site.quarantine.set_legal_hold(held.id, reason="", by=Operators(first="ann"))
    assert site.deliver() == 1
    assert site.upload.read_bytes() == PICTURE


def test_a_person_said_ok_under_a_legal_hold_and_it_comes_back_when_that_is_lifted(site: Site) -> None:
    site.hold()
    (held,) = site.quarantine.list()
    site.quarantine.set_legal_hold(held.id, reason="police 12/26", by=Operators(first="ann"))
    with site.store.transaction() as tx:
        decide(tx, site.encounter_id, innocent=True, by=Operators(first="ann"), now=NOON)
    site.deliver()
    site.quarantine.set_legal_hold(held.id, reason="", by=Operators(first="ann"))
    site.deliver()
    assert site.upload.read_bytes() == PICTURE


def test_lifting_a_legal_hold_gives_back_nothing_that_is_listed(site: Site) -> None:
    site.hold()
    (held,) = site.quarantine.list()
    site.quarantine.set_legal_hold(held.id, reason="police 12/26", by=Operators(first="ann"))
    site.answer(is_listed=True)
    site.quarantine.set_legal_hold(held.id, reason="", by=Operators(first="ann"))
    site.deliver()
    assert not site.upload.exists()


def test_denied_while_a_hold_was_interrupted_it_comes_back_once_that_is_finished(site: Site) -> None:
    site.hold()
    (held,) = site.quarantine.list()
    with site.store.transaction() as tx:  # as if the process had died before it deleted the original
        tx.execute("UPDATE held SET state = 'moving' WHERE id = :id", id=held.id)
    site.upload.write_bytes(PICTURE)
    site.answer(is_listed=False)
    site.deliver()
    assert site.quarantine.finish(interrupted_after_s=0) == 1
    assert not site.upload.exists()
    assert site.deliver() == 1
    assert site.upload.read_bytes() == PICTURE
