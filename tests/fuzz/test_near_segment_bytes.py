"""Random, truncated and bit-flipped segments are refused or harmless: never a crash, never a hang."""

from contextlib import suppress

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from iii_client.errors import FilterFormatError
from iii_client.filters.near_segment import HEADER_BYTES, NearHeader, NearSegment
from iii_client.filters.probing import NearFilter
from iii_client.filters.ring_chain import NearParameters
from iii_client.filters.views import NearQueries
from iii_client.model import Algorithm

RNG = np.random.default_rng(8)
QUERIES = NearQueries.upright(RNG.integers(0, 2, (2, 256), np.uint8), RNG.random((2, 256)))


def small_segment(parameters: NearParameters) -> bytes:
    header = NearHeader(
        number=1,
        algorithm=Algorithm.PDQ,
        count=30,
        tier1_keys=240,
        tier2_keys=240,
        parameters=parameters,
        practice=True,
    )
    return header.to_bytes() + RNG.bytes(header.size_bytes - HEADER_BYTES)


def open_and_ask(raw: bytes) -> None:
    with suppress(FilterFormatError):
        assert len(NearFilter([NearSegment.over(raw)]).probe(QUERIES)) == len(QUERIES)


@given(st.binary(max_size=400))
def test_random_bytes_are_no_segment(raw: bytes) -> None:
    open_and_ask(raw)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_changed_headers_are_refused_or_harmless(data: st.DataObject) -> None:
    raw = bytearray(small_segment(NearParameters()))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, HEADER_BYTES - 1))] ^= 1 << data.draw(st.integers(0, 7))
    open_and_ask(bytes(raw[: data.draw(st.integers(len(raw) - 200, len(raw)))]))


@settings(max_examples=60, deadline=None)
@given(
    tier1_bits=st.integers(1, 9),
    tier2_bits=st.integers(1, 13),
    probes=st.integers(1, 4096),
    ones=st.sampled_from((0, 1, 2, 3)),
)
def test_hostile_tables_end_in_an_answer(tier1_bits: int, tier2_bits: int, probes: int, ones: int) -> None:
    parameters = NearParameters(tier1_bits=tier1_bits, tier2_bits=tier2_bits, probes=probes)
    raw = np.frombuffer(small_segment(parameters), np.uint8).copy()
    for _ in range(ones):  # each round sets half of what is left: fills of .5, .75, .875, .94
        raw[HEADER_BYTES:] |= RNG.integers(0, 256, len(raw) - HEADER_BYTES, np.uint8)
    open_and_ask(raw.tobytes())
