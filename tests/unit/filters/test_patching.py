"""Deltas on bundles: what is added is found, nothing is ever lost, and the result is what was built."""

import io
import itertools

import numpy as np
import pytest
from pybloom_live import BloomFilter

from iii_client.errors import FilterFormatError
from iii_client.filters import ExactSection, pack_bundle, parse_bundle
from iii_client.filters.delta import Delta, SectionDelta, decode_delta, encode_delta
from iii_client.filters.patching import apply_deltas, delta_between, lost_bits
from iii_client.model import ReleaseId

CAPACITY = 25_000


def bundle(sequence: int, /, *, epoch: int = 3, capacity: int = CAPACITY, **keys: int) -> bytes:
    """A bundle of so many keys in each section."""
    sections = []
    for name, count in keys.items():
        bloom = BloomFilter(capacity, 1e-6)
        for number in range(count):
            bloom.add(f"{number:032x}")
        content = io.BytesIO()
        bloom.tofile(content)
        sections.append((name, content.getvalue()))
    return pack_bundle(ReleaseId(epoch=epoch, sequence=sequence), sections)


def applied(content: bytes, *deltas: Delta) -> bytes:
    return b"".join(apply_deltas(content, deltas))


OLD = bundle(4, md5=100, sha1=7)
NEW = bundle(5, md5=115, sha1=7)


def test_a_delta_makes_the_old_bundle_the_new_one_byte_for_byte() -> None:
    delta = decode_delta(encode_delta(delta_between(OLD, NEW)))
    assert [section.name for section in delta.sections] == ["md5"]
    made = applied(OLD, delta)
    assert made == NEW
    row = parse_bundle(made).sections[0]
    section = ExactSection(memoryview(made)[row.offset :])
    assert section.header.count == 115
    assert all(f"{number:032x}" in section for number in range(115))


def test_a_delta_may_change_several_sections() -> None:
    later = bundle(9, md5=101, sha1=9)
    assert applied(OLD, delta_between(OLD, later)) == later


def test_deltas_one_after_the_other_give_the_last_bundle() -> None:
    steps = [OLD, NEW, bundle(6, md5=116, sha1=30), bundle(9, md5=116, sha1=31)]
    deltas = [delta_between(old, new) for old, new in itertools.pairwise(steps)]
    assert applied(OLD, *deltas) == steps[-1]
    assert applied(OLD) == OLD


def test_a_bundle_larger_than_a_piece_is_patched_in_all_of_them() -> None:
    sizes = {"capacity": 1_500_000}
    old, new = bundle(0, **sizes, md5=5), bundle(1, **sizes, md5=55)
    assert len(old) > 5 << 20
    assert applied(old, delta_between(old, new)) == new


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (bundle(5, md5=99, sha1=7), "set no more"),
        (bundle(4, md5=115, sha1=7), "no delta leads from release 3.4 to 3.4"),
        (bundle(3, md5=115, sha1=7), "no delta leads"),
        (bundle(5, epoch=4, md5=115, sha1=7), "no delta leads"),
        (bundle(5, md5=115), "other layouts"),
        (bundle(5, md5=115, sha256=7), "other layouts"),
        (bundle(5, capacity=25_001, md5=115, sha1=7), "other layouts"),
    ],
)
def test_what_only_a_base_may_do_is_no_delta(other: bytes, words: str) -> None:
    with pytest.raises(FilterFormatError, match=words):
        delta_between(OLD, other)


def one(**changes: object) -> Delta:
    header = parse_bundle(OLD).sections[0].header
    size_bits = header.slices * header.bits_per_slice
    fields: dict[str, object] = {"name": "md5", "size_bits": size_bits, "count": 101}
    fields["positions"] = np.array([5], np.int64)
    release: dict[str, object] = {"epoch": 3, "from_sequence": 4, "to_sequence": 5}
    for key, value in changes.items():
        (fields if key in fields else release)[key] = value
    return Delta(sections=(SectionDelta(**fields),), **release)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("delta", "words"),
    [
        (one(epoch=2), "for release 2.4"),
        (one(from_sequence=3), "for release 3.3"),
        (one(name="sha256"), "has not"),
        (one(size_bits=1_000_000), "1000000 bits"),
        (one(count=100), "to 100 keys"),
        (one(count=25_001), "room for 25000"),
    ],
)
def test_a_delta_for_another_release_is_refused(delta: Delta, words: str) -> None:
    with pytest.raises(FilterFormatError, match=words):
        applied(OLD, delta)


def test_a_bit_that_is_set_already_is_refused() -> None:
    again = one(from_sequence=5, to_sequence=6, count=102)
    with pytest.raises(FilterFormatError, match="two deltas set one bit"):
        applied(OLD, one(), again)
    with pytest.raises(FilterFormatError, match="1 bits that a delta sets are set already"):
        applied(applied(OLD, one()), again)


def test_lost_bits_are_counted_whatever_the_release() -> None:
    assert lost_bits(OLD, NEW) == 0
    gone = lost_bits(NEW, OLD)
    (change,) = delta_between(OLD, NEW).sections
    assert gone == len(change.positions)
    with pytest.raises(FilterFormatError, match="other layouts"):
        lost_bits(OLD, bundle(5, md5=1))
