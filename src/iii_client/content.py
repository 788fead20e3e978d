"""Content: one bounded, rewindable reader over bytes, a path, a file object or an fsspec reference.

    bytes ──────────────┐
    path ───────────────┤
    file object ────────┼──►  Content ──►  open(): a seekable binary stream at 0, as often as needed
    fsspec reference ───┘

Promises: nothing is read before `open()` or `size_bytes`; what is small is read once and kept, what is
large is never held whole; a stream that cannot be rewound is spooled under a cap; every reader of one
Content sees the same bytes or an error. A passed file object comes back as it was: position restored,
not closed, not written to. A directory, FIFO, device or broken link is an `UnreadableContentError`, and
none of them is ever waited for. Messages carry no file name.
"""

import contextlib
import io
import os
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from iii_client.config import MIB, Limits
from iii_client.errors import ContentTooLargeError, NotAFileError, UnreadableContentError

#: Up to this size a file is read once and kept while its Content lives: one read serves the digests and
#: the decoder, in two threads. Nearly every picture is smaller; a worker holds one at a time.
IN_MEMORY_MAX_BYTES = 8 * MIB
#: What one read of a stream asks for. Large enough to hide the call, small enough for a cache.
READ_CHUNK_BYTES = MIB // 4

#: Cap of a stream that must be spooled, unless another is given.
DEFAULT_MAX_BYTES = Limits().max_content_bytes

#: Reads at most `n` bytes at an offset, from any thread; empty at the end.
_ReadAt = Callable[[int, int], bytes]


#: The constructor, and its arguments, that make the same Content in another process.
_Origin = tuple[Callable[..., "Content"], tuple[object, ...]]


