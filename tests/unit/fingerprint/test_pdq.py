"""PDQ as matrices against PDQ as written: a slow, obvious version, golden vectors, and folded reductions."""

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from iii_client.fingerprint import bits_of, pdq, value_of
from iii_client.fingerprint.geometry import Geometry, upright
from iii_client.fingerprint.pdq import (
    LOW_MARGIN_COUNT,
    LOW_MARGIN_EPSILON,
    MIN_QUALITY,
    gradient_qualities,
    stretch_gains,
)
from iii_client.model import Algorithm, Reason

Pixels = NDArray[np.uint8]
MakePicture = Callable[[int, int], Pixels]
VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "pdq.json").read_text())
#: EXIF orientation -> how Pillow makes the picture upright.
TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def distance(a: bytes, b: bytes) -> int:
    return (int.from_bytes(a) ^ int.from_bytes(b)).bit_count()


# --- the slow, obvious reference ----------------------------------------------------------------------


def reference_box(line: list[float]) -> list[float]:
    """One pass of the box filter over one line: the mean of what of the window lies inside."""
    window = math.ceil(len(line) / 128)
    after = (window + 2) // 2 - 1
    before = window - 1 - after
    means = []
    for i in range(len(line)):
        inside = line[max(i - before, 0) : i + after + 1]
        means.append(sum(inside) / len(inside))
    return means


def reference_pdq(pixels: Pixels) -> tuple[list[bool], list[list[float]]]:
    """PDQ's bits and coefficients, step by step."""
    plane = [[0.299 * r + 0.587 * g + 0.114 * b for r, g, b in row] for row in pixels.tolist()]
    for _ in range(2):
        plane = [reference_box(row) for row in plane]
        plane = [
            list(row) for row in zip(*[reference_box(list(c)) for c in zip(*plane, strict=True)], strict=True)
        ]
    height, width = len(plane), len(plane[0])
    buffer = [
        [plane[int((i + 0.5) * height / 64)][int((j + 0.5) * width / 64)] for j in range(64)]
        for i in range(64)
    ]
    cosines = [
        [math.sqrt(2 / 64) * math.cos(math.pi / 128 * k * (2 * n + 1)) for n in range(64)]
        for k in range(1, 17)
    ]
    down = [[sum(cosines[k][i] * buffer[i][j] for i in range(64)) for j in range(64)] for k in range(16)]
    dct = [[sum(cosines[m][j] * down[k][j] for j in range(64)) for m in range(16)] for k in range(16)]
    flat = list(itertools.chain(*dct))
    median = sorted(flat)[127]
    return [value > median for value in flat], dct


@pytest.mark.parametrize("size", [(200, 150), (67, 61), (5, 130), (129, 128), (64, 64), (257, 40), (1, 1)])
def test_the_matrices_equal_the_slow_reference(hills: MakePicture, size: tuple[int, int]) -> None:
    pixels = hills(*size) if min(size) > 1 else np.full((1, 1, 3), 77, np.uint8)
    bits, coefficients = reference_pdq(pixels)
    found = pdq(pixels)[Algorithm.PDQ]
    gain = found.coefficients[0, 0] / coefficients[0][0] if min(size) > 1 else 1
    assert np.allclose(found.coefficients, np.array(coefficients) * gain, atol=2e-3 * gain)
    if Reason.LOW_MARGIN not in found.gates:
        assert bits_of(found.value).tolist() == bits


# --- golden vectors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", VECTORS["pictures"], ids=lambda vector: vector["name"])
def test_golden_vector(
    vector: dict[str, Any], vector_maker: ModuleType, vector_pictures: dict[str, Pixels]
) -> None:
    if vector["name"] not in vector_pictures:
        pytest.skip("this scikit-image does not ship the photograph")
    pixels = vector_pictures[vector["name"]]
    if vector_maker.pixels_sha256(pixels) != vector["pixels_sha256"]:
        assert vector["name"].endswith(".png")
        pytest.skip("this scikit-image ships another version of the photograph")
    found = pdq(pixels)
    assert found[Algorithm.PDQ].quality == vector["quality"]
    assert list(found[Algorithm.PDQ].gates) == vector["gates"]
    if Reason.LOW_MARGIN not in found[Algorithm.PDQ].gates:
        assert found[Algorithm.PDQ].value.hex() == vector["pdq"]
        if vector["pdq_quality"] >= MIN_QUALITY:  # else Pillow's rounding weighs more than the picture
            assert distance(found[Algorithm.PDQ_512].value, bytes.fromhex(vector["pdq_512"])) <= 2


