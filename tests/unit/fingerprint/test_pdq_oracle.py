"""PDQ beside `pdqhash`, live: needs the [oracle] extra, which needs a C compiler."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from iii_client.config import Limits
from iii_client.content import Content
from iii_client.fingerprint import RECIPES, bits_of, build_fingerprint, pdq
from iii_client.fingerprint.pdq import gradient_qualities
from iii_client.model import Algorithm, Reason

pytestmark = pytest.mark.oracle
pdqhash = pytest.importorskip("pdqhash")
Pixels = NDArray[np.uint8]


def oracle(pixels: Pixels) -> tuple[NDArray[np.bool_], int]:
    """pdqhash's bits, numbered as ours, and its quality."""
    vector, quality = pdqhash.compute(pixels)
    return np.asarray(vector, np.bool_)[::-1], int(quality)


def jpeg(photo: Image.Image) -> bytes:
    out = io.BytesIO()
    photo.save(out, "JPEG", quality=85)
    return out.getvalue()


def test_rgb_photographs_are_equal_bit_for_bit(photos: list[Image.Image]) -> None:
    for photo in photos:
        for pixels in (np.asarray(photo), np.asarray(photo.resize((513, 389)))):
            bits, _ = oracle(pixels)
            assert np.array_equal(bits_of(pdq(pixels)[Algorithm.PDQ].value), bits)


def test_odd_sizes_are_equal_bit_for_bit(hills: Callable[[int, int], Pixels]) -> None:
    for width, height in ((5, 5), (64, 64), (65, 127), (128, 129), (1000, 7), (31, 600), (257, 255)):
        pixels = hills(width, height)
        found = pdq(pixels)[Algorithm.PDQ]
        if Reason.LOW_MARGIN not in found.gates:
            assert np.array_equal(bits_of(found.value), oracle(pixels)[0]), (width, height)


def test_the_prescaled_convention_is_within_two_bits(photos: list[Image.Image]) -> None:
    for photo in photos:
        bits, _ = oracle(np.asarray(photo.resize((512, 512), Image.Resampling.BILINEAR)))
        found = pdq(np.asarray(photo))[Algorithm.PDQ_512]
        assert np.count_nonzero(bits_of(found.value) != bits) <= 4


def test_quality_without_the_stretch_is_the_published_quality(photos: list[Image.Image]) -> None:
    for photo in photos:
        for contrast in (1.0, 0.2, 0.08):
            pixels = (np.asarray(photo) * contrast).astype(np.uint8)
            buffer = reference_buffer(pixels)
            assert abs(int(gradient_qualities(buffer[None])[0]) - oracle(pixels)[1]) <= 1


def reference_buffer(pixels: Pixels) -> NDArray[np.float64]:
    """The 64x64 buffer, by way of the axis matrices."""
    from iii_client.fingerprint.geometry import Geometry
    from iii_client.fingerprint.pdq import LUMA_WEIGHTS, _axis_matrix

    geometry = Geometry.of_pixels(pixels)
    luma = (pixels @ np.array(LUMA_WEIGHTS)).astype(np.float32)
    rows = (_axis_matrix(geometry.rows) @ luma)[:64]
    buffer: NDArray[np.float64] = (_axis_matrix(geometry.columns) @ rows.T)[:64].T.astype(np.float64)
    return buffer


def test_fast_fingerprints_of_jpegs_are_within_two_bits_in_the_median(photos: list[Image.Image]) -> None:
    """Luma, reduced by the decoder and folded, against every pixel in RGB."""
    distances = []
    for photo in photos:
        data = jpeg(photo)
        with Image.open(io.BytesIO(data)) as image:
            bits, _ = oracle(np.asarray(image.convert("RGB")))
        content = Content.from_bytes(data)
        found = build_fingerprint(content, recipe=RECIPES["fast"], limits=Limits()).perceptual[0]
        exact = build_fingerprint(content, recipe=RECIPES["exact"], limits=Limits()).perceptual[0]
        assert np.array_equal(bits_of(exact.value), bits)
        distances.append(np.count_nonzero(bits_of(found.value) != bits))
    assert np.median(distances) <= 2
    assert max(distances) <= 8
