"""The delta's layout: one golden file, and a strict reader that says where a file is wrong."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from iii_client.errors import FilterFormatError
from iii_client.filters.delta import Delta, SectionDelta, decode_delta, encode_delta, most_positions

VECTOR = Path(__file__).parents[2] / "vectors" / "filters" / "delta-v1.json"
HEADER, ROW = 48, 64


def delta_of(*sections: tuple[str, int, int, list[int]]) -> Delta:
    return Delta(
        epoch=7,
        from_sequence=2,
        to_sequence=3,
        sections=tuple(
            SectionDelta(name=name, size_bits=size, count=count, positions=np.array(positions, np.int64))
            for name, size, count, positions in sections
        ),
    )


def small() -> bytes:
    return encode_delta(
        delta_of(("md5", 20_000, 12, [0, 1, 977, 4_242, 19_999]), ("sha1", 6_000, 1, [5_000, 5_008]))
    )


def patched(offset: int, form: str, value: object) -> bytes:
    content = bytearray(small())
    struct.pack_into(form, content, offset, value)
    return bytes(content)


def described(delta: Delta) -> list[list[object]]:
    return [[s.name, s.size_bits, s.count, s.positions.tolist()] for s in delta.sections]


def test_the_golden_delta_is_written_and_read_as_ever() -> None:
    vector = json.loads(VECTOR.read_text())
    content = bytes.fromhex(vector["delta"])
    assert small() == content
    delta = decode_delta(content)
    assert [delta.epoch, delta.from_sequence, delta.to_sequence] == vector["release"]
    assert described(delta) == vector["sections"]


CODES = HEADER + 2 * ROW
DAMAGED: dict[str, tuple[bytes, str, int]] = {
    "no bytes at all": (b"", "too short", 0),
    "a header that is cut off": (small()[:47], "too short", 47),
    "another file": (b"\x89PNG\r\n\x1a\n" + small()[8:], "not a delta", 0),
    "a later version": (patched(8, "<H", 2), "version 2", 8),
    "no sections": (patched(10, "<H", 0), "0 sections", 10),
    "a crowd of sections": (patched(10, "<H", 17), "17 sections", 10),
    "reserved bytes": (patched(12, "<I", 1), "reserved", 12),
    "epoch 0": (patched(16, "<Q", 0), "epoch 0", 16),
    "a delta that leads nowhere": (patched(24, "<Q", 3), "from sequence 3 to 3", 32),
    "a delta that leads back": (patched(24, "<Q", 9), "from sequence 9 to 3", 32),
    "bytes at the end": (small() + b"\0", "its header says", 40),
    "bytes missing at the end": (small()[:-1], "its header says", 40),
    "a table that is cut off": (
        small()[:40] + struct.pack("<Q", HEADER + ROW) + small()[48 : HEADER + ROW],
        "table is cut off",
        HEADER + ROW,
    ),
    "a name that is none": (patched(HEADER, "<16s", b"M\x1b[2J"), "name is malformed", HEADER),
    "two sections of one name": (patched(HEADER + ROW, "<16s", b"md5"), "one name", HEADER + ROW),
    "a section without bits": (patched(HEADER + 16, "<Q", 0), "0 bits", HEADER + 16),
    "a section larger than any": (patched(HEADER + 16, "<Q", 1 << 60), "bits", HEADER + 16),
    "no positions": (patched(HEADER + 32, "<Q", 0), "0 positions", HEADER + 32),
    "a flood": (patched(HEADER + 32, "<Q", 11), "11 positions", HEADER + 32),
    "a count that no bytes could hold": (
        patched(HEADER + 32, "<Q", 1 << 63),
        "allowed are 1 to 10",
        HEADER + 32,
    ),
    "fewer positions than coded": (patched(HEADER + 32, "<Q", 4), "quotients|hold|remainder", CODES),
    "more positions than coded": (patched(HEADER + 32, "<Q", 6), "quotients|hold|remainder", CODES),
    "a code beyond the file": (patched(HEADER + 40, "<Q", 1 << 40), "beyond the file", HEADER + 40),
    "a parameter beyond any": (patched(HEADER + 48, "<B", 41), "parameter of 41", HEADER + 48),
    "another parameter": (patched(HEADER + 48, "<B", 3), "quotients|hold|remainder", CODES),
    "reserved bytes in the table": (patched(HEADER + 63, "<B", 1), "reserved", HEADER + 49),
    "a position outside": (patched(HEADER + 16, "<Q", 19_999), "not below 19999", CODES + 1),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_delta_is_refused_with_the_byte_where_it_shows(case: str) -> None:
    content, words, offset = DAMAGED[case]
    with pytest.raises(FilterFormatError, match=words) as caught:
        decode_delta(content)
    assert caught.value.offset == offset


def test_a_later_version_says_what_to_do() -> None:
    with pytest.raises(FilterFormatError) as caught:
        decode_delta(patched(8, "<H", 2))
    assert "Update iii-client" in caught.value.hint


def test_a_delta_may_set_one_bit_in_two_thousand() -> None:
    assert most_positions(50_000_000) == 25_000
    assert most_positions(1_999) == 0
    assert most_positions(1 << 45) == 1 << 22
    encode_delta(delta_of(("md5", 20_000, 1, list(range(10)))))
    with pytest.raises(FilterFormatError, match=r"11 positions .* allowed are 1 to 10"):
        encode_delta(delta_of(("md5", 20_000, 1, list(range(11)))))


@pytest.mark.parametrize("positions", [[3, 3], [3, 2], [20_000], [-1]])
def test_positions_that_are_no_positions_are_not_written(positions: list[int]) -> None:
    with pytest.raises(FilterFormatError, match=r"ascending|not below|below 0"):
        encode_delta(delta_of(("md5", 20_000, 1, positions)))
