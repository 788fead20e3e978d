"""Whatever order things happen in, a row is held by one at a time, leaves once, and is never lost.

The model is a dictionary: what each item should be. Holders die (they simply never come back), clocks go on,
people retry, two answers come for one row.
"""

import tempfile
from datetime import datetime, timedelta
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule
from tests.outbox_items import NOON, denied, listed, record

from iii_client.records import SqliteStore
from iii_client.records.late_answers import settle
from iii_client.records.operators import Operators
from iii_client.records.outbox import Waiting, hand_back, hand_over, lease, postpone, retry

LEASE_S = 60.0
MAX_PENDING = timedelta(hours=1)


class Outbox(RuleBasedStateMachine):
    taken = Bundle("taken")

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name)
        self.store = SqliteStore(self._path / "state.db")
        self.now: datetime = NOON
        self.holders = 0
        self.state: dict[str, str] = {}
        self.created: dict[str, datetime] = {}
        self.due: dict[str, datetime] = {}
        self.leased: dict[str, tuple[str, datetime]] = {}
        self.effects: dict[str, int] = {}

    def teardown(self) -> None:
        self.store.close()
        self._folder.cleanup()

    @rule(count=st.integers(1, 4))
    def add(self, count: int) -> None:
        for encounter_id in record(self.store, self._path, range(count), now=self.now):
            self.state[encounter_id] = "pending"
            self.created[encounter_id] = self.due[encounter_id] = self.now

    @rule(seconds=st.sampled_from([1, 30, 61, 1800, 4000]))
    def time_goes_on(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(target=taken, limit=st.integers(1, 5))
    def take(self, limit: int) -> object:
        self.holders += 1
        holder = f"h{self.holders}"
        free = {
            item
            for item, state in self.state.items()
            if state == "pending" and self.due[item] <= self.now and not self._is_leased(item)
        }
        with self.store.transaction() as tx:
            waiting = lease(tx, holder=holder, limit=limit, now=self.now, lease_s=LEASE_S)
        got = {one.encounter_id for one in waiting}
        assert got <= free
        assert len(got) == min(limit, len(free))
        for item in got:
            self.leased[item] = (holder, self.now + timedelta(seconds=LEASE_S))
        return multiple(*((holder, one) for one in waiting))

    @rule(who=taken, is_listed=st.booleans())
    def answer(self, who: tuple[str, Waiting], is_listed: bool) -> None:
        _, waiting = who
        with self.store.transaction() as tx:
            done = settle(tx, [(listed if is_listed else denied)(waiting)], now=self.now)
        expected = self.state[waiting.encounter_id] == "pending"
        assert bool(done) == expected
        if expected:
            self.state[waiting.encounter_id] = "settled"
            self.effects[waiting.encounter_id] = 1
            self.leased.pop(waiting.encounter_id, None)

    @rule(who=taken, later_s=st.sampled_from([0, 10, 500]), tried=st.booleans())
    def no_answer(self, who: tuple[str, Waiting], later_s: int, tried: bool) -> None:
        holder, waiting = who
        item = waiting.encounter_id
        mine = self.state[item] == "pending" and self.leased.get(item, ("",))[0] == holder
        until = self.now + timedelta(seconds=later_s if tried else 0)
        with self.store.transaction() as tx:
            if tried:
                done = postpone(tx, waiting.row_id, holder=holder, reason="service_error", until=until)
            else:
                done = hand_back(tx, waiting.row_id, holder=holder, now=self.now)
        assert done == mine
        if mine:
            self.due[item] = until
            del self.leased[item]

    @rule()
    def people_take_over(self) -> None:
        overdue = {
            item
            for item, state in self.state.items()
            if state == "pending"
            and self.created[item] <= self.now - MAX_PENDING
            and not self._is_leased(item)
        }
        with self.store.transaction() as tx:
            count = hand_over(tx, waiting_since=self.now - MAX_PENDING, now=self.now)
        assert count == len(overdue)
        for item in overdue:
            self.state[item] = "for_review"
            self.leased.pop(item, None)

    @rule()
    def somebody_retries(self) -> None:
        with self.store.transaction() as tx:
            retry(tx, by=Operators(first="ann"), now=self.now)
        for item, state in self.state.items():
            if state == "for_review" or (state == "pending" and self.due[item] > self.now):
                self.state[item], self.due[item] = "pending", self.now

    @invariant()
    def nothing_is_lost_and_nothing_doubled(self) -> None:
        with self.store.transaction() as tx:
            found: dict[str, str] = dict(tx.query("SELECT encounter_id, state FROM outbox"))
            answers: dict[str, int] = dict(
                tx.query(
                    "SELECT encounter_id, count(*) FROM follow_up"
                    " WHERE kind = 'late_answer' GROUP BY encounter_id"
                )
            )
            ((notices,),) = tx.query("SELECT count(*) FROM notice WHERE kind = 'late_answer'")
        assert found == self.state
        assert answers == self.effects
        assert notices == len(self.effects)

    def _is_leased(self, item: str) -> bool:
        return item in self.leased and self.leased[item][1] > self.now


TestOutbox = Outbox.TestCase
TestOutbox.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
