"""The stored form of coefficients keeps every bit and nearly every order, in 261 bytes."""

import itertools
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_client.model import pack_coefficients, unpack_coefficients

COEFFICIENTS = st.lists(st.floats(-8000, 8000), min_size=256, max_size=256)


def lower_median(values: list[float]) -> float:
    return sorted(values)[127]


@given(COEFFICIENTS)
def test_every_bit_survives(values: list[float]) -> None:
    median = lower_median(values)
    packed = pack_coefficients(values, median=median)
    stored = unpack_coefficients(packed)
    assert len(packed) == 261
    assert [value > median for value in values] == [value > lower_median(list(stored)) for value in stored]


@given(COEFFICIENTS)
def test_distances_from_the_median_are_kept_as_promised(values: list[float]) -> None:
    median = lower_median(values)
    stored = unpack_coefficients(pack_coefficients(values, median=median))
    base = lower_median(list(stored))
    for value, kept in zip(values, stored, strict=True):
        distance, stored_distance = abs(value - median), abs(kept - base)
        if distance <= 0.5:
            assert abs(distance - stored_distance) <= 0.05
        else:
            assert abs(distance - stored_distance) <= 0.06 * distance + 0.01


@given(COEFFICIENTS)
def test_the_order_of_distances_is_never_turned_round(values: list[float]) -> None:
    median = lower_median(values)
    stored = unpack_coefficients(pack_coefficients(values, median=median))
    pairs = sorted(zip(values, stored, strict=True))
    assert all(a[1] <= b[1] for a, b in itertools.pairwise(pairs))


def test_golden_bytes() -> None:
    values = [float(i - 127) for i in range(256)]
    packed = pack_coefficients(values, median=0.0)
    assert packed[:5] == b"\x01" + struct.pack("<f", 0.0)
    assert packed[5 + 126 : 5 + 130].hex() == "73808d94"
    assert (packed[5], packed[-1]) == (60, 196)


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\x01" * 260,
        b"\x02" + bytes(260),
        bytes(261),
        b"\x01" * 262,
        b"\x01" + struct.pack("<f", math.nan) + b"\x80" * 256,
        b"\x01" + struct.pack("<f", math.inf) + b"\x80" * 256,
        b"\x01" + bytes(4 + 256),
    ],
    ids=["empty", "short", "version 2", "version 0", "long", "nan", "inf", "unused byte 0"],
)
def test_anything_else_is_refused(bad: bytes) -> None:
    with pytest.raises(ValueError, match=r"coefficient|median"):
        unpack_coefficients(bad)


@pytest.mark.parametrize("values", [[], [0.0] * 255, [0.0] * 257, [math.nan] * 256, [math.inf] + [0.0] * 255])
def test_only_256_finite_values_are_stored(values: list[float]) -> None:
    with pytest.raises(ValueError, match="256"):
        pack_coefficients(values, median=0.0)
