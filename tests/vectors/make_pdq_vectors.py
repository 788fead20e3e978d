"""Make pdq.json, the golden vectors of PDQ, with `pdqhash`:  python tests/vectors/make_pdq_vectors.py

The pictures are harmless: synthetic ones defined by whole-number formulas below, so that every machine
makes the same pixels, and photographs that scikit-image ships, by name. Of each:

    pixels_sha256        of the RGB bytes, row by row: a vector holds only for these pixels
    pdq, pdq_quality     by pdqhash (an independent build of PDQ's reference code); the hash as published hex
    pdq_512              by pdqhash, of the pixels after Pillow's bilinear resize to 512x512 (which rounds,
                         so the library may be a bit or two off)
    quality, gates       after the luma stretch: this library's own definition, pinned here
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

PHOTOGRAPHS = ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "ihc.png", "moon.png")
VECTORS = Path(__file__).with_name("pdq.json")


def _grid(width: int, height: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.arange(width)[None, :], np.arange(height)[:, None]


def _grey(
    width: int, height: int, formula: Callable[[NDArray[np.int64], NDArray[np.int64]], object]
) -> Pixels:
    values = np.broadcast_to(np.asarray(formula(*_grid(width, height))), (height, width))
    return np.repeat(values.astype(np.uint8)[:, :, None], 3, axis=2)


def _hills(width: int, height: int, low: int = 0, high: int = 255) -> Pixels:
    """Smooth irregular hills: parabolas of several odd periods, one mix a channel."""
    x, y = _grid(width, height)
    total = np.zeros((height, width, 3), np.int64)
    for channel, (a, b) in enumerate(((3, 5), (7, 2), (4, 9))):
        for period, u, v in ((211, a, b), (149, b, -a), (97, a + b, 1), (67, 1, a - b), (41, b, a)):
            phase = (u * x + v * y) % period
            total[:, :, channel] += phase * (period - phase) * 1000 // (period * period) * period // 40
    span = total.max() - total.min()
    scaled: Pixels = (low + (total - total.min()) * (high - low) // span).astype(np.uint8)
    return scaled


def _noise(width: int, height: int) -> Pixels:
    """A linear congruential generator, one state a row: no library's random numbers."""
    state = np.arange(1, height + 1, dtype=np.uint64) * np.uint64(2654435761)
    out = np.empty((height, width * 3), np.uint8)
    for column in range(width * 3):
        state = state * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
        out[:, column] = state >> np.uint64(56)
    return out.reshape(height, width, 3)


def synthetic() -> Iterator[tuple[str, Pixels]]:
    """The pictures that are defined by formula, by name."""
    yield "hills 640x480", _hills(640, 480)
    yield "hills 1613x1201", _hills(1613, 1201)
    yield "hills, wide 1999x130", _hills(1999, 130)
    yield "hills, tall 90x777", _hills(90, 777)
    yield "hills, small 67x61", _hills(67, 61)
    yield "hills, tiny 5x9", _hills(5, 9)
    yield "hills, pale 640x480", _hills(640, 480, 116, 140)  # PDQ's own quality is low, stretched it is not
    yield "hills, all but flat 640x480", _hills(640, 480, 126, 131)  # refused to be stretched
    yield "noise 333x222", _noise(333, 222)
    yield "ramp 300x200", _grey(300, 200, lambda x, y: (x + y) // 2)  # LOW_QUALITY
    yield "half black 320x240", _grey(320, 240, lambda x, y: (x >= 160) * 255 + 0 * y)  # LOW_MARGIN
    yield "bars 400x300", _grey(400, 300, lambda x, y: (x // 25 % 2) * 255 + 0 * y)  # LOW_MARGIN
    yield "disc 300x300", _grey(300, 300, lambda x, y: ((x - 149) ** 2 + (y - 149) ** 2 < 90**2) * 255)
    yield "white 64x64", _grey(64, 64, lambda x, y: 255 + 0 * x * y)


def photographs() -> Iterator[tuple[str, Pixels]]:
    """scikit-image's photographs, as RGB, by file name."""
    import skimage

    for name in PHOTOGRAPHS:
        path = Path(skimage.__file__).parent / "data" / name
        if path.exists():
            with Image.open(path) as image:
                yield name, np.asarray(image.convert("RGB"))


def pixels_sha256(pixels: Pixels) -> str:
    """Identifies the picture."""
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def prescaled(pixels: Pixels) -> Pixels:
    """What the convention pdq-512 hashes."""
    return np.asarray(Image.fromarray(pixels).resize((512, 512), Image.Resampling.BILINEAR))


def _published(pixels: Pixels) -> tuple[str, int]:
    import pdqhash

    vector, quality = pdqhash.compute(pixels)
    return np.packbits(vector).tobytes().hex(), int(quality)  # first bit first, as the published hex


def _entry(name: str, pixels: Pixels) -> dict[str, object]:
    from iii_client.fingerprint import pdq
    from iii_client.model import Algorithm

    value, quality = _published(pixels)
    found = pdq(pixels)[Algorithm.PDQ]
    return {
        "name": name,
        "pixels_sha256": pixels_sha256(pixels),
        "pdq": value,
        "pdq_quality": quality,
        "pdq_512": _published(prescaled(pixels))[0],
        "quality": found.quality,
        "gates": [str(gate) for gate in found.gates],
    }


def main() -> None:
    """Write the vectors."""
    import pdqhash

    document = {
        "made_with": f"pdqhash {pdqhash.__version__}" if hasattr(pdqhash, "__version__") else "pdqhash",
        "pictures": [_entry(*picture) for picture in (*synthetic(), *photographs())],
    }
    VECTORS.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
