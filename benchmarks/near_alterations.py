"""How people alter pictures, for the near-match evaluation: families of alterations, a few of each."""

from collections.abc import Callable
from io import BytesIO
from typing import Final

from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

Alteration = Callable[[Image.Image], Image.Image]


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


def _on_canvas(width: float, height: float, place: tuple[float, float], colour: str) -> Alteration:
    """On a plain canvas of so many times its own size, at a place of what is left over, as JPEG."""

    def alter(picture: Image.Image) -> Image.Image:
        canvas = Image.new("RGB", (round(picture.width * width), round(picture.height * height)), colour)
        left, top = canvas.width - picture.width, canvas.height - picture.height
        canvas.paste(picture, (round(left * place[0]), round(top * place[1])))
        return _encoded("JPEG", 75)(canvas)

    return alter


def _on_a_telephone(picture: Image.Image) -> Image.Image:
    """Across a black screen of 9:16 that is held upright."""
    return _on_canvas(1, max(1.0, picture.width * 16 / 9 / picture.height), (0.5, 0.5), "black")(picture)


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
    "border 10 %": (
        lambda p: _encoded("JPEG", 75)(_bordered(0.05, "white")(p)),
        lambda p: _encoded("JPEG", 50)(_bordered(0.05, "#803c28")(p)),
    ),
    "letterbox": (_on_canvas(1, 1.33, (0.5, 0.5), "black"), _on_canvas(1.33, 1, (0.5, 0.5), "black")),
    "screenshot": (_on_canvas(1.2, 1.3, (0.7, 0.3), "#f4f4f4"), _on_a_telephone),
    "mirror": (ImageOps.mirror, lambda p: _encoded("JPEG", 75)(ImageOps.mirror(p))),
}
