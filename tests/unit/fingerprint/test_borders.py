"""Plain borders: found where there are some, trimmed to the picture, and hashed as the picture is."""

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from iii_client.config import Limits
from iii_client.content import Content
from iii_client.fingerprint import RECIPES, build_fingerprint, pdq
from iii_client.fingerprint.borders import (
    LEAST_LEFT_PX,
    LEAST_LEFT_RATIO,
    SHADE_TOLERANCE_LEVELS,
    Border,
    find_border,
)
from iii_client.fingerprint.geometry import Geometry, upright
from iii_client.model import Algorithm, Fingerprint, PerceptualHash, Reason

Pixels = NDArray[np.uint8]
FAST, EXACT = RECIPES["fast"], RECIPES["exact"]
NOISE = np.random.default_rng(4).integers(0, 256, (300, 400), np.uint8)


def framed(picture: Pixels, *, top: int, bottom: int, left: int, right: int, shade: int = 255) -> Pixels:
    return np.pad(picture, ((top, bottom), (left, right)), constant_values=shade)


def fingerprint(image: Image.Image, recipe: str = "fast", **options: object) -> Fingerprint:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=80, **options)
    return build_fingerprint(Content.from_bytes(out.getvalue()), recipe=RECIPES[recipe], limits=Limits())


def of(fingerprint: Fingerprint, algorithm: Algorithm = Algorithm.PDQ, *, trimmed: bool) -> PerceptualHash:
    (value,) = [p for p in fingerprint.perceptual if p.algorithm is algorithm and p.trimmed is trimmed]
    return value


def distance(a: PerceptualHash, b: PerceptualHash) -> int:
    return (int.from_bytes(a.value) ^ int.from_bytes(b.value)).bit_count()


