"""Pictures for the near-match evaluation: where harmless ones of each class are found, or drawn."""

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

MAX_SIDE_PX: Final = 1024
MIN_SIDE_PX: Final = 200
SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp")

#: Files of scikit-image, scikit-learn and matplotlib that are no photographs.
TEXT_NAMES: Final = ("page.png", "text.png")
GRAPHIC_NAMES: Final = (
    "chessboard_GRAY.png",
    "chessboard_RGB.png",
    "clock_motion.png",
    "color.png",
    "horse.png",
    "logo.png",
    "phantom.png",
    "logo2.png",
    "Minduka_Present_Blue_Pack.png",
)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A picture file. Files of one `origin` may show the same thing: they are listed or innocent together."""

    kind: str
    origin: str
    path: Path


def shipped_pictures() -> Iterator[Source]:
    """What scikit-image, scikit-learn and matplotlib ship."""
    for package, folder in (
        ("skimage", "data"),
        ("sklearn", "datasets/images"),
        ("matplotlib", "mpl-data/sample_data"),
    ):
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            continue
        for path in _files_under(Path(spec.origin).parent / folder):
            kind = "graphic" if path.name in GRAPHIC_NAMES else "photo"
            kind = "text" if path.name in TEXT_NAMES else kind
            yield Source(kind=kind, origin=path.stem.partition("_")[0], path=path)


def debian_pictures() -> Iterator[Source]:
    """What Debian ships, where installed; the packages stand in the documentation.

    A wallpaper comes in several sizes and shades, a country on several maps and with the flags of its parts.
    """
    for kind, folder, pattern, origin in _DEBIAN:
        for path in _files_under(Path(folder), pattern):
            yield Source(kind=kind, origin=f"{folder}/{origin(path.relative_to(folder))}", path=path)


def pictures_under(folder: Path) -> Iterator[Source]:
    """A folder of somebody's own photographs, all different."""
    for path in _files_under(folder):
        yield Source(kind="photo", origin=str(path), path=path)


def load(path: Path) -> Image.Image:
    """A picture in RGB on white, at most 1024 pixels a side."""
    with Image.open(path) as file:
        file.draft("RGB", (2 * MAX_SIDE_PX, 2 * MAX_SIDE_PX))
        picture = file.convert("RGBA")
    picture.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX))
    flat = Image.new("RGB", picture.size, "white")
    flat.paste(picture, mask=picture.getchannel("A"))
    return flat


def _elevation_model() -> NDArray[np.float64]:
    spec = find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise SystemExit(
            "The evaluation draws maps from an elevation model of matplotlib: pip install matplotlib"
        )
    with np.load(Path(spec.origin).parent / "mpl-data/sample_data/jacksboro_fault_dem.npz") as model:
        elevation: NDArray[np.float64] = model["elevation"].astype(np.float64)
    return elevation


def _country(path: Path) -> str:
    """A country has several maps, and the flags of its parts in a folder."""
    return re.split(r"[-_.]", path.parts[0])[0]


#: Class, folder, files, and what tells the origin of a file by its path in the folder.
_DEBIAN: Final[tuple[tuple[str, str, str, Callable[[Path], str]], ...]] = (
    ("photo", "/usr/share/wallpapers", "**/*", lambda path: path.parts[0]),
    ("photo", "/usr/share/backgrounds", "**/*", lambda path: path.parts[0]),
    ("graphic", "/usr/share/tuxpaint/stamps", "**/*", lambda path: str(path.parent)),
    ("logo", "/usr/share/kgeography/flags", "**/*", _country),
    ("map", "/usr/share/kgeography", "*", _country),
    ("map", "/usr/share/marble/data/maps", "**/*", str),
    ("screenshot", "/usr/share/doc/HTML/en", "**/*", str),
)
#: From low to high, in RGB: green to brown, a nautical chart, grey, and bright bands.
_COLOURS_OF_HEIGHT: Final = (
    ((70, 130, 80), (220, 210, 150), (140, 100, 60), (245, 245, 245)),
    ((40, 90, 150), (150, 200, 230), (235, 225, 180)),
    ((60, 60, 60), (235, 235, 235)),
    ((230, 240, 200), (250, 200, 120), (200, 80, 60), (120, 40, 90)),
)


def _files_under(folder: Path, pattern: str = "**/*") -> list[Path]:
    return sorted(path for path in folder.glob(pattern) if path.suffix.lower() in SUFFIXES and path.is_file())


def crops(picture: Image.Image, count: int, rng: random.Random) -> Iterator[Image.Image]:
    """Random crops of a photograph, 200 pixels to all of each side: pictures of their own."""
    for _ in range(count):
        width = rng.randint(min(MIN_SIDE_PX, picture.width), picture.width)
        height = rng.randint(min(MIN_SIDE_PX, picture.height), picture.height)
        left, top = rng.randint(0, picture.width - width), rng.randint(0, picture.height - height)
        yield picture.crop((left, top, left + width, top + height))


def relief_map(rng: random.Random, *, part: int) -> Image.Image:
    """A drawn map of a window of a real elevation model (matplotlib's `jacksboro_fault_dem.npz`).

    Heights in colours, shaded from the north-west, with contour lines or without. Part 0 shows the west of
    the model and part 1 the east, so that no map of one shows what one of the other shows.
    """
    elevation = _elevation_model()
    middle = elevation.shape[1] // 2
    half = elevation[:, :middle] if part == 0 else elevation[:, middle:]
    side = rng.randint(60, 160)
    top, left = rng.randint(0, half.shape[0] - side), rng.randint(0, half.shape[1] - side)
    window = half[top : top + side, left : left + side]
    height = (window - window.min()) / max(np.ptp(window), 1.0)
    down, across = np.gradient(window)
    shade = np.clip(0.75 + rng.uniform(0.005, 0.02) * (down + across), 0.3, 1.0)
    stops = np.array(rng.choice(_COLOURS_OF_HEIGHT), float)
    levels = np.linspace(0, 1, len(stops))
    colours = np.stack([np.interp(height, levels, stops[:, channel]) for channel in range(3)], axis=-1)
    colours *= shade[..., None]
    if rng.random() < 0.6:
        step = np.floor(height * rng.randint(6, 20))
        line = (np.diff(step, axis=0, prepend=step[:1]) != 0) | (
            np.diff(step, axis=1, prepend=step[:, :1]) != 0
        )
        colours[line] *= 0.55
    size = rng.randint(300, 800)
    return Image.fromarray(colours.astype(np.uint8)).resize((size, size), Image.Resampling.BICUBIC)


def text_page(rng: random.Random) -> Image.Image:
    """A rendered page of random words: headings, paragraphs, dark or light."""
    paper, ink = ("white", "black") if rng.random() < 0.7 else ("#202020", "#e0e0e0")
    page = Image.new("RGB", (rng.randint(400, 900), rng.randint(400, 900)), paper)
    draw = ImageDraw.Draw(page)
    y = rng.randint(5, 60)
    while y < page.height:
        size = rng.choice((12, 14, 14, 18, 30))
        font = ImageFont.load_default(size)
        for _ in range(rng.randint(1, 6)):
            words = ("".join(rng.choices("abcdefghiklmnoprstuvw", k=rng.randint(1, 9))) for _ in range(30))
            line = " ".join(words)[: rng.randint(10, 2 * page.width // size)]
            draw.text((rng.choice((20, 20, 60)), y), line, fill=ink, font=font)
            y += int(size * 1.4)
        y += rng.randint(0, 40)
    return page
