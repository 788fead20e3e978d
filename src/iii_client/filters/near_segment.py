"""A near segment: one immutable file of the release, read through a map and never copied.

    offset  size  field (little-endian)
         0     8  magic `IIINEAR\\0`
         8     2  format version, 1
        10     2  flags: bit 0 `practice` (too small to publish for real use)
        12     4  segment number n of section `near/<n>`, from 1
        16     8  hashes
        24     8  distinct tier-1 keys
        32     8  distinct tier-2 keys
        40     1  tier-1 bits a key
        41     1  tier-2 bits a key
        42     1  minimum chain
        43     1  minimum chain of extra orientations
        44     1  flips a chained block
        45     3  zero
        48     4  probes a block
        52     4  probes to extend a chain
        56    16  convention, ASCII padded with zeros (`pdq`, `pdq-512`)
        72    56  zero
       128        tier 1, then tier 2: bit n in byte n // 8 at bit n % 8

The sizes of the tables are not stored: they follow from the keys (`ring_chain.table_bits`), so that no
two segments of the same hashes can differ. There is no salt and no room for one. There is no checksum:
TUF signs the whole file.
"""

import mmap
import struct
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from iii_client.errors import FilterFormatError
from iii_client.filters.bit_table import BitTable
from iii_client.filters.ring_chain import (
    BLOCKS,
    MAXIMUM_TABLE_BITS,
    MINIMUM_COUNT,
    Hashes,
    NearParameters,
    block_values,
    check_secrecy,
    hash_bits,
    table_bits,
    tier1_hash,
    tier2_hash,
)
from iii_client.model import Algorithm

MAGIC: Final = b"IIINEAR\0"
VERSION: Final = 1
HEADER_BYTES: Final = 128
#: The conventions of PDQ. A list, and so every segment of it, keeps to one.
CONVENTIONS: Final = (Algorithm.PDQ, Algorithm.PDQ_512)

