"""Harmless pictures that are computed: one to be listed, a near copy of it, one that nobody listed.

Waves of a few lengths in random directions and phases: enough detail for a perceptual hash, and two seeds
give two pictures that nothing confuses. The bytes depend on the installed Pillow and numpy; nothing is
compared across machines.
"""

import io
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from iii_client.test_picture import listed_picture_bytes

WIDTH_PX, HEIGHT_PX = 640, 480
#: Number of waves, and their lengths as waves across the picture: what a perceptual hash looks at is coarse.
_WAVES, _FEWEST, _MOST = 24, 1.0, 9.0
_KNOWN_SEED, _INNOCENT_SEED = 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PracticePicture:
    """One picture to upload.

    Attributes:
        name: a file name.
        content_type: of its bytes.
        data: its bytes.
    """

    name: str
    content_type: str
    data: bytes

    def open(self) -> io.BytesIO:
        """A new binary file at its start."""
        return io.BytesIO(self.data)

    def as_upload(self) -> tuple[str, io.BytesIO, str]:
        """(name, file, content type), as `requests` and `httpx` take it under `files=`."""
        return (self.name, self.open(), self.content_type)

    def __repr__(self) -> str:
        return f"PracticePicture({self.name!r}, {len(self.data)} bytes)"


def listed_picture() -> PracticePicture:
    """The shipped test picture: every release lists it, in the category `test`."""
    return PracticePicture(name="listed.png", content_type="image/png", data=listed_picture_bytes())


@cache
def known_picture() -> PracticePicture:
    """A picture that `iii_practice_service` lists as if it were known material."""
    return _encoded("known.png", _waves(_KNOWN_SEED), "PNG")


@cache
def near_copy() -> PracticePicture:
    """The known picture, smaller and encoded anew: other bytes, the same look."""
    smaller = _waves(_KNOWN_SEED).resize((WIDTH_PX * 3 // 4, HEIGHT_PX * 3 // 4))
    return _encoded("near-copy.jpg", smaller, "JPEG")


@cache
def innocent_picture() -> PracticePicture:
    """A picture that no list holds, nor one that looks like it."""
    return _encoded("innocent.jpg", _waves(_INNOCENT_SEED), "JPEG")


@cache
def broken_picture() -> PracticePicture:
    """The first half of the innocent one's bytes: it cannot be looked at, so nothing may be concluded."""
    whole = innocent_picture()
    return PracticePicture(
        name="broken.jpg", content_type="image/jpeg", data=whole.data[: len(whole.data) // 2]
    )


def _encoded(name: str, picture: Image.Image, kind: str) -> PracticePicture:
    file = io.BytesIO()
    picture.save(file, kind)
    return PracticePicture(name=name, content_type=f"image/{kind.lower()}", data=file.getvalue())


def _waves(seed: int) -> Image.Image:
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX] / WIDTH_PX
    light = np.zeros((HEIGHT_PX, WIDTH_PX, 3))
    for _ in range(_WAVES):
        direction, phase = random.uniform(0.0, 2 * np.pi, size=2)
        waves = random.uniform(_FEWEST, _MOST)
        across = x * np.cos(direction) + y * np.sin(direction)
        # One of each: the eye and the hash see lightness, a colour of its own makes it a picture to look at.
        light += np.sin(2 * np.pi * waves * across + phase)[..., None] * random.uniform(0.4, 1.0, size=3)
    low, high = light.min(), light.max()
    return Image.fromarray(np.uint8(np.round(255 * (light - low) / (high - low))))
