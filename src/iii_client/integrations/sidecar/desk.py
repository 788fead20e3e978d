"""Where scans wait their turn: so many at once, so many in the queue, and beyond that "busy", at once.

Promises: the event loop never waits for a scan; what came in is kept in memory only while it is small; the
bytes kept on disk by all connections of a worker together stay under a budget.
"""

import asyncio
import errno
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, Self, TypeVar, cast

from iii_client.content import Content
from iii_client.errors import IIIError
from iii_client.integrations.uploads import Scans
from iii_client.model import Decision, UploadContext

T = TypeVar("T")

#: An upload is kept in memory up to this size: with 512 connections 128 MiB, not gigabytes.
SPOOL_MEMORY_BYTES = 256 << 10
#: What all uploads of a worker may take in memory and on disk before they are decided.
SPOOL_BUDGET_BYTES = 2 << 30


class BusyError(IIIError):
    """The queue is full. Nothing was looked at."""

    retryable = True


class Desk:
    """Decides about uploads in threads.

    Args:
        scanner: decides; a `Scanner`.
        at_once: scans at the same time.
        waiting: scans that may wait for that.
    """

    def __init__(
        self, scanner: Scans, *, at_once: int, waiting: int, spool_bytes: int = SPOOL_BUDGET_BYTES
    ) -> None:
        self._scanner = scanner
        self._most = at_once + waiting
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="iii-scan")
        self._under_way = 0
        self._left = spool_bytes

    async def decide(self, file: BinaryIO, context: UploadContext) -> Decision:
        """Decide about one upload.

        Raises:
            BusyError: too many wait already.
        """
        return await self.run(lambda: self._scanner.scan(Content.from_file(file), context=context))

    async def run(self, work: Callable[[], T]) -> T:
        """Do some work in turn.

        Raises:
            BusyError: too many wait already.
        """
        if self._under_way >= self._most:
            raise BusyError(f"{self._under_way} scans under way or waiting", hint="Try again in a second.")
        self._under_way += 1
        # Shielded, because a client that goes away does not make a thread stop: its place, and the spool it
        # reads, must stay taken until it has.
        task = asyncio.ensure_future(asyncio.get_running_loop().run_in_executor(self._threads, work))
        task.add_done_callback(self._done)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            raise

    def spool(self) -> BinaryIO:
        """A temporary file for one upload; writing raises OSError where there is no room."""
        return cast(BinaryIO, _Spool(self))

    @property
    def is_full(self) -> bool:
        """Whether the next one would be refused."""
        return self._under_way >= self._most

    def close(self) -> None:
        """Wait for what is under way."""
        self._threads.shutdown()

    def take(self, count: int) -> None:
        """Take bytes of the budget; the inverse with a negative count.

        Raises:
            OSError: there are not so many left.
        """
        if count > self._left:
            raise OSError(errno.ENOSPC, "the uploads under way take all the room that they may")
        self._left -= count

    def _done(self, task: "asyncio.Future[Any]") -> None:
        self._under_way -= 1
        if not task.cancelled():
            task.exception()  # seen, even where its waiter is gone


class _Spool:
    """A spooled file that is counted."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._taken = 0
        self._file = tempfile.SpooledTemporaryFile(max_size=SPOOL_MEMORY_BYTES)  # noqa: SIM115

    def write(self, data: bytes) -> int:
        self._desk.take(len(data))
        self._taken += len(data)
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back its room; twice is fine."""
        self._desk.take(-self._taken)
        self._taken = 0
        self._file.close()
