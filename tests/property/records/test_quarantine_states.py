"""Any order of holds, restores, purges, legal holds and crashes, against a model of a few dictionaries."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from iii_client.content import Content
from iii_client.errors import RecordError
from iii_client.model import (
    ANONYMOUS,
    Action,
    Decision,
    Fingerprint,
    Mode,
    Outcome,
    Reason,
    ReleaseId,
    Verdict,
)
from iii_client.records import SqliteStore, StateRecorder, Transaction
from iii_client.records.audit_check import verify_audit
from iii_client.records.held import Held, HeldState
from iii_client.records.key_file import KeyFile
from iii_client.records.operators import Operators
from iii_client.records.quarantine import Quarantine
from iii_client.records.vault import Vault

ALICE = Operators(first="alice")
KEEP = timedelta(days=10)
UNSCANNABLE = Decision(
    action=Action.QUARANTINE,
    ruled=Action.QUARANTINE,
    rule="truncated",
    verdict=Verdict(
        outcome=Outcome.UNSCANNABLE,
        fingerprint=Fingerprint(recipe="fast-v1", size_bytes=1, kind="png"),
        reasons=(Reason.TRUNCATED,),
        release=ReleaseId(epoch=1, sequence=0),
    ),
    mode=Mode.ENFORCE,
)


class Died(BaseException):
    """Stands for a killed process: nothing of the library catches it."""


class DyingStore:
    """Dies right before its n-th transaction; never when n is 0."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.dies_in = 0

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        self.dies_in -= 1
        if self.dies_in == 0:
            raise Died
        with self._store.transaction() as tx:
            yield tx

    def reading(self) -> AbstractContextManager[Transaction]:
        return self._store.reading()

    def close(self) -> None:
        self._store.close()


PICK = st.integers(0, 7)
#: Runs of 25 steps; `III_TEST_QUARANTINE_RUNS=2000` for an hour of them.
STATES = int(os.environ.get("III_TEST_QUARANTINE_RUNS", "12"))


def live(states: "QuarantineStates") -> bool:
    return bool(states.quarantine.list())


