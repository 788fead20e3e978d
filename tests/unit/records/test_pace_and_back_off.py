"""The shared rate and the pauses: fair to the service, whatever clocks do."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from tests.outbox_items import NOON

from iii_client.records import Store
from iii_client.records.back_off import back_off_s
from iii_client.records.pace import take_slot


def slot(store: Store, *, per_s: float, at_s: float) -> float:
    with store.transaction() as tx:
        return take_slot(tx, per_s=per_s, now=NOON + timedelta(seconds=at_s))


def test_slots_come_one_interval_after_the_other(store: Store) -> None:
    assert [slot(store, per_s=4.0, at_s=0) for _ in range(4)] == [0.0, 0.25, 0.5, 0.75]
    assert slot(store, per_s=4.0, at_s=0.9) == 0.1
    assert slot(store, per_s=4.0, at_s=50) == 0.0, "what was not used is not saved up"


def test_a_clock_that_ran_ahead_blocks_nobody_for_long(store: Store) -> None:
    slot(store, per_s=2.0, at_s=86_400)
    assert slot(store, per_s=2.0, at_s=0) == 0.0


def test_a_slow_rate_is_kept_beyond_a_minute(store: Store) -> None:
    assert [slot(store, per_s=0.02, at_s=0) for _ in range(4)] == [0.0, 50.0, 100.0, 150.0]


@given(failures=st.integers(-3, 10_000), chance=st.floats(0, 1), asked=st.floats(0, 90_000))
def test_a_pause_is_never_shorter_than_asked_for_nor_longer_than_that_and_the_most(
    failures: int, chance: float, asked: float
) -> None:
    pause = back_off_s(failures, base_s=2.0, most_s=900.0, at_least_s=asked, chance=lambda: chance)
    assert asked <= pause <= asked + 900.0


def test_pauses_double_up_to_the_most() -> None:
    def pause(failures: int) -> float:
        return back_off_s(failures, base_s=2.0, most_s=60.0, chance=lambda: 1.0)

    assert [pause(failures) for failures in (1, 2, 3, 6, 99)] == [2.0, 4.0, 8.0, 60.0, 60.0]