def letterboxed(photo: Image.Image) -> Image.Image:
    return ImageOps.expand(photo, (0, photo.height // 4), "black")


# --- where a border is ----------------------------------------------------------------------------------


@given(
    st.tuples(*[st.integers(0, 120)] * 4).filter(lambda sides: sum(sides) > 8),
    st.sampled_from([0, 1, 77, 128, 254, 255]),
)
def test_a_border_is_found_to_the_pixel(sides: tuple[int, int, int, int], shade: int) -> None:
    top, bottom, left, right = sides
    border = find_border(framed(NOISE, top=top, bottom=bottom, left=left, right=right, shade=shade))
    assert border == Border(top=top, bottom=top + 300, left=left, right=left + 400)


@pytest.mark.parametrize("shades", [(0, 255), (255, 0), (10, 200)])
def test_bars_may_have_different_shades(shades: tuple[int, int]) -> None:
    picture = framed(NOISE, top=40, bottom=0, left=0, right=0, shade=shades[0])
    picture = framed(picture, top=0, bottom=60, left=0, right=0, shade=shades[1])
    assert find_border(picture) == Border(top=40, bottom=340, left=0, right=400)


def test_a_side_where_the_picture_goes_on_in_the_shade_of_its_frame_is_as_wide_as_the_opposite_one() -> None:
    bright_above = NOISE.copy()
    bright_above[:40] = np.linspace(255, 200, 40)[:, None]
    picture = framed(bright_above, top=30, bottom=30, left=30, right=30)
    assert find_border(picture) == Border(top=30, bottom=330, left=30, right=430)


def test_the_noise_of_jpeg_and_a_few_specks_do_not_hide_a_border() -> None:
    picture = framed(NOISE, top=50, bottom=50, left=50, right=50, shade=200)
    rng = np.random.default_rng(5)
    noise = rng.integers(-SHADE_TOLERANCE_LEVELS // 2, SHADE_TOLERANCE_LEVELS // 2, picture.shape)
    noisy = np.clip(picture + noise, 0, 255).astype(np.uint8)
    noisy[10, 5:10] = 0
    assert find_border(noisy) == Border(top=50, bottom=350, left=50, right=450)


def test_no_photograph_of_scikit_image_has_a_border_by_chance(photos: list[Image.Image]) -> None:
    found = [find_border(np.asarray(photo.convert("L"))) for photo in photos]
    assert sum(border is not None for border in found) <= 1


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((200, 300), np.uint8),
        np.linspace(0, 255, 400).astype(np.uint8)[None].repeat(300, axis=0),  # fades: nothing ends
        np.linspace(0, 255, 300).astype(np.uint8)[:, None].repeat(400, axis=1),
        NOISE,
        NOISE[:1, :1],
        NOISE[:1],
        NOISE[:, :1],
    ],
    ids=["flat", "ramp across", "ramp down", "noise", "1x1", "one row", "one column"],
)
def test_what_has_no_border_is_left_alone(picture: Pixels) -> None:
    assert find_border(picture) is None


def test_a_caption_is_no_border() -> None:
    picture = framed(NOISE, top=60, bottom=0, left=0, right=0)
    picture[10:50:2, 100:300] = 0  # a line of text across half of the bar
    border = find_border(picture)
    assert border is None or border.top <= 10


def test_something_small_on_a_plain_ground_is_not_trimmed() -> None:
    """Every logo on white would be looked up twice, and a stamp of pixels says nothing of a picture."""
    side = int(400 * (1 - LEAST_LEFT_RATIO) / LEAST_LEFT_RATIO / 2)
    assert find_border(framed(NOISE, top=0, bottom=0, left=side - 5, right=side - 5)) is not None
    assert find_border(framed(NOISE, top=0, bottom=0, left=side + 5, right=side + 5)) is None
    small = NOISE[: LEAST_LEFT_PX - 1, : LEAST_LEFT_PX + 20]
    assert find_border(framed(small, top=20, bottom=20, left=20, right=20)) is None


def test_a_line_or_two_are_not_worth_a_second_look() -> None:
    assert find_border(framed(NOISE, top=1, bottom=1, left=1, right=1)) is None


# --- the hash of what is left ---------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_trimmed_picture_hashes_like_one_that_never_had_a_border(
    hills: Callable[[int, int], Pixels], reduction: int, orientation: int
) -> None:
    """In every orientation and at every scale: the pixels of a border are counted at full size."""
    width, height = 403, 310  # neither is a multiple of any reduction, so one line at an end is partial
    reduced = hills(-(-width // reduction), -(-height // reduction))
    full = reduced.repeat(reduction, axis=0).repeat(reduction, axis=1)[:height, :width]
    pixels, plain = upright(reduced, orientation), upright(full, orientation)
    geometry = Geometry.of_decoded(width, height, reduction=reduction, orientation=orientation)
    rows, columns = pixels.shape[:2]
    for border in (
        Border(top=0, bottom=rows - 3, left=2, right=columns),
        Border(top=3, bottom=rows, left=0, right=columns - 2),
    ):
        kept = geometry.trimmed(border)

        def at_full_size(axis_start: int, missing: int) -> int:
            return max(axis_start * reduction - missing, 0)

        first = (
            at_full_size(border.top, geometry.rows.missing),
            at_full_size(border.left, geometry.columns.missing),
        )
        expected = pdq(
            plain[first[0] : first[0] + kept.rows.length, first[1] : first[1] + kept.columns.length]
        )
        found = pdq(border.trim(pixels), kept)
        for algorithm in (Algorithm.PDQ, Algorithm.PDQ_512):
            assert np.allclose(
                found[algorithm].coefficients, expected[algorithm].coefficients, rtol=1e-4, atol=0.02
            )


@pytest.mark.parametrize("recipe", ["fast", "exact"])
def test_a_photograph_in_a_letterbox_has_the_hash_of_the_photograph_beside_its_own(
    photos: list[Image.Image], recipe: str
) -> None:
    whole, trimmed = [], []
    for photo in photos[:8]:
        for algorithm in (Algorithm.PDQ, Algorithm.PDQ_512):
            plain, boxed = fingerprint(photo, recipe), fingerprint(letterboxed(photo), recipe)
            assert not any(p.trimmed for p in plain.perceptual)
            whole.append(distance(of(plain, algorithm, trimmed=False), of(boxed, algorithm, trimmed=False)))
            trimmed.append(distance(of(plain, algorithm, trimmed=False), of(boxed, algorithm, trimmed=True)))
    assert min(whole) > 40
    assert max(trimmed) <= 31
    assert np.median(trimmed) <= 6


def test_a_large_photograph_is_trimmed_where_the_decoder_reduced_it(photos: list[Image.Image]) -> None:
    photo = photos[0].resize((1700, 1300))
    plain, boxed = fingerprint(photo), fingerprint(letterboxed(photo))
    assert boxed.frames[0].reduction > 1
    assert distance(of(plain, trimmed=False), of(boxed, trimmed=True)) <= 16


def test_a_border_does_not_hide_a_picture_below_the_gates(photos: list[Image.Image]) -> None:
    """Much of a plain shade lowers the quality of the whole; what is inside is still looked for."""
    photo = photos[0].resize((300, 220))
    canvas = Image.new("RGB", (620, 640), "white")
    canvas.paste(photo, (150, 200))
    result = fingerprint(canvas)
    assert of(result, trimmed=True).gates == ()
    assert distance(of(fingerprint(photo), trimmed=False), of(result, trimmed=True)) <= 31


def test_a_plain_picture_in_a_border_has_no_trimmed_hash() -> None:
    """Gated hashes are for exact membership, and no list holds the hash of what is inside a border."""
    inside = Image.new("RGB", (300, 300), "black")
    inside.paste((250, 250, 250), (0, 150, 300, 300))
    result = fingerprint(ImageOps.expand(inside, 40, "red"))
    assert Reason.LOW_MARGIN in pdq(np.asarray(inside))[Algorithm.PDQ].gates
    assert not any(p.trimmed for p in result.perceptual)


@pytest.mark.parametrize("name", ["fast", "exact"])
def test_version_1_is_version_2_without_the_trimmed_hashes(photos: list[Image.Image], name: str) -> None:
    boxed = letterboxed(photos[1])
    first, second = fingerprint(boxed, f"{name}-v1"), fingerprint(boxed, name)
    assert (first.recipe, second.recipe) == (f"{name}-v1", f"{name}-v2")
    assert first.perceptual == tuple(p for p in second.perceptual if not p.trimmed)
    assert any(p.trimmed for p in second.perceptual)
    assert replace(first, recipe=second.recipe, perceptual=second.perceptual) == second
