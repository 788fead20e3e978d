"""Isolation: a stranger's picture is looked at in a process that has nothing, and that is gone afterwards.

    reader = Isolation()                                   # nothing is started yet
    build_fingerprint(content, recipe=…, limits=…, reader=reader)

Promises: each picture gets a worker of its own, which saw no other picture before and sees none after;
whatever happens to it costs that picture only, as `skipped` with a reason; nothing is waited for longer
than `wall_s`; what comes back is one record of fixed length, parsed strictly. Thread-safe. After a fork,
the child starts a helper of its own. Where the kernel lacks a layer, the others hold, and one line in the
log says so.
"""

import contextlib
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import BinaryIO, Protocol, Self

from iii_client.config import Limits
from iii_client.errors import IsolationError
from iii_client.fingerprint.isolation.answers import answer_bytes
from iii_client.fingerprint.isolation.confinement import ALL_LAYERS, Bounds, Layer
from iii_client.fingerprint.isolation.hired import HelperGoneError, HiredWorker, WorkerLostError, new_nonce
from iii_client.fingerprint.isolation.launching import HelperProcess, HelperSettings
from iii_client.fingerprint.isolation.poison import (
    DEATHS_BEFORE_REFUSAL,
    DeathsInThisProcess,
    PoisonMemory,
)
from iii_client.fingerprint.isolation.questions import Question
from iii_client.fingerprint.pixels import Looked, WaitForDigests
from iii_client.model import Algorithm, Reason, Recipe

logger = logging.getLogger(__name__)

#: A picture at the limits takes up to 3 s here; a slower machine, a busy one, takes longer.
WALL_S = 10.0
#: The kernel's own limit, for a worker that sees one picture.
CPU_S = 5
#: Beyond the interpreter. A WebP of 49 megapixels takes 850 MB (measured).
MEMORY_BYTES = 1 << 30

#: Pictures that a recycled worker sees at most, in a rescan of one's own storage.
RECYCLED_ITEMS = 1000

_LOOK = "iii_client.fingerprint.pixels:look_at"


