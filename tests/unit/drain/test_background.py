"""The background drainer: one thread a process, alive after a fork, quiet when idle, ended by close."""

import os
import threading
import time
from collections.abc import Callable

import pytest

from iii_client.drain import BackgroundDrainer, DrainReport
from iii_client.errors import RecordError
from iii_client.model import Reason


class Rounds:
    """Counts rounds; what each gives comes from the test."""

    def __init__(self, give: Callable[[int], DrainReport] = lambda _: DrainReport()) -> None:
        self.give = give
        self.count = 0
        self.pauses: list[int] = []

    def drain_once(self, *, stop: threading.Event | None = None) -> DrainReport:
        self.count += 1
        return self.give(self.count)

    def pause_s(self, report: DrainReport, *, failures: int) -> float:
        self.pauses.append(failures)
        return 0.01


def wait_until(true: Callable[[], bool]) -> None:
    ends = time.monotonic() + 10
    while not true():
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.005)


def threads() -> int:
    return sum(thread.name == "iii-drain" for thread in threading.enumerate())


def test_it_looks_goes_on_while_there_is_work_and_then_idles() -> None:
    rounds = Rounds(lambda number: DrainReport(asked=1 if number < 5 else 0))
    background = BackgroundDrainer(rounds, idle_s=60)
    background.ensure_running()
    background.ensure_running()
    wait_until(lambda: rounds.count == 5)
    assert threads() == 1
    time.sleep(0.1)
    assert rounds.count == 5, "idle"
    background.nudge()
    wait_until(lambda: rounds.count == 6)
    background.close()
    wait_until(lambda: threads() == 0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_it_starts_again_after_a_fault_that_nobody_thought_of() -> None:
    def give(number: int) -> DrainReport:
        if number == 1:
            raise ZeroDivisionError
        return DrainReport()

    rounds = Rounds(give)
    background = BackgroundDrainer(rounds, idle_s=60)
    background.ensure_running()
    wait_until(lambda: rounds.count == 1 and threads() == 0)
    background.ensure_running()
    wait_until(lambda: rounds.count == 2)
    background.close()


def test_it_starts_again_after_close() -> None:
    rounds = Rounds()
    background = BackgroundDrainer(rounds, idle_s=60)
    background.ensure_running()
    background.close()
    before = rounds.count
    background.ensure_running()
    wait_until(lambda: rounds.count > before)
    background.close()


def test_a_store_that_refuses_does_not_end_it() -> None:
    def give(number: int) -> DrainReport:
        if number < 4:
            raise RecordError("locked")
        return DrainReport()

    rounds = Rounds(give)
    background = BackgroundDrainer(rounds, idle_s=60)
    background.ensure_running()
    wait_until(lambda: rounds.count == 4)
    background.close()
    assert rounds.pauses == [1, 2, 3]


def test_failures_in_a_row_are_counted_until_an_answer_comes() -> None:
    problem = DrainReport(asked=1, problem=Reason.SERVICE_UNREACHABLE)
    script = [problem, problem, DrainReport(asked=1), problem]
    rounds = Rounds(lambda number: script[number - 1] if number <= len(script) else DrainReport())
    background = BackgroundDrainer(rounds, idle_s=60)
    background.ensure_running()
    wait_until(lambda: rounds.count == 5)
    background.close()
    assert rounds.pauses == [1, 2, 1]


def test_nudges_do_not_cut_a_pause_after_a_failure_short() -> None:
    """While a service is down every upload nudges; the service must not get a call for each."""
    rounds = Rounds(lambda _: DrainReport(asked=1, problem=Reason.SERVICE_UNREACHABLE))
    rounds.pause_s = lambda report, *, failures: 60.0  # type: ignore[method-assign]
    background = BackgroundDrainer(rounds, idle_s=60)
    background.ensure_running()
    wait_until(lambda: rounds.count == 1)
    for _ in range(20):
        background.nudge()
        time.sleep(0.005)
    assert rounds.count == 1
    background.close()


def test_a_forked_child_gets_a_thread_of_its_own_when_it_is_looked_after() -> None:
    rounds = Rounds()
    background = BackgroundDrainer(rounds, idle_s=60)
    background.ensure_running()
    wait_until(lambda: rounds.count == 1)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            background.ensure_running()
            wait_until(lambda: rounds.count == 2)
            background.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert rounds.count == 1
    background.close()


def test_closing_in_a_child_that_never_used_it_does_not_wait_for_the_parents_thread() -> None:
    background = BackgroundDrainer(Rounds(), idle_s=60)
    background.ensure_running()
    child = os.fork()
    if child == 0:
        started = time.monotonic()
        background.close()
        os._exit(int(time.monotonic() - started > 5))
    assert os.waitpid(child, 0)[1] == 0
    background.close()
