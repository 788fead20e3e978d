"""Pictures for the near-match evaluation: where harmless ones are found, and how people alter them."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

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
DEBIAN_PHOTOGRAPHS: Final = (Path("/usr/share/wallpapers"), Path("/usr/share/backgrounds"))
DEBIAN_GRAPHICS: Final = (Path("/usr/share/tuxpaint/stamps"),)

Alteration = Callable[[Image.Image], Image.Image]


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
    """Debian's wallpapers and clip-art, where installed; a wallpaper comes in several sizes and shades."""
    for kind, folders in (("photo", DEBIAN_PHOTOGRAPHS), ("graphic", DEBIAN_GRAPHICS)):
        for folder in folders:
            for path in _files_under(folder):
                inside = path.relative_to(folder)
                origin = inside.parts[0] if kind == "photo" else str(inside.parent)
                yield Source(kind=kind, origin=origin, path=path)


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


def _files_under(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def crops(picture: Image.Image, count: int, rng: random.Random) -> Iterator[Image.Image]:
    """Random crops of a photograph, 200 pixels to all of each side: pictures of their own."""
    for _ in range(count):
        width = rng.randint(min(MIN_SIDE_PX, picture.width), picture.width)
        height = rng.randint(min(MIN_SIDE_PX, picture.height), picture.height)
        left, top = rng.randint(0, picture.width - width), rng.randint(0, picture.height - height)
        yield picture.crop((left, top, left + width, top + height))


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


def _encoded(form: str, quality: int) -> Alteration:
    def alter(picture: Image.Image) -> Image.Image:
        content = BytesIO()
        picture.save(content, form, quality=quality)
        return Image.open(content).convert("RGB")

    return alter


def _resized(factor: float) -> Alteration:
    return lambda p: p.resize((max(64, int(p.width * factor)), max(64, int(p.height * factor))))


def _gamma(gamma: float) -> Alteration:
    return lambda picture: picture.point([round(255 * (v / 255) ** gamma) for v in range(256)] * 3)


def _watermark(place: tuple[float, float], share: float, alpha: int) -> Alteration:
    def alter(picture: Image.Image) -> Image.Image:
        layer = Image.new("RGBA", picture.size, (0, 0, 0, 0))
        font = ImageFont.load_default(max(8, int(picture.width * share)))
        at = (int(picture.width * place[0]), int(picture.height * place[1]))
        ImageDraw.Draw(layer).text(at, "example.org", fill=(255, 255, 255, alpha), font=font)
        return Image.alpha_composite(picture.convert("RGBA"), layer).convert("RGB")

    return alter


def _caption(share: float, *, inside: bool) -> Alteration:
    def alter(picture: Image.Image) -> Image.Image:
        bar = max(10, int(picture.height * share))
        height = picture.height + (0 if inside else bar)
        captioned = Image.new("RGB", (picture.width, height), "white")
        captioned.paste(picture)
        draw = ImageDraw.Draw(captioned)
        draw.rectangle((0, height - bar, picture.width, height), fill="white")
        font = ImageFont.load_default(max(8, int(bar * 0.6)))
        draw.text((bar // 2, height - bar), "when you see it", fill="black", font=font)
        return captioned

    return alter


def _cropped(left: float, top: float, right: float, bottom: float) -> Alteration:
    return lambda p: p.crop(
        (
            round(p.width * left),
            round(p.height * top),
            p.width - round(p.width * right),
            p.height - round(p.height * bottom),
        )
    )


def _turned(degrees: float) -> Alteration:
    return lambda picture: picture.rotate(degrees, Image.Resampling.BILINEAR)


def _bordered(share: float, colour: str) -> Alteration:
    return lambda picture: ImageOps.expand(picture, round(min(picture.size) * share), colour)


#: Families of alterations, a few of each.
FAMILIES: Final[dict[str, tuple[Alteration, ...]]] = {
    "re-encode": (
        _encoded("JPEG", 90),
        _encoded("JPEG", 60),
        _encoded("JPEG", 30),
        _encoded("WEBP", 60),
    ),
    "resize": (_resized(0.75), _resized(0.5), _resized(0.3), _resized(1.4)),
    "tone": (
        _gamma(0.8),
        _gamma(1.25),
        lambda p: ImageEnhance.Brightness(p).enhance(1.15),
        lambda p: ImageEnhance.Contrast(p).enhance(0.75),
        lambda p: ImageOps.grayscale(p).convert("RGB"),
    ),
    "blur": (
        lambda p: p.filter(ImageFilter.GaussianBlur(1)),
        lambda p: p.filter(ImageFilter.GaussianBlur(2)),
        lambda p: p.filter(ImageFilter.SHARPEN),
    ),
    "watermark": (
        _watermark((0.7, 0.92), 0.03, 255),
        _watermark((0.1, 0.4), 0.14, 60),
        _watermark((0.02, 0.02), 0.06, 160),
    ),
    "caption": (_caption(0.04, inside=True), _caption(0.08, inside=True), _caption(0.04, inside=False)),
    "crop 2 %": (
        _cropped(0.01, 0.01, 0.01, 0.01),
        _cropped(0.02, 0, 0, 0),
        _cropped(0, 0.02, 0, 0),
        _cropped(0, 0, 0.02, 0.02),
    ),
    "rotation 1-2°": (_turned(1), _turned(-1), _turned(2)),
    "border 2 %": (_bordered(0.01, "white"), _bordered(0.01, "black")),  # 1 % at each side
    "mirror": (ImageOps.mirror, lambda p: _encoded("JPEG", 75)(ImageOps.mirror(p))),
}
