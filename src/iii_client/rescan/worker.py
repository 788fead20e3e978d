"""What runs on the engine: a chunk of items in, their fingerprints out. Hashes only; no database, no filter.

The same on a thread of this process and on another host: bytes in, bytes out (`chunks`), so an engine needs
nothing but this library installed. Pictures are decoded in isolation, by one recycled worker a thread.

Promises: an item that cannot be read, decoded or survived is a row with a reason; what a storage refuses for
a moment is tried again; an answer stays below a megabyte, by answering for the first items only.
"""

import contextlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from iii_client.content import Content
from iii_client.errors import ContentError
from iii_client.fingerprint import RECIPES, Isolation, build_fingerprint, early_sha256
from iii_client.fingerprint.isolation import RecyclingReader
from iii_client.fingerprint.pixels import LooksHere, PixelReader
from iii_client.model import Algorithm, Fingerprint, HashValue, Reason
from iii_client.records.fingerprint_codec import encode_fingerprint
from iii_client.rescan.chunks import ChunkTask, HashedRow, pack_rows
from iii_client.rescan.inventory import ItemSource, opener_of

#: Engines move answers through their schedulers' memory.
MAX_ANSWER_BYTES = 900_000
#: Times that a remote item is tried, and the longest pause before the second time; it doubles.
ATTEMPTS = 4
FIRST_PAUSE_S = 0.5

#: Faults that another attempt does not heal.
_LASTING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)

_DECODER_FAULTS = frozenset({Reason.DECODER_UNAVAILABLE, Reason.DECODER_CRASHED, Reason.DECODE_TIMEOUT})

_shared = threading.Lock()
_isolation: tuple[int, Isolation] | None = None
_of_thread = threading.local()


def hash_chunk(packed: bytes) -> bytes:
    """Hash the items of a packed `ChunkTask`; the answer is for all of them, or for the first ones."""
    task = ChunkTask.unpack(packed)
    opener = opener_of(task.root)
    seen = _Seen()
    rows: list[HashedRow] = []
    size = 0
    for key, size_bytes in zip(task.keys, task.sizes, strict=True):
        row = _hash_item(task, opener(key, size_bytes), seen)
        rows.append(row)
        size += len(row.stored) + len(row.fault) + 8
        if size > MAX_ANSWER_BYTES:
            break
    return pack_rows(rows)


def _hash_item(task: ChunkTask, source: ItemSource, seen: "_Seen") -> HashedRow:
    if isinstance(source, Path):
        with Content.from_path(source) as content:
            return HashedRow(stored=encode_fingerprint(_fingerprint(task, content, seen)))
    for attempt in range(ATTEMPTS):
        remote = _Remote(source)
        with Content.from_opener(remote.open, max_bytes=task.limits.max_content_bytes) as content:
            fingerprint = _fingerprint(task, content, seen)
        if remote.fault is None or isinstance(remote.fault, _LASTING):
            break
        if attempt + 1 < ATTEMPTS:
            # At random, or all workers of a throttled bucket would come back at the same moment.
            time.sleep(FIRST_PAUSE_S * 2**attempt * random.uniform(0.5, 1.0))  # noqa: S311
    fault = "" if remote.fault is None else _name(remote.fault)
    return HashedRow(stored=encode_fingerprint(fingerprint), fault=fault)


def content_of(source: ItemSource, *, max_bytes: int) -> Content:
    """An item's content; nothing is opened yet."""
    if isinstance(source, Path):
        return Content.from_path(source)
    return Content.from_opener(_Remote(source).open, max_bytes=max_bytes)


def _fingerprint(task: ChunkTask, content: Content, seen: "_Seen") -> Fingerprint:
    """Of one item; equal content within a chunk is decoded once."""
    sha256 = seen.digest_if_needed(content)
    if sha256 is not None and (known := seen.fingerprint(sha256)) is not None:
        return known
    fingerprint = build_fingerprint(
        content, recipe=RECIPES[task.recipe], limits=task.limits, reader=_reader(task.isolated), sha256=sha256
    )
    seen.add(fingerprint)
    return fingerprint


class _Seen:
    """What was hashed in this chunk. A digest is computed ahead only where the size was seen before."""

    def __init__(self) -> None:
        self._sizes: set[int] = set()
        self._known: dict[HashValue, Fingerprint] = {}

    def digest_if_needed(self, content: Content) -> HashValue | None:
        with contextlib.suppress(ContentError):  # build_fingerprint meets the same, and says so
            if content.size_bytes in self._sizes:
                return early_sha256(content)
        return None

    def fingerprint(self, sha256: HashValue) -> Fingerprint | None:
        return self._known.get(sha256)

    def add(self, fingerprint: Fingerprint) -> None:
        # What a decoder died of, or was not there for, may go well the next time.
        if fingerprint.digests and not {skip.reason for skip in fingerprint.skipped} & _DECODER_FAULTS:
            self._sizes.add(fingerprint.size_bytes)
            self._known[fingerprint.digest(Algorithm.SHA256)] = fingerprint


class _Remote:
    """Opens an item of a remote storage, and remembers what went wrong."""

    def __init__(self, opener: Callable[[], BinaryIO]) -> None:
        self._opener = opener
        self.fault: Exception | None = None

    def open(self) -> AbstractContextManager[BinaryIO]:
        return self._opened()

    @contextlib.contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        try:
            with self._opener() as stream:
                yield stream
        except ContentError:
            raise
        except Exception as error:  # the boundary to drivers, which raise types of their own
            self.fault = error
            raise


def _name(fault: Exception) -> str:
    if isinstance(fault, FileNotFoundError):
        return "vanished"
    if isinstance(fault, PermissionError):
        return "permission"
    return type(fault).__name__


def _reader(isolated: bool) -> PixelReader:
    """The reader of this thread; one isolation a process."""
    global _isolation
    if not isolated:
        return LooksHere()
    pid = os.getpid()
    with _shared:
        if _isolation is None or _isolation[0] != pid:
            _isolation = (pid, Isolation(spares=0))
        isolation = _isolation[1]
    owner, reader = getattr(_of_thread, "reader", (0, None))
    if reader is None or owner != pid:
        reader = isolation.recycling()
        _of_thread.reader = (pid, reader)
    kept: RecyclingReader = reader
    return kept


def close_workers() -> None:
    """End this process's helper and decoders; they are started again if they are needed again."""
    global _isolation
    with _shared:
        if _isolation is not None and _isolation[0] == os.getpid():
            _isolation[1].close()
            _isolation = None
