"""Chunks at work on an engine: handed out, answered, and done without it when it breaks.

Promises: an item that ends whatever works on it is found by halving its chunk, alone on the engine, and
costs no other item; an engine that breaks, or is gone without a word, is opened again a few times, and then
the run ends with an error: nothing waits for ever.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Future, wait
from dataclasses import dataclass

from iii_client.errors import RescanError
from iii_client.rescan.chunks import ChunkTask, HashedRow, unpack_rows
from iii_client.rescan.engine import Engine
from iii_client.rescan.entries import Entry
from iii_client.rescan.worker import hash_chunk

logger = logging.getLogger(__name__)

#: Pause before a lost engine is opened again.
REOPEN_PAUSE_S = 5.0
#: How often an engine that does not answer is asked whether it is still there.
ENGINE_ASKED_EVERY_S = 1.0


@dataclass(slots=True, kw_only=True)
class Chunk:
    """Items that are handed out together.

    Attributes:
        root: that they lie below.
        entries: in the order of the listing.
        future, engine: the answer to come, and from whom.
    """

    root: str
    entries: Sequence[Entry]
    future: Future[bytes] | None = None
    engine: Engine | None = None


class Crew:
    """Hands chunks to an engine.

    Args:
        open_engine: opens one, again after it broke.
        task_of: what a worker is given for a chunk.
        stop: ends the pauses.
        reopenings: times that a broken engine is opened again before the run ends.
    """

    def __init__(
        self,
        open_engine: Callable[[], Engine],
        *,
        task_of: Callable[[Chunk], ChunkTask],
        stop: threading.Event,
        reopenings: int,
    ) -> None:
        self._open_engine = open_engine
        self._task_of = task_of
        self._stop = stop
        self._reopenings = reopenings
        self._engine: Engine | None = None

    def open(self) -> None:
        """Start or join the engine.

        Raises:
            RescanError: it cannot be had.
        """
        self._engine = self._open_engine()

    def close(self) -> None:
        """Give the engine back."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    @property
    def width(self) -> int:
        """Chunks that the engine works on at the same time."""
        return self._running.width

    def submit(self, chunk: Chunk) -> None:
        """Hand a chunk out; a fault shows when its rows are asked for."""
        try:
            chunk.engine = self._running
            chunk.future = chunk.engine.executor.submit(hash_chunk, self._task_of(chunk).pack())
        except RuntimeError as error:  # it was shut down, or is broken
            chunk.future = _broken(type(error).__name__)

    def rows(self, window: "deque[Chunk]") -> list[HashedRow]:
        """The rows of the oldest chunk, or of its first items; none when its first item must be set aside."""
        oldest = window[0]
        try:
            return self._answer(oldest)
        except (BrokenExecutor, CancelledError):
            self._reopen()
        except RescanError:
            raise
        except Exception as error:  # noqa: BLE001 - the boundary to workers and engines
            logger.warning("a chunk of %d items failed: %s", len(oldest.entries), type(error).__name__)
        # Whose fault it was is only known of a chunk that is alone on the engine.
        self._let_others_end(window)
        rows = self._alone(oldest.root, oldest.entries)
        for chunk in list(window)[1:]:
            if _future(chunk).cancelled() or _future(chunk).exception() is not None:
                self.submit(chunk)
        return rows

    def _alone(self, root: str, entries: Sequence[Entry]) -> list[HashedRow]:
        """Rows of the first items; halves the chunk until what fails is one item."""
        chunk = Chunk(root=root, entries=entries)
        self.submit(chunk)
        try:
            return self._answer(chunk)
        except (BrokenExecutor, CancelledError):
            self._reopen()
        except RescanError:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            logger.warning("%d items failed alone: %s", len(entries), type(error).__name__)
        return self._alone(root, entries[: len(entries) // 2]) if len(entries) > 1 else []

    def _answer(self, chunk: Chunk) -> list[HashedRow]:
        _let_end(chunk)
        return unpack_rows(_future(chunk).result(), at_most=len(chunk.entries))

    def _let_others_end(self, window: "deque[Chunk]") -> None:
        for chunk in list(window)[1:]:
            _let_end(chunk)

    def _reopen(self) -> None:
        """A new engine in place of one that broke.

        Raises:
            RescanError: it cannot be had.
        """
        self.close()
        for attempt in range(self._reopenings):
            try:
                self._engine = self._open_engine()
            except RescanError:
                if attempt + 1 == self._reopenings or self._stop.wait(REOPEN_PAUSE_S):
                    raise
            else:
                return

    @property
    def _running(self) -> Engine:
        if self._engine is None:
            raise RescanError("there is no engine", hint="Go on later: iii-client rescan resume.")
        return self._engine


def hand_back(window: "deque[Chunk]") -> None:
    """Drop what has not begun, from the newest on: the cursor stays before it."""
    while window and _future(window[-1]).cancel():
        window.pop()


def _let_end(chunk: Chunk) -> None:
    """Wait until a chunk is answered, or failed because its engine is gone."""
    while not wait([_future(chunk)], timeout=ENGINE_ASKED_EVERY_S).done:
        if chunk.engine is not None and not chunk.engine.is_alive():
            chunk.future = _broken("the engine is gone")


def _future(chunk: Chunk) -> Future[bytes]:
    if chunk.future is None:
        raise RescanError("a chunk was not handed out")
    return chunk.future


def _broken(why: str) -> Future[bytes]:
    future: Future[bytes] = Future()
    future.set_exception(BrokenExecutor(why))
    return future