class Isolation:
    """A `PixelReader` that gives each picture a worker of its own.

    Args:
        wall_s: seconds from question to answer.
        bounds: memory and CPU time of one worker.
        layers: which to try; for tests of what the others hold alone.
        poison: remembers what killed its worker.
        spares: workers that are forked ahead, so that an upload does not wait for one.
        look: `module:function` that looks at a picture in the worker; for tests.
    """

    is_elsewhere = True

    def __init__(
        self,
        *,
        wall_s: float = WALL_S,
        bounds: Bounds | None = None,
        layers: Layer = ALL_LAYERS,
        poison: PoisonMemory | None = None,
        spares: int = 1,
        look: str = _LOOK,
    ) -> None:
        bounds = bounds or Bounds(memory_bytes=MEMORY_BYTES, cpu_s=CPU_S)
        self._settings = HelperSettings(layers=layers, bounds=bounds, look=look)
        self._wall_s = wall_s
        self._poison = poison or DeathsInThisProcess()
        self._spares_wanted = spares
        self._spares: list[HiredWorker] = []
        self._lock = threading.Lock()
        self._helper: _Owned | None = None
        self._warned = False
        _ALL.add(self)

    def start(
        self, stream: BinaryIO, kind: str, size_bytes: int, *, recipe: Recipe, limits: Limits
    ) -> "_Look":
        """Send a picture to a worker of its own. See `PixelReader`."""
        fresh = _Fresh(self)
        question = _question(kind, size_bytes, recipe, limits)
        return _Look(self, question, stream, staff=fresh, second=fresh)

    def recycling(self, items: int = RECYCLED_ITEMS) -> "RecyclingReader":
        """A reader whose worker sees up to `items` pictures: for a hoster's rescan of its own storage.

        A picture that takes over such a worker can falsify the answers about those after it. That a match is
        looked at a second time by a fresh worker (`build.look_again`) holds against the false ones.
        """
        return RecyclingReader(self, items)

    def held_layers(self) -> Layer:
        """The layers that hold for a worker, as it says itself.

        Raises:
            IsolationError: no worker can be had.
        """
        worker = self._hire(1)
        try:
            return worker.held(deadline_s=time.monotonic() + self._wall_s)
        except (WorkerLostError, HelperGoneError) as error:
            raise IsolationError("a worker ended before it said anything", hint=_HINT) from error
        finally:
            worker.end()

    def warm_up(self) -> None:
        """Start the helper and the first spare worker now.

        Raises:
            IsolationError: the helper cannot be started.
        """
        self._running()
        self._replenish()

    def close(self) -> None:
        """End the helper and all workers. They are started again if they are needed again."""
        with self._lock:
            spares, self._spares = self._spares, []
            owned, self._helper = self._helper, None
        for spare in spares:
            spare.end()
        if owned is not None:
            owned.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # --- for the looks, in this file ----------------------------------------------------------------------

    def _hire(self, items: int) -> HiredWorker:
        """A worker.

        Raises:
            IsolationError: none can be had.
        """
        with self._lock:
            if items == 1 and self._spares:
                return self._spares.pop()
        for attempt in (1, 2):
            helper = self._running()
            try:
                return HiredWorker(*helper.order(items, ahead=False), items=items)
            except ConnectionError:  # it was killed from outside: one is started anew, once
                self._drop(helper)
                if attempt == 2:
                    break
            except OSError as error:
                raise IsolationError(f"no worker can be had: {os.strerror(error.errno or 0)}") from error
        raise IsolationError("the decoder's helper process ends at once", hint=_HINT)

    def _replenish(self) -> None:
        with self._lock:
            owned = self._helper
            if owned is None or len(self._spares) >= self._spares_wanted:
                return
            with contextlib.suppress(OSError):  # then the next picture hires one, or says why not
                self._spares.append(HiredWorker(*owned.helper.order(1, ahead=True), items=1))

    def _running(self) -> HelperProcess:
        with self._lock:
            if self._helper is None:
                self._helper = _Owned(HelperProcess(self._settings), self)
            return self._helper.helper

    def _drop(self, helper: HelperProcess | None = None) -> None:
        """The helper is gone, and its workers with it."""
        with self._lock:
            if self._helper is None or (helper is not None and self._helper.helper is not helper):
                return
            owned, self._helper = self._helper, None
            spares, self._spares = self._spares, []
        for spare in spares:
            spare.end()
        owned.end()

    def _note(self, held: Layer) -> None:
        missing = ALL_LAYERS & ~held
        if missing and not self._warned:
            self._warned = True
            logger.warning(
                "decoding is isolated without %s; iii-client doctor says what holds", layer_names(missing)
            )

    def _forget_after_fork(self) -> None:
        """In a forked child: nothing here is ours, and a lock may be held by a thread that is not here."""
        self._lock = threading.Lock()
        for spare in self._spares:
            spare.forget()
        self._spares = []
        if self._helper is not None:
            self._helper.forget()
        self._helper = None


def layer_names(layers: Layer) -> str:
    """Layers as words, for a person."""
    return ", ".join(str(layer.name).lower().replace("_", " ") for layer in layers)


_HINT = "iii-client doctor says more. III_ISOLATION=off decodes in this process, with its rights."


class _Staff(Protocol):
    """Where a look's worker comes from and goes to."""

    recycled: bool

    def hire(self) -> HiredWorker: ...

    def release(self, worker: HiredWorker, *, answered: bool) -> None: ...


class _Fresh:
    """A worker a picture."""

    recycled = False

    def __init__(self, isolation: Isolation) -> None:
        self._isolation = isolation

    def hire(self) -> HiredWorker:
        return self._isolation._hire(1)

    def release(self, worker: HiredWorker, *, answered: bool) -> None:  # noqa: ARG002 - gone either way
        worker.end()
        self._isolation._replenish()


