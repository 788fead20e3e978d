"""The segment file: read back as written, anything else refused, and never an oversized reader."""

import struct
from pathlib import Path

import numpy as np
import pytest

from iii_client.errors import FilterFormatError, GateError
from iii_client.filters.near_fill import check_fill
from iii_client.filters.near_segment import HEADER_BYTES, NearHeader, NearSegment
from iii_client.filters.probing import NearFilter
from iii_client.filters.ring_chain import DEFAULT_PARAMETERS, LARGE_PARAMETERS, NearParameters
from iii_client.filters.views import NearQueries
from iii_client.model import Algorithm

COUNT = 10_000
GOLDEN_HEADER = (
    "4949494e454152000100000003000000102700000000000080380100000000008038010000000000"
    "090d040505000000000a000000400000706471"
) + "00" * 69


def header(
    *,
    number: int = 1,
    algorithm: Algorithm = Algorithm.PDQ,
    count: int = COUNT,
    keys: int | None = None,
    parameters: NearParameters = DEFAULT_PARAMETERS,
    practice: bool = False,
) -> NearHeader:
    keys = 8 * count if keys is None else keys
    return NearHeader(
        number=number,
        algorithm=algorithm,
        count=count,
        tier1_keys=keys,
        tier2_keys=keys,
        parameters=parameters,
        practice=practice,
    )


def segment(head: NearHeader, *, ones: float = 0.5, seed: int = 1) -> NearSegment:
    """A segment whose tables are random bits, of which a share is set."""
    rng = np.random.default_rng(seed)
    bits = rng.random(8 * (head.size_bytes - HEADER_BYTES)) < ones
    return NearSegment.over(head.to_bytes() + np.packbits(bits).tobytes())


def patched(raw: bytes, offset: int, form: str, value: int) -> bytes:
    changed = bytearray(raw)
    struct.pack_into(form, changed, offset, value)
    return bytes(changed)


@pytest.mark.parametrize("parameters", [DEFAULT_PARAMETERS, LARGE_PARAMETERS])
@pytest.mark.parametrize("algorithm", [Algorithm.PDQ, Algorithm.PDQ_512])
def test_header_is_read_as_written(parameters: NearParameters, algorithm: Algorithm) -> None:
    head = header(number=7, algorithm=algorithm, parameters=parameters)
    assert len(head.to_bytes()) == HEADER_BYTES
    assert NearHeader.from_bytes(head.to_bytes()) == head


def test_golden_header() -> None:
    assert header(number=3).to_bytes().hex() == GOLDEN_HEADER


@pytest.mark.parametrize(
    ("offset", "form", "value", "why"),
    [
        (0, "<B", 0, "not a near segment"),
        (8, "<H", 2, "version 2"),
        (10, "<H", 2, "must be zero"),
        (12, "<I", 0, "number"),
        (16, "<Q", 9_999, "too small"),
        (16, "<Q", 2**63, "keys"),
        (24, "<Q", 7, "keys"),
        (24, "<Q", 8 * COUNT + 1, "keys"),
        (32, "<Q", 2**64 - 1, "keys"),
        (40, "<B", 0, "tier1_bits"),
        (41, "<B", 16, "tier2_bits"),
        (42, "<B", 3, "minimum_chain"),
        (43, "<B", 2, "minimum_chain_oriented"),
        (44, "<B", 0, "flips_per_block"),
        (45, "<B", 1, "must be zero"),
        (48, "<I", 4097, "probes"),
        (52, "<I", 65_537, "extension_probes"),
        (56, "<B", ord("x"), "refused"),
        (56, "<B", 0xFF, "refused"),
        (60, "<B", 1, "refused"),
        (72, "<B", 1, "must be zero"),
        (127, "<B", 1, "must be zero"),
    ],
)
def test_wrong_header_is_refused(offset: int, form: str, value: int, why: str) -> None:
    with pytest.raises(FilterFormatError, match=why):
        NearHeader.from_bytes(patched(header().to_bytes(), offset, form, value))


