"""The vectorised search agrees with counting the bits of one pair after another."""

from hypothesis import given
from hypothesis import strategies as st

from iii_client.model import Algorithm, HashValue, hamming_distance
from iii_client.sandbox.distances import pack, within

HASH = st.binary(min_size=32, max_size=32)


def pdq(value: bytes) -> HashValue:
    return HashValue(algorithm=Algorithm.PDQ, value=value)


@given(st.lists(HASH, max_size=20), HASH, st.integers(0, 256))
def test_it_finds_what_one_by_one_finds(values: list[bytes], asked: bytes, most: int) -> None:
    distances = [hamming_distance(pdq(value), pdq(asked)) for value in values]
    expected = sorted((d, row) for row, d in enumerate(distances) if d <= most)
    assert within(pack(values, width_bits=256), asked, most=most) == [(row, d) for d, row in expected]


@given(HASH, st.sets(st.integers(0, 255), max_size=40))
def test_flipped_bits_are_counted(value: bytes, bits: set[int]) -> None:
    mask = sum(1 << bit for bit in bits)
    flipped = (int.from_bytes(value) ^ mask).to_bytes(32)
    found = within(pack([value], width_bits=256), flipped, most=31)
    assert found == ([(0, len(bits))] if len(bits) <= 31 else [])
