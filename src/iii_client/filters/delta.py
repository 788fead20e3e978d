"""The delta: one file that says which bits of the exact sections to set, and nothing else.

Layout, little-endian throughout:

    header   48 bytes   magic "\\x89IIIDLT\\n", version u16, section count u16, reserved u32,
                        epoch u64, sequence it starts from u64, sequence it leads to u64,
                        size of the whole file u64
    table    64 bytes   a section: name (16 bytes, ASCII, NUL-padded), bits of the section u64, its new
                        count of keys u64, positions u64, bytes of their code u64, Rice parameter u8,
                        15 reserved bytes
    codes               in table order, back to back: see `rice.py`

There is no way to say "clear this bit": whoever holds the key that signs deltas can make a filter find
more, and never less. A section without new bits is not named. The parser checks every count and size against
each other before it decodes anything; TUF signs the whole file, so there are no checksums inside.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from iii_client.errors import FilterFormatError
from iii_client.filters.bundle import MAX_BUNDLE_BYTES, MAX_SECTIONS, section_name
from iii_client.filters.headers import check_start
from iii_client.filters.rice import (
    MAX_PARAMETER,
    Positions,
    best_parameter,
    decode_positions,
    encode_positions,
)

MAGIC = b"\x89IIIDLT\n"
VERSION = 1

#: A delta may set one bit in so many of its section. A stolen online key fills a filter no faster; a list of
#: 1.4 million hashes at 1e-6 takes 1,250 more in each delta for sure (20 bits a hash), usually 2,200.
BITS_FOR_ONE_POSITION = 2000

#: Positions of one section, whatever its size: their code takes at most 20 MB, and decoding it 0.2 GB.
MAX_POSITIONS = 1 << 22

#: Room for `MAX_POSITIONS` at any gap that the rule above allows.
MAX_DELTA_BYTES = 32 << 20

_HEADER = struct.Struct("<8sHHIQQQQ")
_ENTRY = struct.Struct("<16sQQQQB15s")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SectionDelta:
    """What a delta does to one section.

    Attributes:
        name: of the section.
        size_bits: of the section, so that positions of another layout are never applied.
        count: keys that it holds afterwards.
        positions: bits to set, ascending and distinct, shape `(n,)`, n at least 1.
    """

    name: str
    size_bits: int
    count: int
    positions: Positions = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Delta:
    """A parsed delta: leads from one release of an epoch to a later one.

    Attributes:
        epoch: of both.
        from_sequence, to_sequence: of the release that it is applied to, and of the one that results.
        sections: what changes; one section at most once.
    """

    epoch: int
    from_sequence: int
    to_sequence: int
    sections: tuple[SectionDelta, ...]


def most_positions(size_bits: int) -> int:
    """How many bits of a section of this size one delta may set."""
    return min(size_bits // BITS_FOR_ONE_POSITION, MAX_POSITIONS)


def encode_delta(delta: Delta) -> bytes:
    """The file's bytes: the same delta gives the same bytes, always.

    Raises:
        FilterFormatError: what `decode_delta` would refuse, such as more positions than one delta may set.
    """
    table = b""
    codes = b""
    for section in delta.sections:
        _check_count(len(section.positions), section.size_bits, offset=None)
        if section.positions[0] < 0 or (np.diff(section.positions) <= 0).any():
            raise FilterFormatError("positions must be ascending and not below 0")
        parameter = best_parameter(section.positions)
        code = encode_positions(section.positions, parameter)
        table += _ENTRY.pack(
            section.name.encode("ascii"),
            section.size_bits,
            section.count,
            len(section.positions),
            len(code),
            parameter,
            bytes(15),
        )
        codes += code
    size = _HEADER.size + len(table) + len(codes)
    head = _HEADER.pack(
        MAGIC, VERSION, len(delta.sections), 0, delta.epoch, delta.from_sequence, delta.to_sequence, size
    )
    content = head + table + codes
    decode_delta(content)
    return content


def decode_delta(data: bytes) -> Delta:
    """Read a whole delta file.

    Raises:
        FilterFormatError: anything but a complete delta of this version, with the byte offset.
    """
    if len(data) < _HEADER.size:
        raise FilterFormatError("the file is too short for a delta", offset=len(data))
    check_start(data, what="delta", magic=MAGIC, version=VERSION, max_sections=MAX_SECTIONS)
    _, _, count, _, epoch, start, end, size = _HEADER.unpack_from(data)
    if end <= start:
        raise FilterFormatError(f"a delta from sequence {start} to {end}", offset=32)
    if size != len(data) or size > MAX_DELTA_BYTES:
        raise FilterFormatError(f"the file has {len(data)} bytes, its header says {size}", offset=40)
    return Delta(
        epoch=epoch, from_sequence=start, to_sequence=end, sections=tuple(_decode_sections(data, count))
    )


def _decode_sections(data: bytes, count: int) -> Sequence[SectionDelta]:
    sections: list[SectionDelta] = []
    at = _HEADER.size + count * _ENTRY.size
    if len(data) < at:
        raise FilterFormatError("the section table is cut off", offset=len(data))
    for row in range(_HEADER.size, at, _ENTRY.size):
        raw_name, size_bits, new_count, positions, code_bytes, parameter, reserved = _ENTRY.unpack_from(
            data, row
        )
        name = section_name(raw_name, row)
        if any(name == other.name for other in sections):
            raise FilterFormatError("two sections of one name", offset=row)
        if not 1 <= size_bits <= MAX_BUNDLE_BYTES * 8:
            raise FilterFormatError(f"a section of {size_bits} bits", offset=row + 16)
        _check_count(positions, size_bits, offset=row + 32)
        if code_bytes > len(data) - at:
            raise FilterFormatError("a code reaches beyond the file", offset=row + 40)
        if parameter > MAX_PARAMETER:
            raise FilterFormatError(f"a Rice parameter of {parameter}", offset=row + 48)
        if any(reserved):
            raise FilterFormatError("reserved bytes are set", offset=row + 49)
        code = memoryview(data)[at : at + code_bytes]
        sections.append(
            SectionDelta(
                name=name,
                size_bits=size_bits,
                count=new_count,
                positions=decode_positions(
                    code, parameter=parameter, count=positions, size_bits=size_bits, offset=at
                ),
            )
        )
        at += code_bytes
    if at != len(data):
        raise FilterFormatError("bytes after the last code", offset=at)
    return sections


def _check_count(positions: int, size_bits: int, *, offset: int | None) -> None:
    if not 1 <= positions <= most_positions(size_bits):
        raise FilterFormatError(
            f"{positions} positions in a section of {size_bits} bits, allowed are 1 to "
            f"{most_positions(size_bits)}",
            offset=offset,
        )