class RecyclingReader:
    """A `PixelReader` for one thread, whose worker is used again. Close it, or use it in a `with`."""

    is_elsewhere = True
    recycled = True

    def __init__(self, isolation: Isolation, items: int) -> None:
        self._isolation = isolation
        self._items = items
        self._worker: HiredWorker | None = None

    def start(
        self, stream: BinaryIO, kind: str, size_bytes: int, *, recipe: Recipe, limits: Limits
    ) -> "_Look":
        """Send a picture to the worker. See `PixelReader`."""
        question = _question(kind, size_bytes, recipe, limits)
        return _Look(self._isolation, question, stream, staff=self, second=_Fresh(self._isolation))

    def hire(self) -> HiredWorker:
        """The worker at hand, or a new one.

        Raises:
            IsolationError: none can be had.
        """
        worker, self._worker = self._worker, None
        return worker or self._isolation._hire(self._items)

    def release(self, worker: HiredWorker, *, answered: bool) -> None:
        """Keep it for the next picture, if it can be kept."""
        if answered and not worker.is_used_up:
            self._worker = worker
        else:
            worker.end()

    def close(self) -> None:
        """End the worker."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class _Look:
    """One picture on its way. A `PendingLook`."""

    def __init__(
        self,
        isolation: Isolation,
        question: Question,
        stream: BinaryIO,
        *,
        staff: _Staff,
        second: _Staff,
    ) -> None:
        self._isolation = isolation
        self._question = question
        self._stream = stream
        self._second = second
        self._staff = staff
        self._worker: HiredWorker | None = None
        self._deadline_s = 0.0
        self._unavailable = ""
        self._ask(staff)

    def finish(self, wait_for_digests: WaitForDigests) -> Looked:
        """The answer, or why there is none."""
        sha256 = next(d.value for d in wait_for_digests() if d.algorithm is Algorithm.SHA256)
        if self._isolation._poison.deaths(sha256) >= DEATHS_BEFORE_REFUSAL:
            return Looked.refused(Reason.DECODER_CRASHED, "it ended its decoder before")
        try:
            return self._answer()
        except HelperGoneError:
            self._isolation._drop()
        except WorkerLostError as lost:
            # One that was used before may be lost through what it saw before.
            if not self._staff.recycled or lost.reason is Reason.DECODE_TIMEOUT:
                return self._dead(sha256, lost.reason, lost.detail)
        try:
            self._ask(self._second)
            return self._answer()
        except HelperGoneError:
            self._isolation._drop()
            return self._dead(sha256, Reason.DECODER_CRASHED, "it ended the decoder's helper")
        except WorkerLostError as lost:
            return self._dead(sha256, lost.reason, lost.detail)

    def cancel(self) -> None:
        """Have the worker ended, if it was not released yet."""
        self._release(answered=False)

    def _ask(self, staff: _Staff) -> None:
        self._staff = staff
        self._deadline_s = time.monotonic() + self._isolation._wall_s
        try:
            self._worker = staff.hire()
        except IsolationError as error:
            logger.warning("a picture cannot be looked at: %s %s", error, error.hint)
            self._unavailable = str(error)
            return
        try:
            self._stream.seek(0)
            self._worker.ask(self._question, self._stream, deadline_s=self._deadline_s)
        except BaseException:
            self._release(answered=False)
            raise

    def _answer(self) -> Looked:
        if self._worker is None:
            return Looked.refused(Reason.DECODER_UNAVAILABLE, self._unavailable)
        answered = False
        try:
            looked = self._worker.answer(self._question, deadline_s=self._deadline_s)
            self._isolation._note(self._worker.held(deadline_s=self._deadline_s))
            answered = True
        finally:
            self._release(answered=answered)
        return looked

    def _release(self, *, answered: bool) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            self._staff.release(worker, answered=answered)

    def _dead(self, sha256: bytes, reason: Reason, detail: str) -> Looked:
        self._isolation._poison.record_death(sha256)
        return Looked.refused(reason, detail)


def _question(kind: str, size_bytes: int, recipe: Recipe, limits: Limits) -> Question:
    answer_bytes(recipe)  # a recipe that has no answer is a mistake of the caller's, and raises here
    return Question(nonce=new_nonce(), kind=kind, size_bytes=size_bytes, recipe=recipe, limits=limits)


class _Owned:
    """A helper that ends with the `Isolation` it belongs to, and with the process that started it."""

    def __init__(self, helper: HelperProcess, owner: Isolation) -> None:
        self.helper = helper
        self._finalizer = weakref.finalize(owner, _end_in, os.getpid(), helper.end)

    def end(self) -> None:
        self._finalizer()

    def forget(self) -> None:
        self._finalizer.detach()
        self.helper.forget()


def _end_in(pid: int, end: Callable[[], None]) -> None:
    if os.getpid() == pid:  # at the end of a process that was forked past Python, this is called too
        end()


def _forget_all_after_fork() -> None:
    for isolation in list(_ALL):
        isolation._forget_after_fork()


_ALL: "weakref.WeakSet[Isolation]" = weakref.WeakSet()
os.register_at_fork(after_in_child=_forget_all_after_fork)
