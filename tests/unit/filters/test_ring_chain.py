"""Blocks, keys, parameters and the secrecy inequality."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_client.filters.ring_chain import (
    DEFAULT_PARAMETERS,
    LARGE_PARAMETERS,
    NearParameters,
    block_values,
    check_secrecy,
    deeper_probes,
    hash_bits,
    hash_bytes,
    join_blocks,
    secrecy_margin_bits,
    table_bits,
    tier1_hash,
)


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=5))
def test_blocks_join_to_the_hash_that_was_cut(values: list[bytes]) -> None:
    hashes = np.frombuffer(b"".join(values), np.uint8).reshape(-1, 32)
    bits = hash_bits(hashes)
    assert (hash_bytes(bits) == hashes).all()
    assert (join_blocks(block_values(bits)) == hashes).all()


def test_bit_n_of_a_hash_is_bit_n_of_its_big_endian_number() -> None:
    value = (1 << 0 | 1 << 17 | 1 << 255).to_bytes(32)
    assert np.flatnonzero(hash_bits(np.frombuffer(value, np.uint8)[None])[0]).tolist() == [0, 17, 255]


@given(st.integers(0, 7), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_tier1_hash_is_linear_under_xor(block: int, value: int, mask: int) -> None:
    flipped, plain, masked, nothing = tier1_hash(
        block, np.array([value ^ mask, value, mask, 0], np.uint32)
    ).tolist()
    assert flipped == plain ^ masked ^ nothing


@pytest.mark.parametrize(
    "wrong",
    [
        {"probes": 4097},
        {"probes": 0},
        {"extension_probes": 65_537},
        {"extension_probes": 2047},
        {"tier1_bits": 0},
        {"tier2_bits": 0},
        {"tier2_bits": 16},
        {"minimum_chain": 3},
        {"minimum_chain": 9},
        {"minimum_chain": 6},
        {"minimum_chain_oriented": 3},
        {"flips_per_block": 0},
        {"flips_per_block": 33},
    ],
)
def test_parameters_over_a_cap_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        NearParameters(**wrong)


def test_secrecy_margin_is_the_specifications_formula() -> None:
    count = 1_400_000
    left = 8 * (32 - 22) + 8 * math.log2(1 + count * 2.0 ** (9 - 32)) - 6
    margin = secrecy_margin_bits(count=count, tier1_bits=9, key_bits=22)
    assert margin == pytest.approx(left - math.log2(count))
    assert 54 < margin < 56


@pytest.mark.parametrize("count", [1, 10_000, 1_400_000, 41_000_000])
def test_default_layout_is_secret_at_every_size(count: int) -> None:
    check_secrecy(DEFAULT_PARAMETERS, count=count)


def test_large_layout_needs_many_hashes_to_hide_among() -> None:
    check_secrecy(LARGE_PARAMETERS, count=10_000_000)
    with pytest.raises(ValueError, match="bits of secrecy"):
        check_secrecy(LARGE_PARAMETERS, count=1_400_000)


def test_second_table_of_the_same_hashes_is_refused() -> None:
    with pytest.raises(ValueError, match="would disclose"):
        check_secrecy(DEFAULT_PARAMETERS, count=1_400_000, other_key_bits=22)


@pytest.mark.parametrize(("bits", "bytes_a_hash"), [(22, 32.0), (24, 35.0)])
def test_table_sizes_keep_the_promise_of_bytes_a_hash(bits: int, bytes_a_hash: float) -> None:
    assert table_bits(8 * 10_000_000, bits) / 8 / 10_000_000 < bytes_a_hash


def test_table_size_is_a_multiple_of_64_and_at_least_k_over_ln_2() -> None:
    for keys in (8, 1000, 123_457):
        size = table_bits(keys, 9)
        assert size % 64 == 0
        assert 0 <= size - keys * 9 / math.log(2) <= 64


@pytest.mark.parametrize(
    ("parameters", "count", "probes"),
    [
        (NearParameters(), 10_000, 65_536),
        (NearParameters(), 1_400_000, 65_536),
        (LARGE_PARAMETERS, 10_000_000, 32_768),
        (LARGE_PARAMETERS, 25_000_000, 16_384),
        (NearParameters(extension_probes=40_000), 1_400_000, 40_000),
        (NearParameters(tier1_bits=2), 100, 16_384),
    ],
)
def test_a_candidate_is_looked_at_as_deep_as_the_survivors_stay_under_their_cap(
    parameters: NearParameters, count: int, probes: int
) -> None:
    """A deeper look is a bonus: where it would overflow it is not taken."""
    assert deeper_probes(parameters, count=count) == probes
