"""Rates: so many items and bytes a second are handed out, on average since the start."""

import time
from collections.abc import Callable


class Pace:
    """Waits before work is handed out.

    Args:
        objects_per_s, bytes_per_s: 0 for no limit.
        sleep: waits so many seconds; True when it was cut short because the run is to stop.
        timer: monotonic seconds.
    """

    def __init__(
        self,
        *,
        objects_per_s: float,
        bytes_per_s: float,
        sleep: Callable[[float], bool],
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._objects_per_s = objects_per_s
        self._bytes_per_s = bytes_per_s
        self._sleep = sleep
        self._timer = timer
        self._free_at_s = float("-inf")

    def wait(self, items: int, size_bytes: int) -> bool:
        """Wait until this may be handed out. False when the run is to stop instead."""
        now_s = self._timer()
        if self._free_at_s > now_s and self._sleep(self._free_at_s - now_s):
            return False
        costs_s = max(
            items / self._objects_per_s if self._objects_per_s else 0.0,
            size_bytes / self._bytes_per_s if self._bytes_per_s else 0.0,
        )
        # From now, not from when it was free: time that was not used is not caught up in a burst.
        self._free_at_s = max(self._free_at_s, self._timer()) + costs_s
        return True