def test_table_over_the_cap_is_refused() -> None:
    assert header(count=28_000_000).tier2_bits < 2**32
    with pytest.raises(ValueError, match="over the cap"):
        header(count=29_000_000)


def test_layout_that_breaks_secrecy_is_refused_by_the_reader() -> None:
    header(count=10_000_000, parameters=LARGE_PARAMETERS)
    with pytest.raises(ValueError, match="bits of secrecy"):
        header(count=1_400_000, parameters=LARGE_PARAMETERS)


def test_small_segment_is_read_only_when_flagged_practice() -> None:
    assert NearHeader.from_bytes(header(count=1, practice=True).to_bytes()).practice
    with pytest.raises(ValueError, match="too small"):
        header(count=9_999)


@pytest.mark.parametrize("algorithm", [Algorithm.PHASH, Algorithm.SHA256])
def test_only_pdq_has_near_segments(algorithm: Algorithm) -> None:
    with pytest.raises(ValueError, match="no near segments"):
        header(algorithm=algorithm)


def test_segment_of_another_length_is_refused(tmp_path: Path) -> None:
    raw = segment_bytes()
    for wrong in (raw[:-1], raw + b"\0", raw[:HEADER_BYTES], raw[: HEADER_BYTES - 1], b""):
        (tmp_path / "wrong").write_bytes(wrong)
        with pytest.raises(FilterFormatError):
            NearSegment.open(tmp_path / "wrong")
        with pytest.raises(FilterFormatError):
            NearSegment.over(wrong)


def test_opened_segment_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "1.near").write_bytes(segment_bytes())
    opened = NearSegment.open(tmp_path / "1.near")
    assert not opened.tier1.bits.flags.writeable
    assert not opened.tier2.bits.flags.writeable


def test_replaced_file_leaves_an_opened_segment_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "1.near"
    path.write_bytes(segment_bytes())
    opened = NearSegment.open(path)
    before = opened.tier2.bits.tobytes()
    (tmp_path / "new").write_bytes(b"something else")
    (tmp_path / "new").replace(path)
    assert opened.tier2.bits.tobytes() == before


def test_half_full_tables_pass_the_fill_gate() -> None:
    check_fill(segment(header()))


@pytest.mark.parametrize("ones", [0.48, 0.52])
def test_tables_not_half_full_fail_the_fill_gate(ones: float) -> None:
    with pytest.raises(GateError, match="filled to"):
        check_fill(segment(header(), ones=ones))


def test_one_saturated_region_fails_the_fill_gate() -> None:
    raw = bytearray(segment_bytes())
    middle = len(raw) // 2
    raw[middle : middle + 600] = b"\xff" * 600
    raw[middle + 600 : middle + 1200] = b"\0" * 600  # the whole stays half full
    with pytest.raises(GateError, match="slice"):
        check_fill(NearSegment.over(bytes(raw)))


def test_segments_that_do_not_belong_together_are_refused() -> None:
    first = segment(header())
    deeper = NearParameters(probes=1024)
    for other in (
        header(),  # the same number: two builds of one segment
        header(number=2, algorithm=Algorithm.PDQ_512),
        header(number=2, parameters=deeper),
    ):
        with pytest.raises(FilterFormatError):
            NearFilter([first, segment(other)])
    with pytest.raises(FilterFormatError):
        NearFilter([])
    many = [segment(header(number=i + 1, count=10, practice=True)) for i in range(17)]
    assert len(NearFilter(many[:16]).segments) == 16
    with pytest.raises(FilterFormatError, match="17"):
        NearFilter(many)


def test_segment_with_every_bit_set_overflows_instead_of_working_on() -> None:
    flood = segment(header(), ones=1.1)
    rng = np.random.default_rng(2)
    asked = NearQueries.upright(rng.integers(0, 2, (20, 256), np.uint8), rng.random((20, 256)))
    for result in NearFilter([flood]).probe(asked):
        assert [str(overflow) for overflow in result.overflows] == ["survivors"]
        assert result.candidates == ()


def segment_bytes() -> bytes:
    head = header()
    return head.to_bytes() + np.random.default_rng(1).bytes(head.size_bytes - HEADER_BYTES)
