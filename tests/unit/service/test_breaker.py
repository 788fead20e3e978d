"""The circuit breaker's rules, on a clock of numbers."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_client.model.breakers import CLOSED, SERVICE_REFUSED_ALARM, BreakerState
from iii_client.service.breaker import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    LONGEST_WAIT_S,
    OPEN_AFTER,
    PROBE_S,
    Admission,
    Phase,
    admit,
    answered,
    failed,
    not_asked,
    paused_s,
    phase,
    refused,
    worked,
)

NOW = 1_800_000_000_000


def fail(
    state: BreakerState, *, now_ms: int = NOW, probed: bool = False, jitter: float = 0.0
) -> BreakerState:
    return failed(state, probed=probed, jitter=jitter, now_ms=now_ms)


def opened(now_ms: int = NOW) -> BreakerState:
    state = CLOSED
    for _ in range(OPEN_AFTER):
        state = fail(state, now_ms=now_ms)
    return state


def test_it_opens_after_failures_in_a_row_and_not_before() -> None:
    state = CLOSED
    for _ in range(OPEN_AFTER - 1):
        state = fail(state)
        assert admit(state, now_ms=NOW) == (Admission.GO, state)
    state = worked(state, wait_s=0, now_ms=NOW)
    assert state == CLOSED
    assert admit(opened(), now_ms=NOW)[0] is Admission.PAUSED


def test_half_open_lets_one_caller_probe_and_keeps_the_others_away() -> None:
    later = NOW + round(FIRST_PAUSE_S * 1000)
    state = opened()
    assert phase(state, now_ms=later - 1) is Phase.OPEN
    assert phase(state, now_ms=later) is Phase.HALF_OPEN
    first, state = admit(state, now_ms=later)
    second, state = admit(state, now_ms=later)
    assert (first, second) == (Admission.PROBE, Admission.PAUSED)
    assert paused_s(state, now_ms=later) == PROBE_S


def test_a_prober_that_was_killed_is_replaced_after_its_time() -> None:
    later = NOW + round(FIRST_PAUSE_S * 1000)
    _, state = admit(opened(), now_ms=later)
    assert admit(state, now_ms=later + round(PROBE_S * 1000))[0] is Admission.PROBE


def test_a_probe_that_was_not_made_in_the_end_is_given_back() -> None:
    later = NOW + round(FIRST_PAUSE_S * 1000)
    _, state = admit(opened(), now_ms=later)
    assert admit(not_asked(state, probed=True), now_ms=later)[0] is Admission.PROBE
    assert not_asked(state, probed=False) == state


def test_each_failed_probe_doubles_the_pause_up_to_the_longest() -> None:
    state, now_ms, pauses = opened(), NOW, []
    for _ in range(12):
        pauses.append(paused_s(state, now_ms=now_ms))
        now_ms += round(pauses[-1] * 1000)
        admission, state = admit(state, now_ms=now_ms)
        assert admission is Admission.PROBE
        state = fail(state, now_ms=now_ms, probed=True)
    assert pauses[:4] == [1, 2, 4, 8]
    assert pauses[-1] == LONGEST_PAUSE_S


def test_jitter_adds_up_to_as_much_again() -> None:
    state = opened()
    later = NOW + 1000
    _, state = admit(state, now_ms=later)
    assert paused_s(fail(state, now_ms=later, probed=True, jitter=1.0), now_ms=later) == 4


def test_calls_from_before_it_opened_do_not_lengthen_the_pause() -> None:
    state = opened()
    for _ in range(20):
        assert fail(state) == state


@pytest.mark.parametrize("after", [answered, refused, worked])
def test_any_sign_of_life_closes_it(after: object) -> None:
    _, state = admit(opened(), now_ms=NOW + 1000)
    if after is refused:
        state = refused(state, now_ms=NOW + 1000)
    else:
        state = after(state, wait_s=0, now_ms=NOW + 1000)  # type: ignore[operator]
    assert admit(state, now_ms=NOW + 1000)[0] is Admission.GO


def test_refused_credentials_never_open_it_and_the_alarm_stays_until_an_answer() -> None:
    state = CLOSED
    for _ in range(100):
        state = refused(state, now_ms=NOW)
    assert state.alarm == SERVICE_REFUSED_ALARM
    assert admit(state, now_ms=NOW)[0] is Admission.GO
    state = fail(answered(state, wait_s=0, now_ms=NOW))
    assert state.alarm == SERVICE_REFUSED_ALARM
    assert worked(state, wait_s=0, now_ms=NOW).alarm == ""


def test_a_wait_that_the_service_asks_for_is_kept_whatever_comes_meanwhile() -> None:
    state = worked(CLOSED, wait_s=60, now_ms=NOW)
    assert phase(state, now_ms=NOW + 59_999) is Phase.WAITING
    # Calls that were under way when it was asked for.
    for state_after in (
        worked(state, wait_s=0, now_ms=NOW + 10),
        worked(state, wait_s=5, now_ms=NOW + 10),
        refused(state, now_ms=NOW + 10),
        fail(state, now_ms=NOW + 10),
    ):
        assert admit(state_after, now_ms=NOW + 59_999)[0] is Admission.PAUSED
        assert admit(state_after, now_ms=NOW + 60_000)[0] is Admission.GO


def test_no_wait_longer_than_a_day_is_believed_nor_one_left_by_a_clock_that_was_wrong() -> None:
    state = worked(CLOSED, wait_s=1e9, now_ms=NOW)
    assert paused_s(state, now_ms=NOW) == LONGEST_WAIT_S
    a_year_ago = NOW - 365 * 24 * 3600 * 1000
    assert admit(state, now_ms=a_year_ago)[0] is Admission.GO
    assert admit(replace(opened(), open_until_ms=NOW), now_ms=a_year_ago)[0] is Admission.PROBE


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["call", "late failure", "refused", "wait"]), st.booleans(), st.integers(0, 400)
    ),
    max_size=60,
)


@given(_STEPS)
def test_whatever_happens_it_is_asked_again_within_the_longest_pause(
    steps: list[tuple[str, bool, int]],
) -> None:
    state, now_ms, longest_wait_s = CLOSED, NOW, 0.0
    for what, works, seconds in steps:
        if what == "call":
            admission, state = admit(state, now_ms=now_ms)
            if admission is not Admission.PAUSED:
                probed = admission is Admission.PROBE
                state = (
                    worked(state, wait_s=0, now_ms=now_ms)
                    if works
                    else failed(state, probed=probed, jitter=1.0, now_ms=now_ms)
                )
        elif what == "late failure":
            state = failed(state, probed=False, jitter=1.0, now_ms=now_ms)
        elif what == "refused":
            state = refused(state, now_ms=now_ms)
        else:
            state = answered(state, wait_s=seconds, now_ms=now_ms)
            longest_wait_s = max(longest_wait_s, seconds)
        now_ms += seconds * 1000
        left_s = paused_s(state, now_ms=now_ms)
        assert left_s <= max(LONGEST_PAUSE_S, longest_wait_s, PROBE_S)
        assert (left_s > 0) == (admit(state, now_ms=now_ms)[0] is Admission.PAUSED)
        assert admit(state, now_ms=now_ms + round(left_s * 1000))[0] is not Admission.PAUSED
