"""The bundle's layout: one golden file, and a strict reader that says where a file is wrong."""

import io
import json
import struct
from pathlib import Path

import pytest
from pybloom_live import BloomFilter

from iii_client.errors import FilterFormatError
from iii_client.filters import pack_bundle, parse_bundle
from iii_client.filters.bundle import BloomHeader
from iii_client.model import ReleaseId

VECTOR = Path(__file__).parents[2] / "vectors" / "filters" / "bundle-v1.json"
KEYS = ("d41d8cd98f00b204e9800998ecf8427e", "0cc175b9c0f1b6a831c399e269772661")
RELEASE = ReleaseId(epoch=7, sequence=2)


def bloom_bytes(keys: tuple[str, ...] = KEYS, *, capacity: int = 20, error_rate: float = 0.001) -> bytes:
    bloom = BloomFilter(capacity, error_rate)
    for key in keys:
        bloom.add(key)
    content = io.BytesIO()
    bloom.tofile(content)
    return content.getvalue()


def small_bundle() -> bytes:
    return pack_bundle(RELEASE, [("md5", bloom_bytes()), ("sha1", bloom_bytes((), capacity=3))])


def patched(offset: int, form: str, value: object) -> bytes:
    content = bytearray(small_bundle())
    struct.pack_into(form, content, offset, value)
    return bytes(content)


def test_the_golden_bundle_is_written_and_read_as_ever() -> None:
    vector = json.loads(VECTOR.read_text())
    content = bytes.fromhex(vector["bundle"])
    assert small_bundle() == content
    bundle = parse_bundle(content)
    assert str(bundle.release) == vector["release"]
    assert [(s.name, s.offset, s.size_bytes, s.header.count) for s in bundle.sections] == [
        tuple(row) for row in vector["sections"]
    ]


def test_pybloom_live_opens_a_section_at_its_offset() -> None:
    content = small_bundle()
    for section in parse_bundle(content).sections:
        file = io.BytesIO(content)
        file.seek(section.offset)
        bloom = BloomFilter.fromfile(file, section.size_bytes)
        assert len(bloom) == section.header.count
        assert all((key in bloom) is (section.name == "md5") for key in KEYS)


def test_pybloom_live_opens_a_section_of_a_file_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    path.write_bytes(small_bundle())
    section = parse_bundle(path.read_bytes()).sections[0]
    with path.open("rb") as file:
        file.seek(section.offset)
        bloom = BloomFilter.fromfile(file, section.size_bytes)
    assert KEYS[0] in bloom
    assert "absent" not in bloom


def test_sections_are_aligned_for_maps() -> None:
    assert all(section.offset % 64 == 0 for section in parse_bundle(small_bundle()).sections)


def test_the_info_of_a_section_is_what_a_release_says() -> None:
    info = parse_bundle(small_bundle()).sections[0].info
    assert (info.name, info.count, info.capacity, info.error_rate) == ("md5", 2, 20, 0.001)


ROW_0, ROW_1 = 40, 104
SECTION_0 = 192

