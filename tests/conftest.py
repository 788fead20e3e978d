"""Real photographs for every test, made from what is installed; nothing of it is committed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

#: scikit-image files that are photographs of enough detail; drawings and text pages are left out.
SKIMAGE_PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "moon.png",
    "retina.jpg",
    "rocket.jpg",
)
MAX_SIDE_PX = 800
FORMATS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("jpg", {"quality": 88}),
    ("png", {}),
    ("webp", {"quality": 80}),
    ("jpg", {"quality": 95}),
)


@pytest.fixture(scope="session")
def photographs() -> list[Path]:
    """Whole photographs: scikit-image's, and Debian's where the machine has them (CI does)."""
    skimage = pytest.importorskip("skimage")
    data = Path(skimage.__file__).parent / "data"
    found = [data / name for name in SKIMAGE_PHOTOGRAPHS if (data / name).exists()]
    found += sorted(Path("/usr/share/backgrounds").glob("*.jpg"))
    for theme in sorted(Path("/usr/share/wallpapers").glob("*/contents/images")):
        # One of each theme: the others show the same in other sizes. JPEG, because the decoder can reduce it.
        found += sorted(theme.glob("*.jpg"), key=lambda path: path.stat().st_size)[-1:]
    return found


@pytest.fixture(scope="session")
def make_pictures(photographs: list[Path]) -> Callable[[Path, int], list[Path]]:
    """Write `count` distinct pictures into a folder: photographs, then tiles of them, in several formats."""

    def make(folder: Path, count: int) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        made: list[Path] = []
        for picture in _pictures_and_tiles(photographs):
            suffix, options = FORMATS[len(made) % len(FORMATS)]
            path = folder / f"holiday-{len(made):03}.{suffix}"
            picture.save(path, **options)
            made.append(path)
            if len(made) == count:
                return made
        raise AssertionError(f"only {len(made)} pictures can be made")

    return make


def _pictures_and_tiles(sources: list[Path]) -> Iterator[Image.Image]:
    """Every photograph once, then 2x2 tiles of each, then 3x3: no two of them show the same."""
    for grid in (1, 2, 3, 4):
        for source in sources:
            with Image.open(source) as image:
                image.draft("RGB", (MAX_SIDE_PX, MAX_SIDE_PX))
                picture = image.convert("RGB")
            picture.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX))
            width, height = picture.width // grid, picture.height // grid
            if min(width, height) < 96:
                continue
            for row in range(grid):
                for column in range(grid):
                    left, top = column * width, row * height
                    yield picture.crop((left, top, left + width, top + height))