def test_the_vectors_show_both_gates_and_a_picture_that_only_the_stretch_lets_through() -> None:
    by_name = {vector["name"]: vector for vector in VECTORS["pictures"]}
    assert by_name["half black 320x240"]["gates"] == ["low_margin"]
    assert by_name["half black 320x240"]["quality"] >= MIN_QUALITY
    assert "low_quality" in by_name["ramp 300x200"]["gates"]
    pale = by_name["hills, pale 640x480"]
    assert (pale["pdq_quality"] < MIN_QUALITY, pale["quality"] >= MIN_QUALITY) == (True, True)


# --- reductions and orientations ----------------------------------------------------------------------


@pytest.mark.parametrize("reduction", [2, 4, 8])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_reduction_is_folded_exactly_in_every_orientation(
    hills: MakePicture, reduction: int, orientation: int
) -> None:
    """A picture that loses nothing when reduced has the same coefficients before and after."""
    width, height = 403, 310  # neither is a multiple of any reduction
    reduced = hills(-(-width // reduction), -(-height // reduction))
    full = reduced.repeat(reduction, axis=0).repeat(reduction, axis=1)[:height, :width]
    turned = Image.fromarray(np.ascontiguousarray(full))
    if orientation in TRANSPOSES:
        turned = turned.transpose(TRANSPOSES[orientation])
    expected = pdq(np.asarray(turned))
    geometry = Geometry.of_decoded(width, height, reduction=reduction, orientation=orientation)
    found = pdq(upright(reduced, orientation), geometry)
    for algorithm in (Algorithm.PDQ, Algorithm.PDQ_512):
        assert np.allclose(
            found[algorithm].coefficients, expected[algorithm].coefficients, rtol=1e-4, atol=0.02
        )
        assert distance(found[algorithm].value, expected[algorithm].value) <= 2


def test_luma_alone_is_within_two_bits_in_the_median(photos: list[Image.Image]) -> None:
    distances = [
        distance(
            pdq(np.asarray(photo))[Algorithm.PDQ].value,
            pdq(np.asarray(photo.convert("L")))[Algorithm.PDQ].value,
        )
        for photo in photos
    ]
    assert np.median(distances) <= 2
    assert max(distances) <= 8


def test_the_second_convention_barely_moves_when_a_picture_is_resized(photos: list[Image.Image]) -> None:
    native, prescaled = [], []
    for photo in photos:
        before = pdq(np.asarray(photo))
        after = pdq(np.asarray(photo.resize((photo.width * 2 // 3, photo.height * 2 // 3))))
        native.append(distance(before[Algorithm.PDQ].value, after[Algorithm.PDQ].value))
        prescaled.append(distance(before[Algorithm.PDQ_512].value, after[Algorithm.PDQ_512].value))
    assert np.median(prescaled) <= 6
    assert np.median(prescaled) < np.median(native)


# --- bits, quality, gates -----------------------------------------------------------------------------


def test_bit_i_of_the_value_is_coefficient_i_row_by_row(hills: MakePicture) -> None:
    found = pdq(hills(320, 200))[Algorithm.PDQ]
    number = int.from_bytes(found.value)
    for row, column in itertools.product(range(16), range(16)):
        above = found.coefficients[row, column] > found.median
        assert bool(number >> (16 * row + column) & 1) == above
    assert value_of(bits_of(found.value)) == found.value
    assert int(bits_of(found.value).sum()) == 128


def test_lowering_the_contrast_changes_neither_gate_nor_margins(photos: list[Image.Image]) -> None:
    for photo in photos[:6]:
        pale = ImageEnhance.Contrast(photo).enhance(0.3)
        bright, faint = pdq(np.asarray(photo))[Algorithm.PDQ], pdq(np.asarray(pale))[Algorithm.PDQ]
        assert faint.gates == bright.gates
        assert abs(faint.quality - bright.quality) <= 10
        assert distance(faint.value, bright.value) <= 8
        assert np.median(np.abs(faint.coefficients)) > 0.6 * np.median(np.abs(bright.coefficients))


def test_quality_is_the_published_sum_of_truncated_gradients() -> None:
    buffer = np.random.default_rng(7).integers(0, 256, (64, 64)).astype(np.float64)
    total = 0
    for i, j in itertools.product(range(64), range(64)):
        for k, m in ((i + 1, j), (i, j + 1)):
            if k < 64 and m < 64:
                total += int(abs((buffer[i, j] - buffer[k, m]) * 100 / 255))
    for scale in (1.0, 0.02, 0.05):
        expected = min(sum_of(buffer * scale) // 90, 100)
        assert gradient_qualities(buffer[None] * scale)[0] == expected
    assert gradient_qualities(buffer[None])[0] == min(total // 90, 100)


def sum_of(buffer: NDArray[np.float64]) -> int:
    pairs = [
        *zip(buffer[:-1].ravel(), buffer[1:].ravel(), strict=True),
        *zip(buffer[:, :-1].ravel(), buffer[:, 1:].ravel(), strict=True),
    ]
    return sum(int(abs((a - b) * 100 / 255)) for a, b in pairs)


@pytest.mark.parametrize(
    ("levels", "gain"), [(255, 1.0), (300, 1.0), (100, 2.55), (32, 255 / 32), (20, 8.0), (8, 8.0), (7.9, 0.0)]
)
def test_the_stretch_has_a_largest_gain_and_refuses_noise(levels: float, gain: float) -> None:
    plane = np.full(4096, 50.0)
    plane[100:] += levels  # more than 1 % at the low end, nearly all at the high end
    plane[0], plane[-1] = -1000, 1000  # outliers beyond the percentiles do not count
    assert stretch_gains(plane.reshape(1, 64, 64))[0] == pytest.approx(gain)


def test_symmetric_and_one_dimensional_pictures_have_low_margins_and_photographs_have_not(
    photos: list[Image.Image],
) -> None:
    y, x = np.mgrid[0:300, 0:400]
    accidents = {
        "half": (x < 200) * 255,
        "bars": (y // 25 % 2) * 255,
        "disc": ((2 * x - 399) ** 2 + (2 * y - 299) ** 2 < 36_000) * 255,
        "checks": ((x // 25 + y // 25) % 2) * 255,
    }
    for name, plane in accidents.items():
        assert Reason.LOW_MARGIN in pdq(plane.astype(np.uint8))[Algorithm.PDQ].gates, name
    for photo in photos:
        found = pdq(np.asarray(photo))[Algorithm.PDQ]
        near = np.count_nonzero(np.abs(found.coefficients - found.median) <= LOW_MARGIN_EPSILON)
        assert near < LOW_MARGIN_COUNT / 2


def test_uploaders_cannot_grow_the_cache_without_bound() -> None:
    from iii_client.fingerprint import pdq as module_function
    from iii_client.fingerprint.axes import _CACHED_AXES, _CACHED_AXIS_PX, AxisMatrix, cached_axes
    from iii_client.fingerprint.geometry import Axis

    built: list[int] = []

    @cached_axes
    def build(axis: Axis) -> AxisMatrix:
        built.append(axis.length)
        return AxisMatrix(0, ())

    for length in (*range(1, _CACHED_AXES + 2), 1):  # the first one has been pushed out
        build(Axis(length))
    assert built.count(1) == 2
    build(Axis(_CACHED_AXIS_PX + 1))
    build(Axis(_CACHED_AXIS_PX + 1))
    assert built.count(_CACHED_AXIS_PX + 1) == 2
    assert module_function(np.zeros((1, 65_535), np.uint8))[Algorithm.PDQ].quality == 0
