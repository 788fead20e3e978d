"""Hashing on every core: contents in, fingerprints out, in order; pixels in worker processes.

Threads alone would not do: Pillow's JPEG decoder holds the interpreter lock while it decodes, and two threads
hash no more than one (measured: 510 and 580 small JPEGs a second; two processes: 950). So each thread here
reads, computes the digests, which need no lock, and has a worker of `isolation` look at the pixels. What hits
the filter and what is sent is decided by the caller.

Promises: reads its input only a bounded number ahead; a content that is an open file is read by the caller's
own thread; a picture that kills its worker costs only itself. Workers are recycled, as this is for many
pictures of one's own: see `Isolation.recycling` for what that gives up.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from iii_client.config import Limits
from iii_client.content import Content
from iii_client.fingerprint.build import build_fingerprint
from iii_client.fingerprint.isolation import Isolation, RecyclingReader
from iii_client.fingerprint.pixels import LooksHere, PixelReader
from iii_client.model import Fingerprint, Recipe

#: Items hashed in this process before any worker is started, where no isolation was asked for: the helper
#: takes a third of a second to import what it needs.
START_WORKERS_AFTER = 32
#: Items submitted ahead of the one handed out, for each job: enough to keep the workers busy while the
#: caller handles a batch, few enough that an endless input stays a bounded queue.
AHEAD_PER_JOB = 16

_Item = TypeVar("_Item")


class HashingPool:
    """Hashes many contents. Use it as a context manager.

    Args:
        jobs: pictures that are looked at at the same time.
        recipe, limits: as for `build_fingerprint`.
        isolation: whose workers look at the pixels. Without one, a single job decodes in this process, and
            several jobs have workers of an isolation of their own: it is what makes them several.
    """

    def __init__(
        self, *, jobs: int, recipe: Recipe, limits: Limits, isolation: Isolation | None = None
    ) -> None:
        self._jobs = jobs
        self._recipe = recipe
        self._limits = limits
        self._start_at_once = isolation is not None or jobs == 1
        self._own = Isolation(spares=0) if isolation is None and jobs > 1 else None
        self._isolation = isolation or self._own
        self._executor: ThreadPoolExecutor | None = None
        self._readers: list[RecyclingReader] = []
        self._local = threading.local()
        self._interrupted = False

    def batches(
        self, items: Iterable[_Item], content_of: Callable[[_Item], Content]
    ) -> Iterator[list[tuple[_Item, Fingerprint]]]:
        """Items with their fingerprints, in order; each batch is the oldest and what is ready behind it."""
        window: deque[tuple[_Item, Future[Fingerprint]]] = deque()
        for number, item in enumerate(items):
            window.append((item, self._submit(content_of(item), number)))
            if len(window) >= self._jobs * AHEAD_PER_JOB or window[0][1].done():
                yield _oldest(window)
        while window:
            yield _oldest(window)

    def __enter__(self) -> "HashingPool":
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
        # Who is interrupted does not wait for the pictures that are being decoded.
        self._interrupted = True
        for reader in self._readers:
            reader.interrupt()
        if self._executor is not None:
            self._executor.shutdown()
        for reader in self._readers:
            reader.close()
        if self._own is not None:
            self._own.close()

    def _submit(self, content: Content, number: int) -> Future[Fingerprint]:
        here = not self._start_at_once and number < START_WORKERS_AFTER
        if self._jobs > 1 and content.can_travel and not here:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(self._jobs, thread_name_prefix="iii-hashing")
            return self._executor.submit(self._hash, content)
        done: Future[Fingerprint] = Future()
        done.set_result(self._hash(content, LooksHere() if here else None))
        return done

    def _hash(self, content: Content, reader: PixelReader | None = None) -> Fingerprint:
        with content:
            return build_fingerprint(
                content, recipe=self._recipe, limits=self._limits, reader=reader or self._reader()
            )

    def _reader(self) -> PixelReader:
        """That of this thread."""
        reader: PixelReader | None = getattr(self._local, "reader", None)
        if reader is None:
            reader = self._local.reader = self._new_reader()
        return reader

    def _new_reader(self) -> PixelReader:
        if self._isolation is None:
            return LooksHere()
        reader = self._isolation.recycling()
        self._readers.append(reader)
        if self._interrupted:  # too late to be in the list of those that are
            reader.interrupt()
        return reader


def _oldest(window: deque[tuple[_Item, Future[Fingerprint]]]) -> list[tuple[_Item, Fingerprint]]:
    batch: list[tuple[_Item, Fingerprint]] = []
    while window and (not batch or window[0][1].done()):
        item, future = window.popleft()
        batch.append((item, future.result()))
    return batch
