"""pHash equals imagehash's, is of its type, and never loads scipy."""

import io
import subprocess
import sys
from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageOps

from iii_client.fingerprint import phash
from iii_client.fingerprint.geometry import Geometry
from iii_client.fingerprint.phash import phash_value, resized_luma, small_luma


def test_it_equals_imagehash_on_photographs(photos: list[Image.Image]) -> None:
    for photo in photos:
        for picture in (photo, photo.convert("L"), photo.resize((301, 503)), photo.quantize(32)):
            found = phash(picture)
            assert isinstance(found, imagehash.ImageHash)
            assert found == imagehash.phash(picture)
            assert found - imagehash.phash(picture) == 0


def test_the_stored_bytes_are_the_text_that_imagehash_writes(photos: list[Image.Image]) -> None:
    for photo in photos[:5]:
        assert phash_value(resized_luma(photo.convert("L"))).hex() == str(imagehash.phash(photo))


def test_the_fast_scaling_gives_pillows_pixels_to_one_grey_level(photos: list[Image.Image]) -> None:
    distances = []
    for photo in photos:
        luma = photo.convert("L")
        fast, pillow = small_luma(np.asarray(luma)), resized_luma(luma)
        assert np.abs(fast.astype(int) - pillow.astype(int)).max() <= 1
        distances.append(int.from_bytes(phash_value(fast)) ^ int.from_bytes(phash_value(pillow)))
    assert sum(distance == 0 for distance in distances) >= 0.95 * len(distances)


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (900, 3), (32, 32), (31, 33), (640, 480)])
def test_any_size_has_a_hash_flat_ones_too(size: tuple[int, int]) -> None:
    noise = Image.fromarray(np.random.default_rng(5).integers(0, 256, size[::-1], dtype=np.uint8))
    for picture in (noise, Image.new("L", size, 200), Image.new("L", size, 0)):
        assert phash(picture) == imagehash.phash(picture)
        assert small_luma(np.asarray(picture)).shape == (32, 32)


def test_a_reduction_is_folded(photos: list[Image.Image]) -> None:
    """From every fourth pixel's mean the 32x32 pixels are nearly those of the full picture."""
    for photo in photos[:8]:
        luma = photo.convert("L").crop((0, 0, photo.width // 4 * 4, photo.height // 4 * 4))
        geometry = Geometry.of_decoded(luma.width, luma.height, reduction=4, orientation=1)
        folded = small_luma(np.asarray(luma.reduce(4)), geometry)
        assert np.abs(folded.astype(int) - resized_luma(luma).astype(int)).mean() < 1.5


def test_neither_importing_nor_hashing_loads_scipy(photographs: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    with Image.open(photographs[0]) as image:
        ImageOps.fit(image.convert("RGB"), (300, 200)).save(io.BytesIO(), "PNG")
        image.convert("RGB").save(path)
    program = f"""
import sys
from PIL import Image
from iii_client.config import Limits
from iii_client.content import Content
from iii_client.fingerprint import RECIPES, build_fingerprint, phash, warm_up
warm_up()
for recipe in RECIPES.values():
    found = build_fingerprint(Content.from_path({str(path)!r}), recipe=recipe, limits=Limits())
    assert len(found.perceptual) == 3
phash(Image.open({str(path)!r}))
print(*(name for name in ("scipy", "pywt", "requests", "tuf") if name in sys.modules))
"""
    out = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == ""
