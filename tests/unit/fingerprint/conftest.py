"""Pictures by formula, and photographs as arrays, for the tests of this room."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

VECTORS = Path(__file__).parents[2] / "vectors"
Pixels = NDArray[np.uint8]


@pytest.fixture(scope="session")
def vector_maker() -> ModuleType:
    """The generator of the golden vectors, for its pictures."""
    spec = importlib.util.spec_from_file_location("make_pdq_vectors", VECTORS / "make_pdq_vectors.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def vector_pictures(vector_maker: ModuleType) -> dict[str, Pixels]:
    """The pictures of the golden vectors by name, as far as this scikit-image ships them."""
    return dict((*vector_maker.synthetic(), *vector_maker.photographs()))


@pytest.fixture(scope="session")
def hills(vector_maker: ModuleType) -> Callable[[int, int], Pixels]:
    """Smooth, irregular RGB pictures of any size, without low margins."""

    def make(width: int, height: int) -> Pixels:
        pixels: Pixels = vector_maker._hills(width, height)
        return pixels

    return make


@pytest.fixture(scope="session")
def photos(photographs: list[Path]) -> list[Image.Image]:
    """Distinct photographs as RGB, none larger than 2 megapixels."""
    loaded = []
    for path in photographs[:24]:
        with Image.open(path) as image:
            image.draft("RGB", (1600, 1200))
            picture = image.convert("RGB")
        picture.thumbnail((1600, 1200))
        loaded.append(picture)
    return loaded
