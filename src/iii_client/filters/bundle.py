"""The bundle: one file that holds the exact Bloom filter sections of a release.

Layout, little-endian throughout:

    header   40 bytes   magic "\\x89IIIBLM\\n", version u16, section count u16, reserved u32,
                        epoch u64, sequence u64, size of the whole file u64
    table    64 bytes   a section: name (16 bytes, ASCII, NUL-padded), kind u16, reserved u16,
                        reserved u32, offset u64, size u64, count u64, capacity u64, error rate f64
    sections            in table order, each at the next multiple of 64, zeros between them

A section of kind EXACT is byte for byte what pybloom-live's `BloomFilter.tofile` writes: a header of 40
bytes (`<dQQQQ`: error rate, slices, bits a slice, capacity, count), then the bits. So anybody can open
one with `file.seek(offset)` and `BloomFilter.fromfile(file, size_bytes)`. Near segments are files of
their own and not part of it; a new kind of section would come with a new version.

There are no checksums inside: TUF signs the whole file. The parser is strict all the same, for a file
that was damaged on disk, and looks at the headers only: its cost does not grow with the filter.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from iii_client.errors import FilterFormatError
from iii_client.filters.headers import check_start
from iii_client.model import ReleaseId, SectionInfo

MAGIC = b"\x89IIIBLM\n"
VERSION = 1

#: Sections start at multiples of this, a cache line, so that readers may map them as machine words.
ALIGNMENT_BYTES = 64
#: One section for each hash algorithm would be 6; more than 16 is not a filter but an attack.
MAX_SECTIONS = 16
#: Four sections of 41 million hashes at 28.8 bits are 0.6 GB.
MAX_BUNDLE_BYTES = 4 << 30
#: A false-positive rate of 2^-64 is beyond anything that 64-byte digests can give.
MAX_SLICES = 64

_HEADER = struct.Struct("<8sHHIQQQ")
_ENTRY = struct.Struct("<16sHHIQQQQd")
_BLOOM_HEADER = struct.Struct("<dQQQQ")
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")

Buffer = bytes | bytearray | memoryview


class SectionKind(IntEnum):
    """What a section holds. Version 1 knows one kind."""

    EXACT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BloomHeader:
    """The 40 bytes in front of a pybloom-live filter's bits.

    Attributes:
        error_rate: declared false-positive rate at capacity, a ratio.
        slices: number of hash functions; each has bits of its own.
        bits_per_slice: bits that each hash function may set.
        capacity: keys the filter was sized for.
        count: keys it holds.
    """

    SIZE_BYTES = _BLOOM_HEADER.size

    error_rate: float
    slices: int
    bits_per_slice: int
    capacity: int
    count: int

    @classmethod
    def parse(cls, data: Buffer, offset: int = 0) -> "BloomHeader":
        """Read and check the header at `offset`.

        Raises:
            FilterFormatError: truncated, or values that no filter has.
        """
        if len(data) - offset < _BLOOM_HEADER.size:
            raise FilterFormatError("a Bloom filter's header is cut off", offset=len(data))
        error_rate, slices, bits_per_slice, capacity, count = _BLOOM_HEADER.unpack_from(data, offset)
        # Written so that NaN fails too.
        if not 0.0 < error_rate < 1.0:
            raise FilterFormatError("the error rate is not between 0 and 1", offset=offset)
        if not 1 <= slices <= MAX_SLICES:
            raise FilterFormatError(f"{slices} slices, allowed are 1 to {MAX_SLICES}", offset=offset + 8)
        if not 1 <= bits_per_slice <= MAX_BUNDLE_BYTES * 8:
            raise FilterFormatError(f"{bits_per_slice} bits a slice", offset=offset + 16)
        if capacity < 1:
            raise FilterFormatError("a capacity of 0", offset=offset + 24)
        return cls(
            error_rate=error_rate,
            slices=slices,
            bits_per_slice=bits_per_slice,
            capacity=capacity,
            count=count,
        )

    @property
    def size_bytes(self) -> int:
        """Bytes of header and bits together."""
        return self.SIZE_BYTES + -(-self.slices * self.bits_per_slice // 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleSection:
    """One row of the section table, checked against the section's own header."""

    name: str
    kind: SectionKind
    offset: int
    size_bytes: int
    header: BloomHeader

    @property
    def info(self) -> SectionInfo:
        """What a release says about this section."""
        return SectionInfo(
            name=self.name,
            count=self.header.count,
            capacity=self.header.capacity,
            error_rate=self.header.error_rate,
            size_bytes=self.size_bytes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """The parsed head of a bundle: which release it is and where its sections lie."""

    release: ReleaseId
    size_bytes: int
    sections: tuple[BundleSection, ...]


def parse_bundle(data: Buffer) -> Bundle:
    """Read header and section table of a whole bundle (usually a map of the file).

    Raises:
        FilterFormatError: anything but a complete bundle of this version, with the byte offset.
    """
    if len(data) < _HEADER.size:
        raise FilterFormatError("the file is too short for a filter", offset=len(data))
    check_start(data, what="bundle", magic=MAGIC, version=VERSION, max_sections=MAX_SECTIONS)
    _, _, count, _, epoch, sequence, size = _HEADER.unpack_from(data)
    if size != len(data) or size > MAX_BUNDLE_BYTES:
        raise FilterFormatError(f"the file has {len(data)} bytes, its header says {size}", offset=32)
    sections: list[BundleSection] = []
    end = _HEADER.size + count * _ENTRY.size
    for index in range(count):
        section = _parse_section(data, row=_HEADER.size + index * _ENTRY.size, previous_end=end)
        if any(section.name == other.name for other in sections):
            raise FilterFormatError("two sections of one name", offset=_HEADER.size + index * _ENTRY.size)
        sections.append(section)
        end = section.offset + section.size_bytes
    if end != size:
        raise FilterFormatError("bytes after the last section", offset=end)
    return Bundle(
        release=ReleaseId(epoch=epoch, sequence=sequence), size_bytes=size, sections=tuple(sections)
    )


def pack_bundle(release: ReleaseId, sections: Sequence[tuple[str, bytes]]) -> bytes:
    """Put EXACT sections, as (name, what `tofile` wrote), into one bundle, in the order given.

    The same sections and release give the same bytes, always.

    Raises:
        FilterFormatError: what `parse_bundle` would refuse.
    """
    table = b""
    body = bytearray(_HEADER.size + len(sections) * _ENTRY.size)
    for name, content in sections:
        header = BloomHeader.parse(content)
        body += bytes(-len(body) % ALIGNMENT_BYTES)
        table += _ENTRY.pack(
            name.encode("ascii"),
            SectionKind.EXACT,
            0,
            0,
            len(body),
            len(content),
            header.count,
            header.capacity,
            header.error_rate,
        )
        body += content
    head = _HEADER.pack(MAGIC, VERSION, len(sections), 0, release.epoch, release.sequence, len(body))
    body[: len(head) + len(table)] = head + table
    parse_bundle(body)
    return bytes(body)


def renamed(
    sequence: int, counts: Mapping[str, int], sections: Sequence[BundleSection]
) -> Iterator[tuple[int, bytes]]:
    """What to write where, as (offset, 8 bytes), so that a bundle is another sequence with other counts.

    No piece crosses a multiple of `ALIGNMENT_BYTES`.
    """
    yield 24, struct.pack("<Q", sequence)
    for row, section in enumerate(sections):
        if section.name in counts:
            count = struct.pack("<Q", counts[section.name])
            yield _HEADER.size + row * _ENTRY.size + 40, count
            yield section.offset + 32, count


def section_name(raw: bytes, row: int) -> str:
    """The name in 16 bytes of a section table.

    Raises:
        FilterFormatError: malformed; `row` is where the table's row starts.
    """
    name = raw.rstrip(b"\0").decode("latin-1")
    if not name or not set(name) <= _NAME_CHARACTERS:
        raise FilterFormatError("a section's name is malformed", offset=row)
    return name


def _parse_section(data: Buffer, *, row: int, previous_end: int) -> BundleSection:
    if len(data) < row + _ENTRY.size:
        raise FilterFormatError("the section table is cut off", offset=len(data))
    raw_name, kind, reserved, reserved_too, offset, size, count, capacity, error_rate = _ENTRY.unpack_from(
        data, row
    )
    name = section_name(raw_name, row)
    if kind not in set(SectionKind):
        raise FilterFormatError(f"section kind {kind} is unknown", offset=row + 16)
    if reserved or reserved_too:
        raise FilterFormatError("reserved bytes are set", offset=row + 18)
    # Sections lie back to back, so that none can overlap and nothing can hide between them.
    start = previous_end + -previous_end % ALIGNMENT_BYTES
    if offset != start:
        raise FilterFormatError(f"a section at {offset}, expected at {start}", offset=row + 24)
    if any(data[previous_end:start]):
        raise FilterFormatError("bytes between sections are set", offset=previous_end)
    if size > len(data) - offset:
        raise FilterFormatError("a section reaches beyond the file", offset=row + 32)
    header = BloomHeader.parse(data, offset)
    if size != header.size_bytes:
        raise FilterFormatError(f"a section of {size} bytes needs {header.size_bytes}", offset=row + 32)
    if (count, capacity, error_rate) != (header.count, header.capacity, header.error_rate):
        raise FilterFormatError("a section's header contradicts the table", offset=offset)
    spare_bits = -header.slices * header.bits_per_slice % 8
    if spare_bits and data[offset + size - 1] >> (8 - spare_bits):
        raise FilterFormatError("bits after the last slice are set", offset=offset + size - 1)
    return BundleSection(name=name, kind=SectionKind(kind), offset=offset, size_bytes=size, header=header)
