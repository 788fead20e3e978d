"""An exact section against pybloom-live itself: same keys, same bits, same answers, no copy."""

import hashlib
import io
import json
import mmap
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from pybloom_live import BloomFilter

from iii_client.errors import FilterFormatError
from iii_client.filters import ExactSection

VECTOR = Path(__file__).parents[2] / "vectors" / "filters" / "pybloom-layout.json"

#: One for each hash function that pybloom-live chooses: xxh128, sha1, sha256, sha384, sha512; 16- and
#: 32-bit words; one and two salts.
SHAPES = {
    "xxh128": (50, 0.1),
    "sha1": (50, 0.001),
    "sha256": (50, 1e-4),
    "sha384": (500, 1e-6),
    "sha512": (25_000, 1e-6),
    "sha512, one salt": (60_000, 1e-4),
}


def hex_keys(prefix: str, count: int) -> list[str]:
    return [hashlib.sha256(f"{prefix} {number}".encode()).hexdigest() for number in range(count)]


def bloom_of(shape: str, keys: list[str]) -> tuple[BloomFilter, bytes]:
    capacity, error_rate = SHAPES[shape]
    bloom = BloomFilter(capacity, error_rate)
    for key in keys:
        bloom.add(key, skip_check=True)
    content = io.BytesIO()
    bloom.tofile(content)
    return bloom, content.getvalue()


@pytest.mark.parametrize("shape", SHAPES)
def test_both_readers_answer_as_pybloom_live_does(shape: str) -> None:
    listed = hex_keys("listed", 50)
    asked = listed + hex_keys("absent", 5000)
    bloom, content = bloom_of(shape, listed)
    section = ExactSection(content)
    expected = [key in bloom for key in asked]
    assert expected[:50] == [True] * 50
    assert [key in section for key in asked] == expected
    assert section.contains_batch(asked).tolist() == expected
    assert section.contains_many(asked) == expected


@pytest.mark.parametrize("shape", SHAPES)
def test_the_vectorised_reader_needs_every_bit_that_pybloom_live_sets(shape: str) -> None:
    key = hex_keys("alone", 1)[0]
    _, content = bloom_of(shape, [key])
    bits = [number for number in range(8 * 40, 8 * len(content)) if content[number // 8] >> number % 8 & 1]
    assert len(bits) == ExactSection(content).header.slices
    for bit in bits:
        cleared = bytearray(content)
        cleared[bit // 8] &= ~(1 << bit % 8)
        section = ExactSection(cleared)
        assert section.contains_batch([key]).tolist() == [False]
        assert key not in section
    assert ExactSection(content).contains_batch([key]).tolist() == [True]


@pytest.mark.parametrize("shape", SHAPES)
def test_pybloom_live_writes_what_it_always_wrote(shape: str) -> None:
    """A change of pybloom-live's hashing would make every published filter answer "absent"."""
    _, content = bloom_of(shape, hex_keys("listed", 50))
    assert hashlib.sha256(content).hexdigest() == json.loads(VECTOR.read_text())[shape]


def test_slices_of_more_than_two_gigabits_take_64_bit_words(tmp_path: Path) -> None:
    bits_per_slice = (1 << 31) + 8
    path = tmp_path / "sparse"
    with path.open("wb") as new:
        new.write(struct.pack("<dQQQQ", 0.25, 2, bits_per_slice, 1, 1))
        new.truncate(40 + 2 * bits_per_slice // 8)
    key, absent = hex_keys("big", 2)
    with path.open("r+b") as both, mmap.mmap(both.fileno(), 0) as writable:
        bloom = BloomFilter(1)
        bloom._setup(0.25, 2, bits_per_slice, 1, 1)
        for number, position in enumerate(bloom.make_hashes(key)):
            bit = number * bits_per_slice + position
            writable[40 + bit // 8] |= 1 << bit % 8
    with path.open("rb") as file:
        section = ExactSection(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
    assert section.contains_batch([key, absent]).tolist() == [True, False]
    assert [key in section, absent in section] == [True, False]


def test_a_key_is_text_in_lower_case() -> None:
    key = hex_keys("listed", 1)[0]
    _, content = bloom_of("sha512", [key])
    section = ExactSection(content)
    assert key in section
    assert key.upper() not in section
    assert section.contains_batch([key.upper()]).tolist() == [False]


def test_batches_of_every_size_are_aligned_with_their_keys() -> None:
    listed = hex_keys("listed", 400)
    _, content = bloom_of("sha512", listed)
    section = ExactSection(content)
    mixed = [key for pair in zip(listed, hex_keys("absent", 400), strict=True) for key in pair]
    for size in (0, 1, 19, 20, 21, 800):
        assert section.contains_many(mixed[:size]) == [number % 2 == 0 for number in range(size)]
    many = mixed * 11
    assert section.contains_many(many) == [number % 2 == 0 for number in range(len(many))]


def test_the_bits_stay_where_they_are() -> None:
    """No copy: a bit that appears in the buffer is seen by both readers."""
    key = hex_keys("late", 1)[0]
    _, with_key = bloom_of("sha512", [key])
    buffer = bytearray(bloom_of("sha512", [])[1])
    section = ExactSection(buffer)
    assert key not in section
    buffer[40:] = with_key[40:]
    assert key in section
    assert section.contains_batch([key]).tolist() == [True]


def test_a_filter_that_is_cut_off_is_refused() -> None:
    _, content = bloom_of("sha512", [])
    with pytest.raises(FilterFormatError, match="cut off"):
        ExactSection(content[:-1])


def test_looking_up_needs_neither_network_nor_signing_libraries() -> None:
    code = "import iii_client.filters, iii_client.updates, sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"tuf", "requests", "securesystemslib", "urllib3"} & set(run.stdout.split())
