"""Which frames are looked at, what they may cost, and how many a GIF has."""

import io
import struct
import zlib
from itertools import pairwise

import pytest
from PIL import Image

from iii_client.config import Limits
from iii_client.fingerprint.decoding import decode_frames
from iii_client.fingerprint.frames import (
    MAX_SIDE_PX,
    MAX_TIFF_PAGES,
    MIN_FRAME_COST_PX,
    PixelBudget,
    Refused,
    count_gif_frames,
    count_tiff_pages,
    sample_indices,
)
from iii_client.fingerprint.metering import MAX_READS
from iii_client.model import Decoding, Reason


def gif(frames: int, size: tuple[int, int] = (20, 20)) -> bytes:
    pictures = [Image.new("P", size, i % 256) for i in range(frames)]
    for i, picture in enumerate(pictures):
        picture.putpalette([(i * 7) % 256, i % 256, 255 - i % 256] * 256)
        picture.putpixel((i % size[0], i // size[0] % size[1]), (i + 1) % 256)
    out = io.BytesIO()
    pictures[0].save(out, "GIF", save_all=True, append_images=pictures[1:], duration=20, loop=0)
    return out.getvalue()


@pytest.mark.parametrize("count", [1, 2, 9, 10, 11, 12, 37, 500, 100_000])
def test_first_last_and_evenly_spaced_frames_are_sampled(count: int) -> None:
    indices = sample_indices(count, 10)
    assert len(indices) == min(count, 10)
    assert indices[0] == 0
    assert indices[-1] == count - 1
    steps = [b - a for a, b in pairwise(indices)]
    assert not steps or (min(steps) >= 1 and max(steps) - min(steps) <= 1)
    assert sample_indices(count, 1) == (0,)


@pytest.mark.parametrize("count", [1, 2, 11, 60])
def test_gif_frames_are_counted_as_pillow_counts_them(count: int) -> None:
    data = gif(count)
    with Image.open(io.BytesIO(data)) as image:
        assert count_gif_frames(io.BytesIO(data), 1000) == image.n_frames == count  # type: ignore[attr-defined]


def test_counting_stops_above_the_cap_and_at_a_cut() -> None:
    data = gif(60)
    assert count_gif_frames(io.BytesIO(data), 5) == 6
    assert 0 < count_gif_frames(io.BytesIO(data[: len(data) // 2]), 1000) < 60
    assert count_gif_frames(io.BytesIO(data[:10]), 1000) == 0


def test_a_gif_of_endless_empty_blocks_is_refused() -> None:
    stalling = b"GIF89a\1\0\1\0\0\0\0" + b"!\xfe" + b"\x01x" * 2_100_000
    with pytest.raises(Refused) as caught:
        count_gif_frames(io.BytesIO(stalling), 1000)
    assert caught.value.reason is Reason.DECODE_FAILED


@pytest.mark.parametrize("step", [b"\1", b"!\xfe\0", b"!\xfe\1x\0"])
def test_a_gif_of_stray_bytes_or_empty_blocks_is_refused(step: bytes) -> None:
    with pytest.raises(Refused) as caught:
        count_gif_frames(io.BytesIO(b"GIF89a\1\0\1\0\0\0\0" + step * 1_100_000), 1000)
    assert caught.value.reason is Reason.DECODE_FAILED


def tiff(pages: int, *, order: str = "<", big: bool = False, last: int = 0) -> bytes:
    """A chain of pages with one tag each; `last` is the offset behind the last one."""
    offset, count, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
    start = 16 if big else 8
    page = struct.calcsize("<" + count) + entry + struct.calcsize("<" + offset)
    data = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
    data += struct.pack(order + "HHQ", 8, 0, start) if big else struct.pack(order + "I", start)
    for number in range(1, pages + 1):
        behind = start + page * number if number < pages else last
        data += struct.pack(order + count, 1) + bytes(entry) + struct.pack(order + offset, behind)
    return data


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_pages_of_a_tiff_are_counted_whatever_its_byte_order_and_width(order: str, big: bool) -> None:
    start = 16 if big else 8
    for pages in (1, 2, 57, MAX_TIFF_PAGES):
        assert count_tiff_pages(io.BytesIO(tiff(pages, order=order, big=big))) == pages
    assert count_tiff_pages(io.BytesIO(tiff(5, order=order, big=big, last=start))) == 5, "it bites itself"
    beyond = 2**64 - 1 if big else 2**32 - 1
    assert count_tiff_pages(io.BytesIO(tiff(5, order=order, big=big, last=beyond))) == 6
    with pytest.raises(Refused) as caught:
        count_tiff_pages(io.BytesIO(tiff(MAX_TIFF_PAGES + 1, order=order, big=big)))
    assert caught.value.reason is Reason.TOO_MANY_PIXELS


def test_pages_are_counted_as_pillow_counts_them() -> None:
    out = io.BytesIO()
    page = Image.new("L", (8, 8))
    page.save(out, "TIFF", save_all=True, append_images=[page] * 6)
    with Image.open(out) as image:
        assert count_tiff_pages(out) == image.n_frames == 7  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("pillow_format", "at", "step"),
    [
        ("PNG", 33, b"\0\0\0\0abCd" + struct.pack(">I", zlib.crc32(b"abCd"))),
        ("JPEG", 20, b"\xff\xe5\0\2"),
        ("JPEG", 20, b"\0"),
    ],
)
def test_a_decoder_that_must_walk_empty_blocks_is_stopped(pillow_format: str, at: int, step: bytes) -> None:
    out = io.BytesIO()
    Image.new("L", (8, 8)).save(out, pillow_format)
    data = out.getvalue()
    for times, ends in ((100, False), (MAX_READS, True)):
        stream = io.BytesIO(data[:at] + step * times + data[at:])
        frames = decode_frames(
            stream, pillow_format.lower(), decoding=Decoding.EXACT, max_frames=10, limits=Limits()
        )
        if not ends:
            assert next(frames).count == 1
            continue
        with pytest.raises(Refused) as caught:
            next(frames)
        assert caught.value.reason is Reason.DECODE_FAILED


@pytest.mark.parametrize(
    ("width", "height", "fits"), [(10, 10, True), (11, 10, False), (1, MAX_SIDE_PX + 1, False)]
)
def test_a_frame_over_its_limit_is_refused_before_it_is_decoded(width: int, height: int, fits: bool) -> None:
    limits = Limits(max_frame_pixels=100 if fits or height == 10 else 10**9, max_total_pixels=10**9)
    budget = PixelBudget(limits)
    if fits:
        budget.spend(width, height)
        return
    with pytest.raises(Refused) as caught:
        budget.spend(width, height)
    assert caught.value.reason is Reason.TOO_MANY_PIXELS


def test_all_frames_together_have_a_limit_and_small_ones_are_not_free() -> None:
    budget = PixelBudget(Limits(max_total_pixels=3 * MIN_FRAME_COST_PX))
    for _ in range(3):
        budget.spend(1, 1, at_least=MIN_FRAME_COST_PX)
    with pytest.raises(Refused):
        budget.spend(1, 1, at_least=MIN_FRAME_COST_PX)
