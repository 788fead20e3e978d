"""A section is judged by its bits: over all, by the rate that they give, and slice by slice."""

import io

import pytest
from pybloom_live import BloomFilter

from iii_client.errors import GateError
from iii_client.filters import ExactSection
from iii_client.filters.exact_fill import check_exact_fill, false_positive_rate

CAPACITY = 25_000


def section(keys: int, *, capacity: int = CAPACITY, error_rate: float = 1e-6) -> bytearray:
    bloom = BloomFilter(capacity, error_rate)
    bloom.capacity = keys + 1  # also more than it was sized for
    for number in range(keys):
        bloom.add(f"{number:032x}", skip_check=True)
    bloom.capacity = capacity
    content = io.BytesIO()
    bloom.tofile(content)
    return bytearray(content.getvalue())


def check(content: bytearray, **options: float) -> None:
    check_exact_fill(ExactSection(content), name="md5", **options)


@pytest.mark.parametrize("keys", [0, 1, 3, 50, 5_000, 20_000, CAPACITY])
def test_a_section_as_built_passes_empty_or_full(keys: int) -> None:
    check(section(keys))


def test_a_full_section_has_about_the_declared_rate() -> None:
    assert false_positive_rate(ExactSection(section(CAPACITY))) == pytest.approx(0.95e-6, rel=0.1)
    assert false_positive_rate(ExactSection(section(0))) == 0.0


def test_the_rate_is_the_one_that_absent_keys_meet() -> None:
    """Against a slow reference: 200,000 absent keys."""
    content = section(2_000, capacity=2_000, error_rate=0.01)
    exact = ExactSection(content)
    asked = [f"{number:032x}" for number in range(10_000_000, 10_200_000)]
    measured = sum(exact.contains_many(asked)) / len(asked)
    assert measured == pytest.approx(false_positive_rate(exact), rel=0.15)


def test_a_section_over_its_capacity_has_too_high_a_rate() -> None:
    with pytest.raises(GateError, match=r"false-positive rate of 1\..e-06, 1e-06 is declared"):
        check(section(CAPACITY + 700))


def test_a_section_fuller_than_any_may_be_is_named_with_its_fill() -> None:
    with pytest.raises(GateError, match=r"section md5 is filled to 0\.5[3-9]., at most 0.520"):
        check(section(29_000))


def test_a_publisher_may_ask_for_less_and_not_for_more() -> None:
    with pytest.raises(GateError, match=r"at most 0.300"):
        check(section(20_000), max_fill=0.3)
    with pytest.raises(GateError, match=r"at most 0.520"):
        check(section(29_000), max_fill=0.9)


@pytest.mark.parametrize(
    ("keys", "value"), [(0, 0xFF), (5_000, 0x00), (5_000, 0xFF), (20_000, 0x00), (20_000, 0xFF)]
)
def test_a_region_of_zeros_or_ones_is_seen_though_the_whole_looks_well(keys: int, value: int) -> None:
    content = section(keys)
    start = 40 + 30_000
    content[start : start + 1024] = bytes([value]) * 1024
    with pytest.raises(GateError, match="a slice of section md5"):
        check(content)


def test_a_small_section_whose_words_are_uneven_by_design_is_judged_as_a_whole() -> None:
    check(section(5_000, capacity=5_000, error_rate=0.001))