FAULTS = {
    "another magic": (patched(0, "<B", 0x88), 0),
    "a later version": (patched(8, "<H", 2), 8),
    "no section": (patched(10, "<H", 0), 10),
    "seventeen sections": (patched(10, "<H", 17), 10),
    "reserved in the header": (patched(12, "<I", 1), 12),
    "epoch 0": (patched(16, "<Q", 0), 16),
    "another size": (patched(32, "<Q", 1), 32),
    "an empty name": (patched(ROW_0, "16s", b""), ROW_0),
    "a name that is a path": (patched(ROW_0, "16s", b"../md5"), ROW_0),
    "a name with a hole": (patched(ROW_0, "16s", b"md\x005"), ROW_0),
    "one name twice": (patched(ROW_1, "16s", b"md5"), ROW_1),
    "an unknown kind": (patched(ROW_0 + 16, "<H", 2), ROW_0 + 16),
    "reserved in a row": (patched(ROW_0 + 18, "<H", 1), ROW_0 + 18),
    "an offset into the table": (patched(ROW_0 + 24, "<Q", 0), ROW_0 + 24),
    "an offset beyond the file": (patched(ROW_1 + 24, "<Q", 1 << 62), ROW_1 + 24),
    "a size beyond the file": (patched(ROW_1 + 32, "<Q", 1 << 63), ROW_1 + 32),
    "a size of 0": (patched(ROW_0 + 32, "<Q", 0), ROW_0 + 32),
    "a count that the section denies": (patched(ROW_0 + 40, "<Q", 1), SECTION_0),
    "a capacity that the section denies": (patched(ROW_0 + 48, "<Q", 1), SECTION_0),
    "an error rate that the section denies": (patched(ROW_0 + 56, "<d", 0.1), SECTION_0),
    "an error rate that is no number": (patched(SECTION_0, "<d", float("nan")), SECTION_0),
    "an error rate of 1": (patched(SECTION_0, "<d", 1.0), SECTION_0),
    "no slices": (patched(SECTION_0 + 8, "<Q", 0), SECTION_0 + 8),
    "65 slices": (patched(SECTION_0 + 8, "<Q", 65), SECTION_0 + 8),
    "slices without bits": (patched(SECTION_0 + 16, "<Q", 0), SECTION_0 + 16),
    "slices of 2^63 bits": (patched(SECTION_0 + 16, "<Q", 1 << 63), SECTION_0 + 16),
    "a capacity of 0": (patched(SECTION_0 + 24, "<Q", 0), SECTION_0 + 24),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_refused_with_its_offset(fault: str) -> None:
    content, offset = FAULTS[fault]
    with pytest.raises(FilterFormatError) as caught:
        parse_bundle(content)
    assert caught.value.offset == offset
    assert f"at byte {offset}" in str(caught.value)


def test_every_truncation_and_every_extension_is_refused() -> None:
    content = small_bundle()
    for size in range(len(content)):
        with pytest.raises(FilterFormatError):
            parse_bundle(content[:size])
    with pytest.raises(FilterFormatError):
        parse_bundle(content + b"\0")


def test_a_header_cannot_make_room_behind_the_last_section() -> None:
    content = bytearray(small_bundle() + bytes(64))
    struct.pack_into("<Q", content, 32, len(content))
    with pytest.raises(FilterFormatError, match="after the last section"):
        parse_bundle(content)


def test_table_and_section_cannot_agree_on_more_than_the_file_holds() -> None:
    content = bytearray(small_bundle())
    section = parse_bundle(content).sections[1]
    bits_per_slice = 1001
    struct.pack_into("<Q", content, section.offset + 16, bits_per_slice)
    struct.pack_into("<Q", content, ROW_1 + 32, 40 + -(-section.header.slices * bits_per_slice // 8))
    with pytest.raises(FilterFormatError, match="beyond the file") as caught:
        parse_bundle(content)
    assert caught.value.offset == ROW_1 + 32


def test_bits_between_and_behind_sections_are_refused() -> None:
    content = bytearray(small_bundle())
    first, second = parse_bundle(content).sections
    content[first.offset + first.size_bytes] = 1
    assert first.offset + first.size_bytes < second.offset
    with pytest.raises(FilterFormatError, match="between sections"):
        parse_bundle(content)
    content = bytearray(small_bundle())
    assert first.header.slices * first.header.bits_per_slice % 8
    content[first.offset + first.size_bytes - 1] |= 0x80
    with pytest.raises(FilterFormatError, match="after the last slice"):
        parse_bundle(content)


def test_a_later_version_says_to_update_the_client() -> None:
    with pytest.raises(FilterFormatError) as caught:
        parse_bundle(patched(8, "<H", 2))
    assert "Update iii-client" in caught.value.hint


def test_a_section_that_is_cut_off_is_never_packed() -> None:
    with pytest.raises(FilterFormatError):
        pack_bundle(RELEASE, [("md5", bloom_bytes()[:-1])])
    with pytest.raises(FilterFormatError):
        BloomHeader.parse(b"\0" * 39)
