"""Fingerprints at rest: segment files of compressed blocks, one block a chunk, appended and never changed.

    file   "IIISEG" · version · 0          then blocks, up to about 64 MB, then the next file
    block  "BLK1" · rows · raw length · packed length · CRC-32 of what is packed, then zlib

A block holds for each item its key, its change token, its fault and its fingerprint; items of equal content
share one. Two billion pictures do not fit into a database, and need none: they are only ever read in order.

Promises: what `append` returned for is on disk; what follows the last committed position is cut off at the
next start, so a killed writer leaves nothing; a damaged block is a `RescanError` that names file and offset.
"""

import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from iii_client.errors import RescanError
from iii_client.rescan.chunks import HashedRow
from iii_client.rescan.reading import ByteReader

#: A file is closed at this size: small enough to copy and to lose, 120,000 pictures.
FILE_BYTES = 64 << 20
#: Level 6 takes 10 ms for 256 pictures, of two to five seconds of hashing.
_LEVEL = 6
#: A block is one chunk; more than this is damage, or an attack on who reads it.
_MAX_RAW_BYTES = 64 << 20

_FILE_HEAD = b"IIISEG\x01\x00"
_HEAD = struct.Struct(">4sIIII")
_MAGIC = b"BLK1"
_TEXT, _NUMBER = struct.Struct(">H"), struct.Struct(">I")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredItem:
    """One item of a segment."""

    key: str
    token: str
    row: HashedRow


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place between two blocks of a shard: file number, from 1, and offset in bytes."""

    file: int = 1
    offset: int = 0


class Segments:
    """The segment files of one shard. One writer at a time.

    Args:
        folder: theirs alone; made on the first append.
        file_bytes: a file is closed at this size.
    """

    def __init__(self, folder: Path, *, file_bytes: int = FILE_BYTES) -> None:
        self._folder = folder
        self._file_bytes = file_bytes

    def cut(self, end: Position) -> None:
        """Drop what lies behind the last committed position: nobody knows of it."""
        path = self._path(end.file)
        if path.exists() and path.stat().st_size > end.offset:
            os.truncate(path, end.offset)
        following = self._path(end.file + 1)
        following.unlink(missing_ok=True)

    def append(self, items: Sequence[StoredItem], end: Position) -> Position:
        """Write one block behind `end`, on disk when this returns the new end.

        Raises:
            RescanError: the disk refused.
        """
        if end.offset >= self._file_bytes:
            end = Position(end.file + 1, 0)
        block = pack_block(items)
        if end.offset == 0:
            block = _FILE_HEAD + block
        path = self._path(end.file)
        try:
            is_new = not path.exists()
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                with os.fdopen(os.dup(descriptor), "wb") as file:
                    file.seek(end.offset)
                    file.write(block)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if is_new:
                _sync_folder(self._folder)
        except OSError as error:
            raise RescanError(
                f"fingerprints cannot be written: {error.strerror}",
                hint="Make room in the state directory, then: iii-client rescan resume.",
            ) from error
        return Position(end.file, end.offset + len(block))

    def read(self, start: Position, end: Position) -> Iterator[tuple[list[StoredItem], Position]]:
        """Blocks between two positions, each with the position behind it.

        Raises:
            RescanError: a file is missing or damaged.
        """
        for number in range(start.file, end.file + 1):
            try:
                with self._path(number).open("rb") as file:
                    offset = start.offset if number == start.file else 0
                    stop = end.offset if number == end.file else os.fstat(file.fileno()).st_size
                    if offset == 0 and stop:
                        if file.read(len(_FILE_HEAD)) != _FILE_HEAD:
                            raise _damaged(number, 0)
                        offset = len(_FILE_HEAD)
                    file.seek(offset)
                    while offset < stop:
                        items, length = _read_block(file.read, number, offset)
                        offset += length
                        yield items, Position(number, offset)
            except OSError as error:
                if (number, end.offset) == (end.file, 0):
                    return  # nothing was written yet
                raise RescanError(
                    f"segment file {number} cannot be read: {error.strerror}",
                    hint="Restore it from a backup, or start a new job: its items must be hashed again.",
                ) from error

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06}.seg"


def pack_block(items: Sequence[StoredItem]) -> bytes:
    """One block, header included."""
    numbers: dict[bytes, int] = {}
    indices = [numbers.setdefault(item.row.stored, len(numbers)) for item in items]
    raw = bytearray(_NUMBER.pack(len(numbers)))
    for index in indices:
        raw += _NUMBER.pack(index)
    for texts in (
        [item.key for item in items],
        [item.token for item in items],
        [item.row.fault for item in items],
    ):
        for text in texts:
            encoded = text.encode("utf-8", "surrogatepass")
            raw += _TEXT.pack(len(encoded)) + encoded
    for stored in numbers:
        raw += _NUMBER.pack(len(stored)) + stored
    packed = zlib.compress(bytes(raw), _LEVEL)
    return _HEAD.pack(_MAGIC, len(items), len(raw), len(packed), zlib.crc32(packed)) + packed


def _read_block(read: Callable[[int], bytes], number: int, offset: int) -> tuple[list[StoredItem], int]:
    head = read(_HEAD.size)
    if len(head) != _HEAD.size:
        raise _damaged(number, offset)
    magic, count, raw_length, length, crc = _HEAD.unpack(head)
    if magic != _MAGIC or raw_length > _MAX_RAW_BYTES or length > _MAX_RAW_BYTES:
        raise _damaged(number, offset)
    packed = read(length)
    if len(packed) != length or zlib.crc32(packed) != crc:
        raise _damaged(number, offset)
    unpacker = zlib.decompressobj()
    try:
        raw = unpacker.decompress(packed, raw_length)
        if len(raw) != raw_length or not unpacker.eof:
            raise ValueError("another length than declared")
        items = _unpack(raw, count)
    except (zlib.error, ValueError, IndexError) as error:
        raise _damaged(number, offset) from error
    return items, _HEAD.size + length


def _unpack(raw: bytes, count: int) -> list[StoredItem]:
    if count * _NUMBER.size > len(raw):
        raise ValueError("more items than bytes")
    block = ByteReader(raw)
    (prints,) = block.unpack(_NUMBER)
    indices = block.unpack(struct.Struct(f">{count}I"))
    columns = [[block.sized(_TEXT).decode("utf-8", "surrogatepass") for _ in range(count)] for _ in range(3)]
    stored = [block.sized(_NUMBER) for _ in range(prints)]
    block.end()
    return [
        StoredItem(key=key, token=token, row=HashedRow(stored=stored[index], fault=fault))
        for index, key, token, fault in zip(indices, *columns, strict=True)
    ]


def _damaged(number: int, offset: int) -> RescanError:
    return RescanError(
        f"segment file {number} is damaged at byte {offset}",
        hint="Restore it from a backup, or start a new job: its items must be hashed again.",
    )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