class QuarantineStates(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        root = Path(self.folder.name)
        self.uploads = root / "uploads"
        self.uploads.mkdir()
        self.now = datetime(2026, 11, 24, tzinfo=UTC)
        self.store = SqliteStore(root / "state.db")
        self.dying = DyingStore(self.store)
        self.recorder = StateRecorder.in_directory(root, clock=lambda: self.now)
        key = KeyFile(root / "quarantine.key", what="key")
        self.vault = Vault(str(root / "q"), key)
        self.quarantine = Quarantine(
            self.dying, place=str(root / "q"), key=key, keep_days=KEEP.days, clock=lambda: self.now
        )
        #: By the name of the upload. A content must be readable somewhere, unless it was purged by order.
        self.contents: dict[str, bytes] = {}
        self.strangers: dict[str, bytes] = {}
        self.legal: dict[str, bytes] = {}
        self.purged: set[str] = set()
        self.lost_before: set[str] = set()

    def teardown(self) -> None:
        self.store.close()
        self.recorder.close()
        self.folder.cleanup()

    def act(self, dies_in: int, what: Any) -> None:
        """Do it, perhaps until death, perhaps refused; then what every start-up does."""
        self.dying.dies_in = dies_in
        try:
            with suppress(RecordError):
                what()
        except Died:
            pass
        self.dying.dies_in = 0
        self.now += timedelta(minutes=1)
        self.quarantine.finish(interrupted_after_s=0)

    @rule(content=st.binary(max_size=20), move=st.booleans(), dies_in=st.integers(0, 5))
    def upload_and_hold(self, content: bytes, move: bool, dies_in: int) -> None:
        name = f"{len(self.contents)}"
        self.contents[name] = content
        path = self.uploads / name
        path.write_bytes(content)
        encounter_id = self.recorder.record(UNSCANNABLE, ANONYMOUS).encounter_id

        def what() -> None:
            self.quarantine.hold(Content.from_path(path), encounter_id, str(path), move=move, by=ALICE)

        self.act(dies_in, what)

    @rule(content=st.binary(max_size=20), other=st.binary(max_size=20), dies_in=st.integers(0, 5))
    def hold_what_was_replaced_meanwhile(self, content: bytes, other: bytes, dies_in: int) -> None:
        name = f"{len(self.contents)}"
        self.contents[name] = content
        path = self.uploads / name
        path.write_bytes(other)
        if other != content:
            self.strangers[name] = other
        encounter_id = self.recorder.record(UNSCANNABLE, ANONYMOUS).encounter_id
        self.lost_before.add(name)  # until it is sealed, it is nowhere

        def what() -> None:
            self.quarantine.hold(Content.from_bytes(content), encounter_id, str(path), move=True, by=ALICE)

        self.act(dies_in, what)
        if self.rows(name):
            self.lost_before.discard(name)

    @precondition(live)
    @rule(pick=PICK, dies_in=st.integers(0, 5))
    def restore(self, pick: int, dies_in: int) -> None:
        row = self.pick(pick)
        self.act(dies_in, lambda: self.quarantine.restore(row.id, by=ALICE))

    @precondition(live)
    @rule(pick=PICK, dies_in=st.integers(0, 5))
    def release(self, pick: int, dies_in: int) -> None:
        row = self.pick(pick)
        self.act(dies_in, lambda: self.quarantine.release(row.encounter_id, by="late answer"))

    @precondition(live)
    @rule(pick=PICK, dies_in=st.integers(0, 4))
    def purge(self, pick: int, dies_in: int) -> None:
        row = self.pick(pick)
        self.act(dies_in, lambda: self.quarantine.purge(row.id, by=ALICE))
        if self.quarantine.find(row.id)[0].state is HeldState.PURGED:
            self.purged.add(Path(row.origin).name)

    @precondition(live)
    @rule(pick=PICK, on=st.booleans())
    def legal_hold(self, pick: int, on: bool) -> None:
        row = self.pick(pick)
        self.quarantine.set_legal_hold(row.id, reason="file 1" if on else "", by=ALICE)
        self.legal.pop(row.id, None)
        if on:
            self.legal[row.id] = self.contents[Path(row.origin).name]

    @precondition(live)
    @rule(pick=PICK, content=st.binary(max_size=20))
    def a_stranger_takes_the_name(self, pick: int, content: bytes) -> None:
        path = Path(self.pick(pick).origin)
        if not path.exists():
            path.write_bytes(content)
            self.strangers[path.name] = content

    @rule()
    def time_passes(self) -> None:
        self.now += KEEP / 2
        due = [
            held for held in self.quarantine.list() if not held.legal_hold and held.held_at <= self.now - KEEP
        ]
        self.act(0, lambda: self.quarantine.purge_due(by=ALICE))
        for held in due:
            assert self.quarantine.find(held.id)[0].state is HeldState.PURGED
        self.purged |= {Path(held.origin).name for held in due}

    def pick(self, number: int) -> Held:
        rows = self.quarantine.list()
        return rows[number % len(rows)]

    def rows(self, name: str) -> list[Held]:
        return [held for held in self.quarantine.list() if Path(held.origin).name == name]

    @invariant()
    def nothing_is_lost(self) -> None:
        for name, content in self.contents.items():
            path = self.uploads / name
            lies_there = path.exists() and path.read_bytes() == content
            sealed = any(self.vault.read(row.name).size_bytes == len(content) for row in self.rows(name))
            assert lies_there or sealed or name in self.purged | self.lost_before

    @invariant()
    def no_file_of_a_stranger_is_touched(self) -> None:
        for name, content in self.strangers.items():
            assert (self.uploads / name).read_bytes() == content

    @invariant()
    def legal_holds_hold(self) -> None:
        for held_id, content in self.legal.items():
            (row,) = self.quarantine.find(held_id)
            assert row.state is HeldState.HELD
            assert self.vault.read(row.name).size_bytes == len(content)

    @invariant()
    def nothing_is_left_over(self) -> None:
        """No act stays open, no file is unknown, damaged or half written; the log is whole."""
        assert {problem.what for problem in self.quarantine.verify()} <= {"original_still_there"}
        assert {path.name for path in self.uploads.iterdir()} <= set(self.contents)
        assert verify_audit(self.store).broken_at is None


TestQuarantineStates = QuarantineStates.TestCase
TestQuarantineStates.settings = settings(max_examples=STATES, stateful_step_count=25, deadline=None)
