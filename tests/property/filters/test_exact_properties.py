"""For any keys and any damage: no false negative, and no error but ours."""

import contextlib
import io

from hypothesis import given, settings
from hypothesis import strategies as st
from pybloom_live import BloomFilter

from iii_client.errors import FilterFormatError
from iii_client.filters import ExactSection, pack_bundle, parse_bundle
from iii_client.filters.bundle import BloomHeader
from iii_client.model import ReleaseId

keys = st.lists(st.binary(min_size=16, max_size=32).map(bytes.hex), unique=True, max_size=60)
names = st.from_regex(r"[a-z0-9][a-z0-9-]{0,15}", fullmatch=True)
error_rates = st.sampled_from([0.5, 0.1, 0.01, 1e-3, 1e-4, 1e-6, 1e-9, 1e-12])


def bloom_bytes(listed: list[str], capacity: int, error_rate: float) -> tuple[BloomFilter, bytes]:
    bloom = BloomFilter(capacity, error_rate)
    for key in listed:
        bloom.add(key, skip_check=True)
    content = io.BytesIO()
    bloom.tofile(content)
    return bloom, content.getvalue()


@given(listed=keys, asked=keys, capacity=st.integers(60, 40_000), error_rate=error_rates)
def test_both_readers_agree_with_pybloom_live_and_miss_nothing(
    listed: list[str], asked: list[str], capacity: int, error_rate: float
) -> None:
    bloom, content = bloom_bytes(listed, capacity, error_rate)
    section = ExactSection(content)
    both = listed + asked
    expected = [key in bloom for key in both]
    assert all(expected[: len(listed)])
    assert section.contains_batch(both).tolist() == expected
    assert [key in section for key in both] == expected


@given(
    epoch=st.integers(1, (1 << 64) - 1),
    sequence=st.integers(0, (1 << 64) - 1),
    sections=st.lists(
        st.tuples(names, st.integers(1, 300)), min_size=1, max_size=16, unique_by=lambda s: s[0]
    ),
)
def test_what_is_packed_is_parsed_and_each_section_is_pybloom_lives(
    epoch: int, sequence: int, sections: list[tuple[str, int]]
) -> None:
    release = ReleaseId(epoch=epoch, sequence=sequence)
    made = [(name, bloom_bytes([], capacity, 0.01)[1]) for name, capacity in sections]
    content = pack_bundle(release, made)
    bundle = parse_bundle(content)
    assert bundle.release == release
    assert [
        (section.name, content[section.offset : section.offset + section.size_bytes])
        for section in bundle.sections
    ] == made


BUNDLE = pack_bundle(
    ReleaseId(epoch=1, sequence=0), [(name, bloom_bytes(["00"], 30, 0.001)[1]) for name in ("md5", "pdq")]
)


@settings(max_examples=300)
@given(data=st.data())
def test_damage_is_refused_by_name_or_leaves_a_bundle_that_is_safe_to_read(data: st.DataObject) -> None:
    content = bytearray(BUNDLE)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(FilterFormatError):
        for section in parse_bundle(content).sections:
            view = memoryview(content)[section.offset : section.offset + section.size_bytes]
            ExactSection(view).contains_batch(["00" * 16] * 30)


@given(content=st.binary(max_size=400))
def test_no_bytes_raise_anything_but_our_error(content: bytes) -> None:
    for parse in (parse_bundle, BloomHeader.parse, ExactSection):
        with contextlib.suppress(FilterFormatError):
            parse(content)
