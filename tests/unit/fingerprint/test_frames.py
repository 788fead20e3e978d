"""Which frames are looked at, what they may cost, and how many a GIF has."""

import io
from itertools import pairwise

import pytest
from PIL import Image

from iii_client.config import Limits
from iii_client.fingerprint.frames import (
    MAX_SIDE_PX,
    MIN_FRAME_COST_PX,
    PixelBudget,
    Refused,
    count_gif_frames,
    sample_indices,
)
from iii_client.model import Reason


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
