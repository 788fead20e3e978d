"""Hashing on every core: contents in, fingerprints out, in order, in worker processes.

Threads would not do: Pillow's JPEG decoder holds the interpreter lock while it decodes, and two threads hash
no more than one (measured: 510 and 580 small JPEGs a second; two processes: 950). Workers only hash; what
hits the filter and what is sent is decided in the parent.

Promises: reads its input only a bounded number ahead; a content that cannot travel to another process (an
open file) is hashed here; a picture that kills its worker costs only itself, as DECODE_FAILED, because what
was lost with the worker is hashed again one by one. Replies are pickled: a worker that a picture *took over*
could attack the parent. See the threat model.
"""

import ctypes
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from iii_client.config import Limits
from iii_client.content import Content
from iii_client.fingerprint.build import build_fingerprint
from iii_client.model import Fingerprint, Reason, Recipe, Skipped

#: Items hashed here before any worker is started: a worker takes half a second to import what it needs.
START_WORKERS_AFTER = 32
#: Items submitted ahead of the one handed out, for each job: enough to keep the workers busy while the
#: caller handles a batch, few enough that an endless input stays a bounded queue.
AHEAD_PER_JOB = 16

#: malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_HEAP_BYTES = 256 << 20
_LARGEST_HEAP_BLOCK_BYTES = 64 << 20

_Item = TypeVar("_Item")


class HashingPool:
    """Hashes many contents. Use it as a context manager.

    Args:
        jobs: worker processes; 1 hashes in this process. With more, a script that is the main module must
            guard its work with `if __name__ == "__main__"`, as for everything in `multiprocessing`.
        recipe, limits: as for `build_fingerprint`.
    """

    def __init__(self, *, jobs: int, recipe: Recipe, limits: Limits) -> None:
        self._jobs = jobs
        self._recipe = recipe
        self._limits = limits
        self._executor: ProcessPoolExecutor | None = None

    def batches(
        self, items: Iterable[_Item], content_of: Callable[[_Item], Content]
    ) -> Iterator[list[tuple[_Item, Fingerprint]]]:
        """Items with their fingerprints, in order; each batch is the oldest and what is ready behind it."""
        window: deque[tuple[_Item, Content, Future[Fingerprint]]] = deque()
        for number, item in enumerate(items):
            content = content_of(item)
            window.append((item, content, self._submit(content, here=number < START_WORKERS_AFTER)))
            if len(window) >= self._jobs * AHEAD_PER_JOB or window[0][2].done():
                yield self._oldest(window)
        while window:
            yield self._oldest(window)

    def __enter__(self) -> "HashingPool":
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        # Who is interrupted does not wait for the pictures that are being decoded.
        if kind is not None and self._executor is not None:
            _terminate(self._executor)
        self._stop()

    def _submit(self, content: Content, *, here: bool) -> Future[Fingerprint]:
        if self._jobs > 1 and not here and content.can_travel:
            try:
                return self._workers(self._jobs).submit(_hash, content, self._recipe, self._limits)
            except BrokenProcessPool:
                # A worker died and nobody has asked for its result yet: that item will be asked again alone.
                self._stop()
                return self._workers(self._jobs).submit(_hash, content, self._recipe, self._limits)
        done: Future[Fingerprint] = Future()
        done.set_result(_hash(content, self._recipe, self._limits))
        return done

    def _oldest(
        self, window: deque[tuple[_Item, Content, Future[Fingerprint]]]
    ) -> list[tuple[_Item, Fingerprint]]:
        batch: list[tuple[_Item, Fingerprint]] = []
        while window and (not batch or window[0][2].done()):
            item, content, future = window.popleft()
            try:
                batch.append((item, future.result()))
            except BrokenProcessPool:
                batch.append((item, self._alone(content)))
        return batch

    def _alone(self, content: Content) -> Fingerprint:
        """Hash one of those that were lost with a worker, with nobody beside it to be lost again."""
        executor = ProcessPoolExecutor(1, mp_context=_CONTEXT, initializer=_prepare_worker)
        try:
            return executor.submit(_hash, content, self._recipe, self._limits).result()
        except BrokenProcessPool:
            return _crashed(content, self._recipe, self._limits)
        except BaseException:
            _terminate(executor)
            raise
        finally:
            executor.shutdown(wait=False, cancel_futures=True)

    def _workers(self, jobs: int) -> ProcessPoolExecutor:
        if self._executor is None:
            self._executor = ProcessPoolExecutor(jobs, mp_context=_CONTEXT, initializer=_prepare_worker)
        return self._executor

    def _stop(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = None


# Not fork: the parent may have threads, and a forked child would inherit their locks.
_CONTEXT = multiprocessing.get_context("spawn")


def _terminate(executor: ProcessPoolExecutor) -> None:
    """End the workers at once, whatever they decode. They hold nothing that must be put in order.

    From Python 3.14 on this is `terminate_workers()`.
    """
    for process in list((executor._processes or {}).values()):
        process.terminate()


def _hash(content: Content, recipe: Recipe, limits: Limits) -> Fingerprint:
    with content:
        return build_fingerprint(content, recipe=recipe, limits=limits)


def _crashed(content: Content, recipe: Recipe, limits: Limits) -> Fingerprint:
    """The digests, which need no decoder, and the fact that the decoder died."""
    no_pixels = Limits(
        max_content_bytes=limits.max_content_bytes,
        max_picture_bytes=0,
        max_frame_pixels=limits.max_frame_pixels,
        max_total_pixels=limits.max_total_pixels,
    )
    found = _hash(content, recipe, no_pixels)
    return Fingerprint(
        recipe=recipe.id,
        size_bytes=found.size_bytes,
        kind=found.kind,
        digests=found.digests,
        skipped=(Skipped(what="pixels", reason=Reason.DECODE_FAILED, detail="the decoder crashed"),),
    )


def _prepare_worker() -> None:
    # Ctrl-C reaches the whole group; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A fresh process gives each picture's buffers back to the system and faults them in again for the next:
    # 348 page faults and 0.75 ms a picture of 0.3 MP (measured). These are our processes, so they may keep
    # what they had. glibc only; elsewhere the allocator has no such function.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _KEPT_HEAP_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_HEAP_BLOCK_BYTES)
