"""One exact section: membership of hex text in a pybloom-live filter, read from a read-only map.

Single look-ups are answered by pybloom-live itself, whose bits are a view of the map: opening costs the
same whatever the size, and the processes of a host share one copy. Batches are answered by a vectorised
reader of the same layout, which is several times faster from a few keys upwards. Both give the same
answer for every key; the tests hold them against each other.

The layout, read from pybloom-live 4.0 and pinned by golden vectors: a filter has `slices` slices of
`bits_per_slice` bits. A key's UTF-8 bytes are hashed behind each salt (the digest of the digest of a
counter, in native byte order); the digests are cut into native unsigned words, and the i-th word modulo
`bits_per_slice` is the bit in the i-th slice. Word width and hash function follow from the size. Keys
are lower-case hexadecimal text: pybloom-live hashes `str(key)`, so `bytes` would silently become "b'..'".
"""

import struct
import sys
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from bitarray import bitarray
from pybloom_live import BloomFilter

from iii_client.errors import FilterFormatError
from iii_client.filters.bundle import BloomHeader, Buffer

#: From this many keys on, the vectorised reader is faster (measured: benchmarks/filters.py).
BATCH_FROM_KEYS = 20

#: Slices tested before the rest is looked at: at a fill of one half they leave 6 % of absent keys.
_FIRST_SLICES = 4

#: Keys hashed at a time: bounds the memory of a batch to half a megabyte, and keeps it in the cache.
_CHUNK_KEYS = 2048


class _Hash(Protocol):
    """A hash object as hashlib makes them."""

    def copy(self) -> "_Hash": ...
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


class ExactSection:
    """Membership in one pybloom-live filter that lies in a buffer. Read-only and thread-safe.

    Args:
        data: a buffer that starts with the filter's 40-byte header; kept, never copied or written.

    Raises:
        FilterFormatError: the bytes are no such filter, or this machine's byte order is not the filter's.
    """

    __slots__ = ("_bits", "_bloom", "_salts", "_word", "_words_per_salt", "header")

    def __init__(self, data: Buffer) -> None:
        if sys.byteorder != "little":
            # pybloom-live's salts and words are native: every answer here would be a silent "absent".
            raise FilterFormatError("filters are made for little-endian machines")
        self.header = BloomHeader.parse(data)
        view = memoryview(data)[: self.header.size_bytes]
        if len(view) < self.header.size_bytes:
            raise FilterFormatError("a Bloom filter's bits are cut off", offset=len(view))
        bits = view[BloomHeader.SIZE_BYTES :].toreadonly()
        self._bits = np.frombuffer(bits, np.uint8)
        self._bloom = _open(self.header, bits)
        self._word = _word_type(self.header.bits_per_slice)
        self._words_per_salt = self._bloom.hashfn().digest_size // self._word.itemsize
        self._salts = [
            self._bloom.hashfn(self._bloom.hashfn(struct.pack("I", counter)).digest())
            for counter in range(-(-self.header.slices // self._words_per_salt))
        ]

    @property
    def fill(self) -> float:
        """Share of its bits that are set, 0 to 1; reads all of them. At .5 it has the declared rate."""
        size_bits = self.header.slices * self.header.bits_per_slice
        return self.ones(0, size_bits) / size_bits

    def ones(self, start: int, stop: int) -> int:
        """How many of the bits from `start` to before `stop` are set."""
        count: int = self._bloom.bitarray.count(1, start, stop)
        return count

    def __contains__(self, key: str) -> bool:
        return key in self._bloom

    def contains_many(self, keys: Sequence[str]) -> list[bool]:
        """Membership of each key, aligned with the input. A few keys go through pybloom-live."""
        if len(keys) < BATCH_FROM_KEYS:
            bloom = self._bloom
            return [key in bloom for key in keys]
        answers: list[bool] = []
        for start in range(0, len(keys), _CHUNK_KEYS):
            answers += self.contains_batch(keys[start : start + _CHUNK_KEYS]).tolist()
        return answers

    def positions(self, keys: Sequence[str]) -> npt.NDArray[np.int64]:
        """The bits that each key sets, counted from the first bit of the first slice: `(len(keys), slices)`.

        For whoever builds a filter: setting all of them is what adding the keys would do.
        """
        encoded = [key.encode() for key in keys]
        words = np.concatenate([self._words(salt, encoded) for salt in self._salts], axis=1)
        return self._positions(words[:, : self.header.slices], 0)

    def contains_batch(self, keys: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Membership of each key by the vectorised reader, shape `(len(keys),)`."""
        encoded = [key.encode() for key in keys]
        alive = np.arange(len(keys))
        for number, salt in enumerate(self._salts):
            if not alive.size:
                break
            words = self._words(salt, encoded if number == 0 else [encoded[i] for i in alive.tolist()])
            first = number * self._words_per_salt
            last = min(first + self._words_per_salt, self.header.slices)
            middle = min(first + _FIRST_SLICES, last)
            # Most absent keys fail in the first few slices; only the others pay for the rest.
            kept = self._all_set(words[:, : middle - first], first)
            alive, words = alive[kept], words[kept]
            alive = alive[self._all_set(words[:, middle - first : last - first], middle)]
        answers = np.zeros(len(keys), np.bool_)
        answers[alive] = True
        return answers

    def _words(self, salt: "_Hash", keys: Sequence[bytes]) -> npt.NDArray[np.unsignedinteger]:
        digests = []
        copy = salt.copy
        for key in keys:
            state = copy()
            state.update(key)
            digests.append(state.digest())
        return np.frombuffer(b"".join(digests), self._word).reshape(len(keys), self._words_per_salt)

    def _all_set(self, words: npt.NDArray[np.unsignedinteger], first_slice: int) -> npt.NDArray[np.bool_]:
        """Which rows of words, shape `(keys, slices)`, find every bit set from `first_slice` on."""
        positions = self._positions(words, first_slice)
        found = self._bits[positions >> 3] >> (positions & 7).astype(np.uint8) & np.uint8(1)
        rows: npt.NDArray[np.bool_] = found.all(axis=1)
        return rows

    def _positions(self, words: npt.NDArray[np.unsignedinteger], first_slice: int) -> npt.NDArray[np.int64]:
        """The bit that each word, shape `(keys, slices)`, stands for in its slice, from `first_slice` on."""
        size = self.header.bits_per_slice
        # Several times faster than %, which numpy does not vectorise.
        within = words - words // self._word.type(size) * self._word.type(size)
        positions: npt.NDArray[np.int64] = within.astype(np.int64)
        positions += np.arange(first_slice, first_slice + words.shape[1], dtype=np.int64) * size
        return positions


def _open(header: BloomHeader, bits: memoryview) -> BloomFilter:
    """A pybloom-live filter over bits that stay where they are."""
    # The same two steps as in `BloomFilter.fromfile`, except that the bits are a view, not a copy.
    bloom = BloomFilter(1)
    bloom._setup(header.error_rate, header.slices, header.bits_per_slice, header.capacity, header.count)
    bloom.bitarray = bitarray(buffer=bits, endian="little")
    return bloom


def _word_type(bits_per_slice: int) -> np.dtype[np.unsignedinteger]:
    if bits_per_slice >= 1 << 31:
        return np.dtype(np.uint64)
    return np.dtype(np.uint32 if bits_per_slice >= 1 << 15 else np.uint16)