_HEADER = struct.Struct("<8sHHIQQQBBBBB3xII16s56x")
_PARAMETERS = (
    "tier1_bits",
    "tier2_bits",
    "minimum_chain",
    "minimum_chain_oriented",
    "flips_per_block",
    "probes",
    "extension_probes",
)
_PRACTICE = 1
_MAXIMUM_NUMBER = (1 << 32) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class NearHeader:
    """What a segment says of itself. Constructing one checks it: a header that exists may be used.

    Attributes:
        number: n of the section `near/<n>`, from 1.
        algorithm: the convention of its hashes, `Algorithm.PDQ` or `PDQ_512`.
        count: hashes in it.
        tier1_keys, tier2_keys: distinct keys of each tier, 1 to 8 a hash.
        parameters: how it is built and asked.
        practice: it may hold fewer than 10,000 hashes, because they are harmless.

    Raises:
        ValueError: too few hashes, an impossible count, a table over 2^32 bits, or a layout that breaks
            the secrecy inequality.
    """

    number: int
    algorithm: Algorithm
    count: int
    tier1_keys: int
    tier2_keys: int
    parameters: NearParameters
    practice: bool = False

    def __post_init__(self) -> None:
        if self.algorithm not in CONVENTIONS:
            raise ValueError(f"{self.algorithm} has no near segments")
        if not 1 <= self.number <= _MAXIMUM_NUMBER:
            raise ValueError(f"segment number {self.number} is out of range")
        least = 1 if self.practice else MINIMUM_COUNT
        if self.count < least:
            raise ValueError(f"a segment of {self.count} hashes is too small, the least is {least}")
        for keys in (self.tier1_keys, self.tier2_keys):
            if not max(BLOCKS, self.count) <= keys <= BLOCKS * self.count:
                raise ValueError(f"{self.count} hashes cannot have {keys} keys")
        # A bound on counts first: arithmetic on absurd ones must not overflow.
        if max(self.tier1_bits, self.tier2_bits) >= MAXIMUM_TABLE_BITS:
            raise ValueError(
                f"a table of {max(self.tier1_bits, self.tier2_bits)} bits is over the cap of 2^32"
            )
        # By the keys, which the size of the file proves; a count alone could be claimed.
        check_secrecy(self.parameters, count=self.tier1_keys // BLOCKS)

    @property
    def tier1_bits(self) -> int:
        """Size of tier 1 in bits."""
        return table_bits(self.tier1_keys, self.parameters.tier1_bits)

    @property
    def tier2_bits(self) -> int:
        """Size of tier 2 in bits."""
        return table_bits(self.tier2_keys, self.parameters.tier2_bits)

    @property
    def size_bytes(self) -> int:
        """Size of the whole segment."""
        return HEADER_BYTES + (self.tier1_bits + self.tier2_bits) // 8

    def to_bytes(self) -> bytes:
        """The 128 bytes before the tables."""
        parameters = self.parameters
        return _HEADER.pack(
            MAGIC,
            VERSION,
            _PRACTICE if self.practice else 0,
            self.number,
            self.count,
            self.tier1_keys,
            self.tier2_keys,
            parameters.tier1_bits,
            parameters.tier2_bits,
            parameters.minimum_chain,
            parameters.minimum_chain_oriented,
            parameters.flips_per_block,
            parameters.probes,
            parameters.extension_probes,
            self.algorithm.encode("ascii"),
        )

    @classmethod
    def from_bytes(cls, raw: bytes) -> "NearHeader":
        """Parse exactly what `to_bytes` writes.

        Raises:
            FilterFormatError: anything else.
        """
        if len(raw) != HEADER_BYTES:
            raise FilterFormatError(f"a near segment starts with {HEADER_BYTES} bytes, got {len(raw)}")
        magic, version, flags, number, count, keys1, keys2, *rest, convention = _HEADER.unpack(raw)
        if magic != MAGIC:
            raise FilterFormatError("not a near segment")
        if version != VERSION:
            raise FilterFormatError(f"near segment of version {version}, this reader knows {VERSION}")
        try:
            header = cls(
                number=number,
                algorithm=Algorithm(convention.rstrip(b"\0").decode("ascii")),
                count=count,
                tier1_keys=keys1,
                tier2_keys=keys2,
                parameters=NearParameters(**dict(zip(_PARAMETERS, rest, strict=True))),
                practice=bool(flags & _PRACTICE),
            )
        except ValueError as refused:
            raise FilterFormatError(f"near segment refused: {refused}") from refused
        if header.to_bytes() != raw:
            raise FilterFormatError("near segment with bytes set that must be zero")
        return header


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NearSegment:
    """An opened segment: its header and its two tables over memory that nobody writes."""

    header: NearHeader
    tier1: BitTable
    tier2: BitTable

    def holds(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Exact membership of whole hashes (n, 32 bytes): (n,), never False for one that was inserted.

        A hash that was not inserted passes with 2^-176: all of its 16 keys would have to be chance.
        """
        values = block_values(hash_bits(hashes))
        block = np.arange(values.size) % BLOCKS
        keys = (
            (self.tier1, tier1_hash(block, values.ravel())),
            (self.tier2, tier2_hash(block, values.ravel(), np.roll(values, -1, axis=1).ravel())),
        )
        held = np.ones(len(hashes), np.bool_)
        for table, hashed in keys:
            found = np.bincount(table.survivors(hashed) // BLOCKS, minlength=len(hashes))
            held &= found == BLOCKS
        return held

    @classmethod
    def open(cls, path: str | PathLike[str]) -> "NearSegment":
        """Map a segment read-only, in constant time whatever its size.

        The map lives as long as the segment does. A mapped file must never be rewritten in place.

        Raises:
            FilterFormatError: not a segment that this reader may use.
            OSError: it cannot be opened.
        """
        with Path(path).open("rb") as file:
            head = file.read(HEADER_BYTES)
            NearHeader.from_bytes(head)
            return cls.over(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    @classmethod
    def over(cls, buffer: bytes | mmap.mmap | memoryview) -> "NearSegment":
        """A segment over bytes that hold it and nothing else.

        Raises:
            FilterFormatError: not a segment that this reader may use.
        """
        raw = np.frombuffer(buffer, np.uint8)
        header = NearHeader.from_bytes(raw[:HEADER_BYTES].tobytes())
        if len(raw) != header.size_bytes:
            raise FilterFormatError(f"near segment of {len(raw)} bytes instead of {header.size_bytes}")
        raw.flags.writeable = False
        middle = HEADER_BYTES + header.tier1_bits // 8
        return cls(
            header=header,
            tier1=_table(raw[HEADER_BYTES:middle], header.tier1_bits, header.parameters.tier1_bits, tier=1),
            tier2=_table(raw[middle:], header.tier2_bits, header.parameters.tier2_bits, tier=2),
        )


def _table(bits: NDArray[np.uint8], size_bits: int, probes: int, *, tier: int) -> BitTable:
    return BitTable.over(bits, size_bits=size_bits, probes=probes, tier=tier)
