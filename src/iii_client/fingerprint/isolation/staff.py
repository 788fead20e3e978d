"""Hires workers: keeps the helper and a spare worker, lazily, and over forks of the host.

Promises: thread-safe; nothing is started before it is needed; a helper that was killed is started anew; in
a forked child nothing of the parent's is used, ended or waited for, whatever its threads were doing; all of
it ends with its owner, and with the process.
"""

import contextlib
import os
import threading
import weakref
from collections.abc import Callable

from iii_client.errors import IsolationError
from iii_client.fingerprint.isolation.hired import HiredWorker
from iii_client.fingerprint.isolation.launching import HINT, HelperProcess, HelperSettings


class Staff:
    """Workers for hire.

    Args:
        spares: workers for one picture that are forked ahead, so that nobody waits for one.
    """

    def __init__(self, settings: HelperSettings, *, spares: int) -> None:
        self._settings = settings
        self._spares_wanted = spares
        self._spares: list[HiredWorker] = []
        self._helper: HelperProcess | None = None
        self._end_helper: Callable[[], object] = _nothing
        self._lock = threading.Lock()
        _ALL.add(self)

    def hire(self, items: int) -> HiredWorker:
        """A worker that will see so many pictures.

        Raises:
            IsolationError: none can be had.
        """
        with self._lock:
            if items == 1 and self._spares:
                return self._spares.pop()
        for _ in range(2):
            helper = self._running_helper()
            try:
                return HiredWorker(*helper.order(items, ahead=False), items=items)
            except ConnectionError:  # it was killed from outside: one is started anew, once
                self.dismiss(helper)
            except OSError as error:
                raise IsolationError(f"no worker can be had: {os.strerror(error.errno or 0)}") from error
        raise IsolationError("the decoder's helper process ends at once", hint=HINT)

    def prepare(self) -> None:
        """Start the helper, and have a spare worker forked.

        Raises:
            IsolationError: the helper cannot be started.
        """
        self._running_helper()
        self.replenish()

    def replenish(self) -> None:
        """Have a spare worker forked, if one is missing. Does not wait."""
        with self._lock:
            if self._helper is None or len(self._spares) >= self._spares_wanted:
                return
            with contextlib.suppress(OSError):  # then the next picture hires one, or says why not
                self._spares.append(HiredWorker(*self._helper.order(1, ahead=True), items=1))

    def dismiss(self, helper: HelperProcess | None = None) -> None:
        """End the helper and the spare workers; the next hire starts a helper.

        Args:
            helper: only if it is still this one.
        """
        with self._lock:
            if helper is not None and self._helper is not helper:
                return
            spares, self._spares = self._spares, []
            end, self._end_helper, self._helper = self._end_helper, _nothing, None
        for spare in spares:
            spare.end()
        end()

    def _running_helper(self) -> HelperProcess:
        with self._lock:
            if self._helper is None:
                self._helper = HelperProcess(self._settings)
                self._end_helper = weakref.finalize(self, _end_in, os.getpid(), self._helper)
            return self._helper

    def _forget_after_fork(self) -> None:
        """In a forked child: the lock may be held by a thread that is not here, and the rest is not ours."""
        self._lock = threading.Lock()
        for spare in self._spares:
            spare.forget()
        if self._helper is not None:
            self._helper.forget()
        if isinstance(self._end_helper, weakref.finalize):
            self._end_helper.detach()
        self._spares, self._helper, self._end_helper = [], None, _nothing


def _end_in(pid: int, helper: HelperProcess) -> None:
    if os.getpid() == pid:  # a process that was forked past Python's hooks ends what is not its own otherwise
        helper.end()


def _nothing() -> None:
    """There is no helper to end."""


def _forget_all_after_fork() -> None:
    for staff in list(_ALL):
        staff._forget_after_fork()


_ALL: "weakref.WeakSet[Staff]" = weakref.WeakSet()
os.register_at_fork(after_in_child=_forget_all_after_fork)
