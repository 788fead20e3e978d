"""The parent of the workers: binds, forks, watches, replaces, ends. It reads no upload and no picture.

    SIGHUP            a new generation with the settings, tokens and policy of now; the old one drains
    SIGTERM, SIGINT   all drain, and it ends
    a worker died     another one, at most one a second

Promises: no connection is refused while workers are replaced, because the sockets stay here; settings that
are wrong end a start, and leave a running generation as it is; when this process is killed, its workers end.
"""

import logging
import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from iii_client.errors import ConfigurationError, IIIError
from iii_client.integrations.sidecar.listening import Listener, bind_all
from iii_client.integrations.sidecar.settings import ServeSettings

#: Until a new worker must be ready: imports and a large filter on a slow disk.
READY_S = 60.0
#: After SIGTERM, until a worker is killed: its drain, and something for the last scan.
END_S = 45.0
#: A worker that dies at once must not fill the log, or the machine.
RESPAWN_S = 1.0
_WATCHED = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}
_EXIT_CONFIGURATION = 2

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Workers:
    """Living workers: pid to when it was told to stop, or None."""

    living: dict[int, float | None] = field(default_factory=dict)

    @property
    def serving(self) -> list[int]:
        return [pid for pid, stopped in self.living.items() if stopped is None]


class Supervisor:
    """Serves until it is told to stop.

    Args:
        settings: what to serve.
        ready: called when the first generation accepts connections, with the listeners.
    """

    def __init__(
        self, settings: ServeSettings, *, ready: Callable[[Sequence[Listener]], None] = lambda _: None
    ) -> None:
        self._settings = settings
        self._ready = ready
        self._workers = _Workers()
        self._listeners: tuple[Listener, ...] = ()
        # Its write end is open here alone: when this process is gone, however it went, workers see the end.
        self._alive_read, self._alive_write = os.pipe()

    def run(self) -> None:
        """Serve. Returns after a drain. From the main thread of a process with no other threads.

        Raises:
            ConfigurationError: a socket cannot be made, or the workers cannot start; they logged why.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        try:
            self._listeners = bind_all(self._settings.addresses, mode=self._settings.socket_mode)
            if not self._start_generation():
                raise ConfigurationError("the workers could not start", hint="The lines above say why.")
            self._ready(self._listeners)
            self._watch()
        finally:
            self._end()
            for listener in self._listeners:
                listener.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _watch(self) -> None:
        while True:
            came = signal.sigtimedwait(_WATCHED, RESPAWN_S)
            number = 0 if came is None else came.si_signo
            self._reap()
            if number in {signal.SIGTERM, signal.SIGINT}:
                return
            if number == signal.SIGHUP:
                self._reload()
            elif len(self._workers.serving) < self._settings.workers:
                logger.warning("a worker ended unexpectedly; starting another")
                time.sleep(RESPAWN_S)
                self._start(1)

    def _start_generation(self) -> bool:
        return self._start(self._settings.workers)

    def _reload(self) -> None:
        old = self._workers.serving
        if not self._start_generation():
            logger.error("the new settings do not work; the workers go on with the old ones")
            return
        self._stop(old)
        logger.info("reloaded")

    def _start(self, count: int) -> bool:
        """Start workers; all are ready, or those that were started are stopped."""
        started = [self._fork() for _ in range(count)]
        deadline = time.monotonic() + READY_S
        ready = [_becomes_ready(pipe, deadline) for _, pipe in started]  # each is asked: it closes its pipe
        all_ready = all(ready)
        if not all_ready:
            self._stop([pid for pid, _ in started])
        return all_ready

    def _fork(self) -> tuple[int, int]:
        read, write = os.pipe()
        pid = os.fork()
        if pid:
            os.close(write)
            self._workers.living[pid] = None
            return pid, read
        # In the worker: whatever happens, it must not return into the supervisor's code.
        code = 1
        try:
            os.close(read)
            os.close(self._alive_write)
            code = _work(self._settings, self._listeners, supervisor=self._alive_read, ready=write)
        finally:
            logging.shutdown()
            os._exit(code)

    def _stop(self, pids: Sequence[int]) -> None:
        for pid in pids:
            if self._workers.living.get(pid, 0.0) is None:
                os.kill(pid, signal.SIGTERM)
                self._workers.living[pid] = time.monotonic()

    def _reap(self) -> None:
        """Forget who ended, and kill who does not end though told to."""
        for pid, stopped in list(self._workers.living.items()):
            ended, _ = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self._workers.living[pid]
            elif stopped is not None and time.monotonic() - stopped > END_S:
                os.kill(pid, signal.SIGKILL)

    def _end(self) -> None:
        self._stop(self._workers.serving)
        while self._workers.living:
            signal.sigtimedwait({signal.SIGCHLD}, 0.2)
            self._reap()
        os.close(self._alive_write)
        os.close(self._alive_read)


def _becomes_ready(pipe: int, deadline: float) -> bool:
    try:
        waits, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
        return bool(waits) and os.read(pipe, 1) == b"1"
    finally:
        os.close(pipe)


def _work(settings: ServeSettings, listeners: Sequence[Listener], *, supervisor: int, ready: int) -> int:
    """A worker's whole life; returns its exit code."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # SIGINT of a terminal goes to all of the group: the supervisor says when to stop. SIGTERM before the
        # loop has its own handler just ends this process.
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)

    def tell() -> None:
        os.write(ready, b"1")
        os.close(ready)

    try:
        # Imported here: nothing of a scanner, and no thread, is in the process that forks.
        from iii_client.integrations.sidecar.worker import work

        work(settings, listeners, supervisor=supervisor, ready=tell)
    except IIIError as error:
        logger.error("%s. %s", error, error.hint)  # noqa: TRY400 - one of ours: a sentence, no traceback
        return _EXIT_CONFIGURATION
    except Exception:  # the boundary of a worker
        logger.exception("a worker failed")
        return 1
    return 0
