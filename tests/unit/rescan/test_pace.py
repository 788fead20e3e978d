"""Rates hold on average, and what was not used is not caught up in a burst."""

from iii_client.rescan.pace import Pace


class Time:
    def __init__(self) -> None:
        self.now_s = 0.0

    def sleep(self, seconds: float) -> bool:
        self.now_s += seconds
        return False


def test_the_slower_of_two_rates_holds() -> None:
    time = Time()
    pace = Pace(objects_per_s=10, bytes_per_s=1000, sleep=time.sleep, timer=lambda: time.now_s)
    for _ in range(11):
        assert pace.wait(5, 100)
    assert time.now_s == 5.0  # 50 items at 10 a second; the bytes alone would take 1 s
    assert pace.wait(0, 10_000)
    assert pace.wait(0, 0)
    assert time.now_s == 15.5


def test_an_idle_minute_is_not_caught_up() -> None:
    time = Time()
    pace = Pace(objects_per_s=1, bytes_per_s=0, sleep=time.sleep, timer=lambda: time.now_s)
    pace.wait(1, 0)
    time.now_s = 60.0
    for _ in range(4):
        pace.wait(1, 0)
    assert time.now_s == 63.0


def test_no_rate_is_no_wait_and_a_stop_ends_a_wait() -> None:
    time = Time()
    Pace(objects_per_s=0, bytes_per_s=0, sleep=lambda _: True, timer=lambda: 0).wait(10**9, 10**12)
    slow = Pace(objects_per_s=1, bytes_per_s=0, sleep=lambda _: True, timer=lambda: time.now_s)
    assert slow.wait(1, 0)
    assert not slow.wait(1, 0)
