"""A thread that drains the outbox beside the application's own work.

Promises: it starts again in a forked child when it is next looked after; it never raises into the application
and never dies of a store that refuses; `close` ends it after the call under way.
"""

import logging
import os
import random
import threading
from collections.abc import Callable
from typing import Protocol

from iii_client.drain.report import DrainReport
from iii_client.errors import RecordError

logger = logging.getLogger(__name__)

#: How long an idle drainer waits before it looks again, and as much again at random: the workers of a host
#: should not look all at once. `nudge` cuts it short.
IDLE_S = 5.0
#: How long `close` waits for the call under way.
CLOSE_S = 15.0


class Drains(Protocol):
    """What it needs of a `Drainer`."""

    def drain_once(self, *, stop: threading.Event | None = None) -> DrainReport:
        """One round."""
        ...

    def pause_s(self, report: DrainReport, *, failures: int) -> float:
        """How long to pause after it."""
        ...


class BackgroundDrainer:
    """Runs rounds in a thread of its own, one a process.

    Args:
        drainer: what it runs.
        idle_s: see `IDLE_S`.
        chance: jitter, 0 to 1.
    """

    def __init__(
        self, drainer: Drains, *, idle_s: float = IDLE_S, chance: Callable[[], float] = random.random
    ) -> None:
        self._drainer = drainer
        self._idle_s = idle_s
        self._chance = chance
        self._running = _Running(pid=0)

    def ensure_running(self) -> None:
        """Start the thread in this process, unless it runs. Cheap: call it whenever something was added."""
        # No lock: one that another thread holds during a fork would stay locked in the child. Two threads
        # that race here start one drainer too many, which shares the work like any other.
        if self._running.pid != os.getpid() or self._running.stop.is_set():
            running = _Running(pid=os.getpid())
            self._running = running
            threading.Thread(target=self._run, args=(running,), name="iii-drain", daemon=True).start()

    def nudge(self) -> None:
        """Something was added, or a service is back: look now."""
        self.ensure_running()
        self._running.wake.set()

    def close(self) -> None:
        """End the thread after the call under way. It can be started again."""
        running = self._running
        running.stop.set()
        running.wake.set()
        if running.pid == os.getpid():
            running.ended.wait(CLOSE_S)

    def _run(self, running: "_Running") -> None:
        failures = 0
        try:
            while not running.stop.is_set():
                try:
                    report = self._drainer.drain_once(stop=running.stop)
                except RecordError as error:
                    failures += 1
                    logger.warning("the outbox cannot be drained now: %s %s", error, error.hint)
                    running.stop.wait(self._drainer.pause_s(DrainReport(), failures=failures))
                    continue
                failures = failures + 1 if report.problem else 0
                if not report.asked:
                    running.wake.wait(self._idle_s * (1 + self._chance()))
                    running.wake.clear()
                elif report.problem:
                    # Not cut short by `nudge`: while a service is down, every upload nudges.
                    running.stop.wait(self._drainer.pause_s(report, failures=failures))
        finally:
            # Should a fault that nobody thought of end it: the next `ensure_running` starts another.
            running.stop.set()
            running.ended.set()


class _Running:
    """The thread of one process."""

    def __init__(self, *, pid: int) -> None:
        self.pid = pid
        self.stop = threading.Event()
        self.wake = threading.Event()
        self.ended = threading.Event()
        if not pid:
            self.ended.set()
