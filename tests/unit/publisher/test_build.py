"""Bundles from lists: deterministic, deduplicated, sized with room, and always with the test picture."""

import hashlib
import io
import random

import pytest
from pybloom_live import BloomFilter

from iii_client.filters import ExactSection, pack_bundle, parse_bundle
from iii_client.model import Algorithm, HashValue, ReleaseId
from iii_client.publisher import ListEntry, build
from iii_client.test_picture import TEST_LIST_NAME
from iii_client.test_picture import listed_picture_bytes as picture_bytes

RELEASE = ReleaseId(epoch=1, sequence=0)


def listed(
    count: int, *, algorithm: Algorithm = Algorithm.SHA256, list_name: str = "list", quality: int = 100
) -> list[ListEntry]:
    width = algorithm.width_bits // 8
    return [
        ListEntry(
            hash=HashValue(algorithm=algorithm, value=hashlib.sha512(b"%d" % n).digest()[:width]),
            quality=quality,
            list_name=list_name,
            source="body",
        )
        for n in range(count)
    ]


def test_order_and_repetition_do_not_change_a_byte() -> None:
    entries = listed(200) + listed(100, algorithm=Algorithm.PDQ, quality=49)
    shuffled = entries + listed(150, list_name="another list")
    random.Random(1).shuffle(shuffled)
    assert build.build_bundle(entries, release=RELEASE) == build.build_bundle(shuffled, release=RELEASE)


def test_one_more_hash_changes_the_bytes() -> None:
    one, two = (build.build_bundle(listed(n), release=RELEASE) for n in (1, 2))
    assert one != two


def test_every_entry_is_found_and_counted_once() -> None:
    entries = listed(300) + listed(300)
    content = build.build_bundle(entries, release=RELEASE)
    section = next(s for s in parse_bundle(content).sections if s.name == "sha256")
    exact = ExactSection(memoryview(content)[section.offset :][: section.size_bytes])
    assert section.header.count == 301  # and the test picture's
    assert all(exact.contains_many([entry.hash.hex for entry in entries]))


@pytest.mark.parametrize("algorithm", [Algorithm.MD5, Algorithm.SHA256, Algorithm.PHASH], ids=str)
@pytest.mark.parametrize("count", [0, 1, 5_000])
def test_a_section_is_byte_for_byte_what_pybloom_live_makes(algorithm: Algorithm, count: int) -> None:
    entries = listed(count, algorithm=algorithm)
    reference = BloomFilter(build.MIN_CAPACITY, build.ERROR_RATE)
    for one in [*entries, *(e for e in build.test_picture_entries() if e.hash.algorithm is algorithm)]:
        reference.add(one.hash.hex, skip_check=True)
    written = io.BytesIO()
    reference.tofile(written)
    sections = dict(build.build_sections(entries))
    if reference.count:
        assert sections[algorithm] == written.getvalue()


def test_a_section_has_a_quarter_of_room_and_never_less_than_the_minimum() -> None:
    small, large = (
        parse_bundle(build.build_bundle(listed(n), release=RELEASE)).sections[-1].header for n in (5, 24_000)
    )
    assert (small.capacity, small.error_rate) == (build.MIN_CAPACITY, 1e-6)
    assert large.capacity == 24_001 * 5 // 4 + 1
    # pybloom-live takes 32-bit words from here on, in every section that is published.
    assert small.bits_per_slice >= 1 << 15


def test_the_test_picture_is_in_every_bundle_under_its_own_category() -> None:
    entries = build.test_picture_entries()
    assert {entry.hash.algorithm for entry in entries} == {
        Algorithm.MD5,
        Algorithm.SHA1,
        Algorithm.SHA256,
        Algorithm.PDQ,
    }
    assert hashlib.sha256(picture_bytes()).digest() in [entry.hash.value for entry in entries]
    assert all(entry.list_name == TEST_LIST_NAME for entry in entries)
    assert all(category.is_test for entry in entries for category in entry.categories)
    sections = dict(build.build_sections([]))
    for entry in entries:
        if entry.hash.algorithm.is_digest:
            assert entry.hash.hex in BloomFilter.fromfile(io.BytesIO(sections[entry.hash.algorithm]))
    assert "pdq" not in sections, "its PDQ hash is one for near segments"


def test_sections_stand_in_the_order_of_their_names() -> None:
    entries = listed(1, algorithm=Algorithm.PHASH)
    entries += listed(1, algorithm=Algorithm.PDQ_512, quality=49)
    entries += listed(1, algorithm=Algorithm.PDQ, quality=49, list_name="another list")
    names = [name for name, _ in build.build_sections(entries)]
    assert names == ["md5", "pdq", "pdq-512", "phash", "sha1", "sha256"]
    assert pack_bundle(RELEASE, build.build_sections(entries)) == build.build_bundle(entries, release=RELEASE)