class Content:
    """The bytes of one item. Build it with one of the named constructors.

    `close()` (or leaving a `with` block) drops what was kept or spooled; a Content can be opened again
    after that unless its source was a stream that cannot be rewound.
    """

    def __init__(self, source: "_Source", *, origin: "_Origin | None" = None) -> None:
        self._source = source
        self._origin = origin

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview) -> "Content":
        """Bytes in memory. `bytes` are used as they are; a mutable buffer is copied."""
        data = bytes(data)
        return cls(_Memory(data), origin=(cls.from_bytes, (data,)))

    @classmethod
    def from_path(cls, path: str | os.PathLike[str]) -> "Content":
        """A local file. The path is not touched before the first use."""
        return cls(_LocalFile(Path(path)), origin=(cls.from_path, (path,)))

    @classmethod
    def from_file(cls, file: BinaryIO, *, max_bytes: int = DEFAULT_MAX_BYTES) -> "Content":
        """An open binary file, read from 0 whatever its position, which is restored after each use.

        A file that cannot seek is read once, from where it stands, into an unnamed temporary file of
        at most `max_bytes`. The file is never closed.
        """
        if _can_seek(file):
            return cls(_SharedFile(file))
        return cls(_Spooled(lambda: contextlib.nullcontext(file), max_bytes))

    @classmethod
    def from_url(cls, url: str, *, max_bytes: int = DEFAULT_MAX_BYTES) -> "Content":
        """Anything fsspec can open (`s3://…`, `sftp://…`): fetched once, in one pass, on first use."""
        return cls(_Spooled(lambda: _open_url(url), max_bytes), origin=(_travelled_url, (url, max_bytes)))

    @classmethod
    def from_opener(
        cls,
        opener: Callable[[], contextlib.AbstractContextManager[BinaryIO]],
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> "Content":
        """Whatever a function opens: fetched once, in one pass, on first use. For names that are no URL."""
        return cls(_Spooled(opener, max_bytes))

    @property
    def size_bytes(self) -> int:
        """Length of the content.

        Raises:
            UnreadableContentError: it cannot be read.
            ContentTooLargeError: a stream is longer than its cap.
        """
        return self._source.size_bytes()

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """A read-only, seekable binary stream at position 0, closed on leaving.

        Streams of one Content are independent of each other and may be read in different threads.

        Raises:
            UnreadableContentError: it cannot be read, or it changed since it was first opened.
            ContentTooLargeError: a stream is longer than its cap.
        """
        with self._source.open() as stream:
            yield stream

    @property
    def can_travel(self) -> bool:
        """Whether another process on this machine can read it: bytes, a path or a URL, not an open file."""
        return self._origin is not None

    def __reduce__(self) -> tuple[Callable[..., "Content"], tuple[object, ...]]:
        if self._origin is None:
            raise TypeError("an open file cannot be sent to another process")
        return self._origin

    def close(self) -> None:
        """Drop what was kept in memory or spooled."""
        self._source.close()

    def __enter__(self) -> "Content":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Content({type(self._source).__name__.lstrip('_')})"


class _Source:
    """Where the bytes are. Subclasses are the four doors."""

    def size_bytes(self) -> int:
        raise NotImplementedError

    def open(self) -> contextlib.AbstractContextManager[BinaryIO]:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is held unless a subclass says so."""


class _Memory(_Source):
    def __init__(self, data: bytes) -> None:
        self._data = data

    def size_bytes(self) -> int:
        return len(self._data)

    def open(self) -> contextlib.AbstractContextManager[BinaryIO]:
        return io.BytesIO(self._data)


class _LocalFile(_Source):
    """A path. Opened anew for each reader, and refused if it is no longer the same file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._identity: tuple[int, int, int, int] | None = None
        self._data: bytes | None = None
        self._lock = threading.Lock()

    def size_bytes(self) -> int:
        with self._lock:
            if self._identity is None:
                os.close(self._open_checked())
            return self._size()

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        with self._lock:
            descriptor = -1 if self._data is not None else self._open_checked()
            try:
                if self._data is None and self._size() <= IN_MEMORY_MAX_BYTES:
                    self._data = self._read_whole(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
        if self._data is not None:
            if descriptor >= 0:
                os.close(descriptor)
            yield io.BytesIO(self._data)
            return
        try:
            size = self._size()
            with _reader(lambda offset, n: os.pread(descriptor, n, offset), size) as stream:
                yield stream
        finally:
            os.close(descriptor)

    def close(self) -> None:
        with self._lock:
            self._data = None

    def _size(self) -> int:
        return self._identity[2] if self._identity else 0

    def _open_checked(self) -> int:
        """A descriptor of a regular file that is still the file first seen.

        O_NONBLOCK, because opening a FIFO would otherwise wait for a writer; the type is asked first,
        because merely opening some devices does something.
        """
        try:
            if not stat.S_ISREG(self._path.stat().st_mode):
                raise NotAFileError("not a regular file")
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | getattr(os, "O_NOCTTY", 0)
            descriptor = os.open(self._path, flags)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise _unreadable(error) from error
        try:
            status = os.fstat(descriptor)
            identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            if not stat.S_ISREG(status.st_mode):
                raise NotAFileError("not a regular file")
            if self._identity is not None and identity != self._identity:
                raise UnreadableContentError("the file changed while it was read")
        except BaseException:
            os.close(descriptor)
            raise
        self._identity = identity
        return descriptor

    def _read_whole(self, descriptor: int) -> bytes:
        size, parts, offset = self._size(), [], 0
        try:
            while offset < size and (part := os.pread(descriptor, size - offset, offset)):
                parts.append(part)
                offset += len(part)
        except OSError as error:
            raise _unreadable(error) from error
        if offset != size:
            raise UnreadableContentError("the file changed while it was read")
        return parts[0] if len(parts) == 1 else b"".join(parts)


class _SharedFile(_Source):
    """An application's open, seekable file: borrowed, and given back at the position it had."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._data: bytes | None = None
        self._size = -1
        self._lock = threading.RLock()

    def size_bytes(self) -> int:
        with self._lock:
            if self._size < 0:
                with self._borrowed():
                    self._file.seek(0, os.SEEK_END)
                    self._size = int(self._file.tell())
            return self._size

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        size = self.size_bytes()
        with self._lock:
            if self._data is None and size <= IN_MEMORY_MAX_BYTES:
                self._data = self._read_at(0, size)
                if len(self._data) != size:
                    raise UnreadableContentError("the file changed while it was read")
        if self._data is not None:
            yield io.BytesIO(self._data)
            return
        with _reader(self._read_at, size) as stream:
            yield stream

    def close(self) -> None:
        with self._lock:
            self._data = None

    def _read_at(self, offset: int, n: int) -> bytes:
        with self._lock, self._borrowed():
            self._file.seek(offset)
            parts = []
            while n > 0 and (part := self._file.read(n)):
                parts.append(_only_bytes(part))
                n -= len(part)
            return b"".join(parts)

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[None]:
        """Put the position back after every single read: the owner never finds it moved."""
        try:
            position = self._file.tell()
            try:
                yield
            finally:
                self._file.seek(position)
        except Exception as error:  # the boundary to foreign file objects, which raise types of their own
            raise _unreadable(error) from error


class _Spooled(_Source):
    """A stream that is read once into an unnamed temporary file (in memory while it is small)."""

    def __init__(
        self, opener: Callable[[], contextlib.AbstractContextManager[BinaryIO]], max_bytes: int
    ) -> None:
        self._opener = opener
        self._max_bytes = max_bytes
        self._spool: _SharedFile | None = None
        self._file: tempfile.SpooledTemporaryFile[bytes] | None = None
        self._lock = threading.Lock()

    def size_bytes(self) -> int:
        return self._spooled().size_bytes()

    def open(self) -> contextlib.AbstractContextManager[BinaryIO]:
        return self._spooled().open()

    def close(self) -> None:
        with self._lock:
            if self._file is not None:
                self._file.close()
            self._spool = self._file = None

    def _spooled(self) -> _SharedFile:
        with self._lock:
            if self._spool is None:
                self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_MAX_BYTES)  # noqa: SIM115
                try:
                    self._fill(cast(BinaryIO, self._file))
                except BaseException:
                    self._file.close()
                    raise
                self._spool = _SharedFile(cast(BinaryIO, self._file))
            return self._spool

    def _fill(self, spool: BinaryIO) -> None:
        total = 0
        try:
            with self._opener() as stream:
                while part := _only_bytes(stream.read(READ_CHUNK_BYTES)):
                    total += len(part)
                    if total > self._max_bytes:
                        raise ContentTooLargeError(
                            f"longer than {self._max_bytes} bytes", limit="max_content_bytes"
                        )
                    spool.write(part)
        except ContentTooLargeError:
            raise
        except Exception as error:  # the boundary to foreign file objects and drivers, as above
            raise _unreadable(error) from error


class _Cursor(io.RawIOBase):
    """An own position over a `_ReadAt`, so that two threads can read one file."""

    def __init__(self, read_at: _ReadAt, size: int) -> None:
        self._read_at = read_at
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("negative position")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        wanted = min(len(buffer), max(self._size - self._position, 0))
        try:
            part = self._read_at(self._position, wanted) if wanted else b""
        except OSError as error:
            raise _unreadable(error) from error
        if wanted and not part:
            raise UnreadableContentError("the file changed while it was read")
        buffer[: len(part)] = part
        self._position += len(part)
        return len(part)


def _reader(read_at: _ReadAt, size: int) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(_Cursor(read_at, size), READ_CHUNK_BYTES))


def _can_seek(file: BinaryIO) -> bool:
    try:
        return file.seekable()
    except Exception:  # noqa: BLE001 - not every file-like object has the question; reading it tells more
        return False


def _only_bytes(part: object) -> bytes:
    if not isinstance(part, (bytes, bytearray, memoryview)):
        raise UnreadableContentError("the file does not give bytes; open it in binary mode")
    return bytes(part)


def _unreadable(error: BaseException) -> UnreadableContentError:
    """Name the fault without the path that an OSError carries."""
    if isinstance(error, UnreadableContentError):
        return error
    reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else type(error).__name__
    return UnreadableContentError(f"cannot be read: {reason}")


def _travelled_url(url: str, max_bytes: int) -> Content:
    """`Content.from_url` in another process, with the cap it had here."""
    return Content.from_url(url, max_bytes=max_bytes)


@contextlib.contextmanager
def _open_url(url: str) -> Iterator[BinaryIO]:
    import fsspec  # not at the top: a hoster without remote storage never loads it

    try:
        with fsspec.open(url, "rb") as stream:
            yield stream
    except (UnreadableContentError, ContentTooLargeError):
        raise
    except ImportError as error:
        raise UnreadableContentError(
            "no driver for this kind of storage is installed",
            hint="Install the fsspec driver of the scheme, e.g. s3fs for s3://.",
        ) from error
    except Exception as error:  # the boundary to drivers, which raise types of their own
        raise UnreadableContentError(f"the storage refused: {type(error).__name__}") from error
