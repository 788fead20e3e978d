"""Entries on their way to disk: written in batches by a thread, so that no upload waits for them.

Only for what may be lost: what is pending when the process is killed is gone. A first entry after a pause is
written at once; what comes thick and fast is written once a second, many in one transaction, which costs a
tenth of writing each alone.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

#: Entries wait this long at most while others come, ...
AFTER_S = 1.0
#: ... and so many of them.
AT = 64

V = TypeVar("V")


def in_background(work: Callable[[], None]) -> None:
    """Do it in a thread of its own; here, if no more threads may be started."""
    try:
        threading.Thread(target=work, name="iii-write-behind", daemon=True).start()
    except RuntimeError:
        work()


class WriteBehind(Generic[V]):
    """Pending entries of one process. Thread-safe; a forked child starts with none.

    Args:
        write: keeps a batch; never raises.
        start: how a write is begun.
        timer: monotonic seconds.
    """

    def __init__(
        self,
        write: Callable[[Mapping[bytes, V]], None],
        *,
        start: Callable[[Callable[[], None]], None] = in_background,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._start = start
        self._timer = timer
        self._pending = _Pending[V]()

    def put(self, key: bytes, value: V) -> None:
        """Keep an entry; it replaces one that is still pending."""
        pending, now_s = self._of_this_process(), self._timer()
        with pending.lock:
            pending.entries[key] = value
            due = now_s - pending.started_s >= AFTER_S or len(pending.entries) >= AT
            if due:
                pending.started_s = now_s
        if due:
            self._start(self.flush)

    def get(self, key: bytes) -> V | None:
        """An entry that is still pending."""
        return self._of_this_process().entries.get(key)

    def flush(self) -> None:
        """Write what is pending, and wait for it."""
        pending = self._of_this_process()
        with pending.writing:
            with pending.lock:
                batch = dict(pending.entries)
            if batch:
                self._write(batch)
            with pending.lock:
                # Found here until it can be found there; not what came for the same key meanwhile.
                for key, value in batch.items():
                    if pending.entries.get(key) is value:
                        del pending.entries[key]

    def clear(self) -> None:
        """Forget what is pending."""
        pending = self._of_this_process()
        with pending.writing, pending.lock:
            pending.entries.clear()

    def _of_this_process(self) -> "_Pending[V]":
        # What the parent has pending it writes itself; its locks may have been held when the child was made.
        if self._pending.pid != os.getpid():
            self._pending = _Pending[V]()
        return self._pending


class _Pending(Generic[V]):
    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        #: Held while a batch is written, so that batches come one after the other.
        self.writing = threading.Lock()
        self.entries: dict[bytes, V] = {}
        self.started_s = float("-inf")
