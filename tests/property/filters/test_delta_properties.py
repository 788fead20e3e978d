"""Golomb-Rice against a slow reference, one bit after the other; and no damage that is not refused."""

import contextlib
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_client.errors import FilterFormatError
from iii_client.filters.delta import Delta, SectionDelta, decode_delta, encode_delta
from iii_client.filters.rice import best_parameter, decode_positions, encode_positions

SIZE = 200_000
position_sets = st.sets(st.integers(0, SIZE - 1), min_size=1, max_size=60).map(sorted)


def reference_code(positions: list[int], parameter: int) -> bytes:
    """The definition, bit by bit."""
    quotients, remainders, previous = "", "", -1
    for position in positions:
        gap = position - previous - 1
        quotients += "0" * (gap >> parameter) + "1"
        remainders += "".join(str(gap >> bit & 1) for bit in range(parameter))
        previous = position
    return packed(quotients) + packed(remainders)


def packed(bits: str) -> bytes:
    padded = bits + "0" * (-len(bits) % 8)
    return bytes(int(padded[i : i + 8][::-1], 2) for i in range(0, len(padded), 8))


def reference_positions(data: bytes, parameter: int, count: int) -> Iterator[int]:
    """The definition read back, bit by bit."""
    bits = "".join(f"{byte:08b}"[::-1] for byte in data)
    remainders = bits[(len(data) - -(-count * parameter // 8)) * 8 :]
    at, position = 0, -1
    for number in range(count):
        quotient = bits.index("1", at) - at
        at += quotient + 1
        remainder = remainders[number * parameter : (number + 1) * parameter]
        position += (quotient << parameter) + int("0" + remainder[::-1], 2) + 1
        yield position


@given(positions=position_sets, parameter=st.integers(0, 20))
def test_the_code_is_the_reference_and_reads_back(positions: list[int], parameter: int) -> None:
    data = encode_positions(np.array(positions, np.int64), parameter)
    assert data == reference_code(positions, parameter)
    assert list(reference_positions(data, parameter, len(positions))) == positions
    decoded = decode_positions(data, parameter=parameter, count=len(positions), size_bits=SIZE)
    assert decoded.tolist() == positions


@given(positions=position_sets)
def test_the_chosen_parameter_is_the_shortest(positions: list[int]) -> None:
    array = np.array(positions, np.int64)
    sizes = []
    for parameter in range(20):
        gaps = [b - a - 1 for a, b in zip([-1, *positions], positions, strict=False)]
        sizes.append(sum((gap >> parameter) + 1 + parameter for gap in gaps))
    assert best_parameter(array) == sizes.index(min(sizes))


@given(
    data=st.binary(min_size=1, max_size=64),
    parameter=st.integers(0, 40),
    count=st.integers(1, 70),
    size_bits=st.integers(1, 1 << 35),
)
def test_any_bytes_are_refused_or_are_the_only_code_of_what_they_say(
    data: bytes, parameter: int, count: int, size_bits: int
) -> None:
    with contextlib.suppress(FilterFormatError):
        positions = decode_positions(data, parameter=parameter, count=count, size_bits=size_bits)
        assert positions.tolist() == list(reference_positions(data, parameter, count))
        assert all(0 <= p < size_bits for p in positions.tolist())
        assert encode_positions(positions, parameter) == data


sections = st.lists(
    st.tuples(
        st.from_regex(r"[a-z0-9][a-z0-9-]{0,15}", fullmatch=True),
        st.integers(0, (1 << 64) - 1),
        position_sets,
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda row: row[0],
)


def delta_of(rows: list[tuple[str, int, list[int]]]) -> Delta:
    return Delta(
        epoch=1,
        from_sequence=0,
        to_sequence=1,
        sections=tuple(
            SectionDelta(name=name, size_bits=SIZE, count=count, positions=np.array(positions, np.int64))
            for name, count, positions in rows
        ),
    )


@given(rows=sections)
def test_what_is_encoded_is_decoded(rows: list[tuple[str, int, list[int]]]) -> None:
    decoded = decode_delta(encode_delta(delta_of(rows)))
    assert [(s.name, s.count, s.positions.tolist()) for s in decoded.sections] == rows


@given(rows=sections, data=st.data())
def test_a_cut_extended_or_flipped_delta_is_refused_or_says_something_else(
    rows: list[tuple[str, int, list[int]]], data: st.DataObject
) -> None:
    good = encode_delta(delta_of(rows))
    cut = data.draw(st.integers(0, len(good) - 1))
    for wrong in (good[:cut], good + data.draw(st.binary(min_size=1, max_size=9))):
        with pytest.raises(FilterFormatError, match="at byte"):
            decode_delta(wrong)
    flipped = bytearray(good)
    flipped[data.draw(st.integers(0, len(good) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(FilterFormatError):
        other = decode_delta(bytes(flipped))
        # TUF's digest finds these; the reader must only stay within the section.
        assert all(0 <= p < s.size_bits for s in other.sections for p in s.positions.tolist())


@given(data=st.binary(max_size=400))
def test_random_bytes_are_no_delta(data: bytes) -> None:
    for content in (data, b"\x89IIIDLT\n\x01\x00\x01\x00" + data):
        with contextlib.suppress(FilterFormatError):
            decode_delta(content)
