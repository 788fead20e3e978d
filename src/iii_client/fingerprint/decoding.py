"""Decoding: a stream of a known kind in, the sampled frames out, as Pillow images that are safe to load.

Promises: only formats of the allow-list, only the one that the signature names; the size of every frame
is checked against the limits before its pixels are decoded, independently of Pillow's own global limit
and of the process's warning filters; no global of Pillow is touched; whatever Pillow raises for a broken
file becomes `Refused` with a reason.

Pixels become luma or RGB as follows. Transparency is flattened on white, the page colour of nearly every
place where a picture is shown. Palette, CMYK, YCbCr and 1-bit pictures are converted; of CIE L*a*b* the L
plane is taken; 16-bit grey keeps its upper 8 bits; 32-bit integer and float grey is stretched from its
smallest to its largest finite value (the hashes ignore contrast). Colour profiles are ignored.
"""

import contextlib
import os
import struct
import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageFile

from iii_client.config import Limits
from iii_client.fingerprint.frames import (
    MIN_FRAME_COST_PX,
    PixelBudget,
    Refused,
    count_gif_frames,
    count_tiff_pages,
    sample_indices,
)
from iii_client.fingerprint.jpeg import count_scans
from iii_client.fingerprint.metering import metered
from iii_client.model import Decoding, Reason

#: Our names of the formats that are decoded, and Pillow's.
PILLOW_FORMATS = {
    "jpeg": "JPEG",
    "png": "PNG",
    "webp": "WEBP",
    "gif": "GIF",
    "bmp": "BMP",
    "tiff": "TIFF",
    "avif": "AVIF",
}

#: What Pillow raises for a broken file, by name, because it has no common base: I/O and truncation
#: (OSError with UnidentifiedImageError, EOFError), parsing (SyntaxError, struct.error, LookupError,
#: ValueError with UnicodeDecodeError, TypeError, AttributeError, AssertionError), sizes (ArithmeticError
#: with OverflowError, MemoryError, BufferError, DecompressionBombError), codecs (zlib.error, RuntimeError
#: with NotImplementedError and RecursionError), and any warning where the process turns them into errors.
DECODER_FAULTS = (
    OSError,
    EOFError,
    SyntaxError,
    struct.error,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    MemoryError,
    BufferError,
    Image.DecompressionBombError,
    zlib.error,
    RuntimeError,
    Warning,
)

#: A JPEG is never read at a scale that leaves fewer pixels than this on its shorter side. At 256 the drift
#: of PDQ against the full picture is 0.7 bits on average and at most 2 to 4; at 128 up to 10 (measured).
DRAFT_MIN_SIDE_PX = 256

#: Formats whose frames do not build on each other: seeking to one decodes none on the way.
_STANDALONE_FRAMES = {"TIFF", "MPO"}

_BACKGROUND = "white"
_TIFF_SUBFILE_TYPE, _TIFF_SUB_IFDS, _TIFF_DNG_VERSION = 254, 330, 50706


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedFrame:
    """One loaded frame.

    Attributes:
        index: position in the file, from 0.
        count: frames in the file.
        width_px, height_px: full size as stored, before orientation.
        orientation: EXIF orientation, 1 to 8.
        reduction: scale at which the decoder read it: 1, 2, 4 or 8.
        drafted: whether the decoder left something out (colour or pixels) that EXACT would want.
        image: the pixels. Valid until the next frame is asked for.
    """

    index: int
    count: int
    width_px: int
    height_px: int
    orientation: int
    reduction: int
    drafted: bool
    image: Image.Image


def decode_frames(
    stream: BinaryIO, kind: str, *, decoding: Decoding, max_frames: int, limits: Limits
) -> Generator[DecodedFrame, None, None]:
    """The sampled frames of a picture, in order.

    Args:
        stream: seekable, of at most `limits.max_picture_bytes`.
        kind: one of `PILLOW_FORMATS`, as sniffed.

    Raises:
        Refused: the picture, or the frame that would be next, is broken or over a limit. Frames already
            given stay good.
    """
    budget = PixelBudget(limits)
    with refusing(), contextlib.ExitStack() as opened:
        count = _count_ahead(stream, kind, budget)
        stream = metered(stream)
        image = opened.enter_context(_open(stream, kind, budget))
        count = count or int(getattr(image, "n_frames", 1))
        budget.spend(*image.size)
        _check_scans(image, stream, budget)
        draft = kind == "jpeg" and decoding is Decoding.FAST
        yield _load(image, 0, count, draft=draft)
        if count > 1 and draft:  # a draft cannot be taken back
            image = opened.enter_context(_open(stream, kind, budget))
        at = 0
        for index in sample_indices(count, max_frames)[1:]:
            for step in range(index if image.format in _STANDALONE_FRAMES else at + 1, index + 1):
                image.seek(step)  # decodes the frame before it, which is paid for
                budget.spend(*image.size, at_least=MIN_FRAME_COST_PX)
            at = index
            _check_scans(image, stream, budget)
            yield _load(image, index, count, draft=False)


def flatten(image: Image.Image) -> Image.Image:
    """A loaded picture as `L` or `RGB`, as the module says."""
    if image.mode in {"I", "F"}:
        return _stretched(image)
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        return _on_background(image.convert("RGBA"))
    if image.mode in {"L", "RGB"}:
        return image
    if image.mode == "1":
        return image.convert("L")
    return image.getchannel(0) if image.mode == "LAB" else image.convert("RGB")


def luma(image: Image.Image) -> Image.Image:
    """A loaded picture as `L`."""
    # Pillow goes from a palette to grey in one step; the values are those of the way over RGB.
    direct = image.mode in {"P", "YCbCr"} and not image.has_transparency_data
    plain = image if direct else flatten(image)
    return plain if plain.mode == "L" else plain.convert("L")


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """Turn what Pillow raises for a broken file into `Refused`."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Refused(Reason.TOO_MANY_PIXELS, "over the decoder's own limit") from error
    except DECODER_FAULTS as error:
        cut = isinstance(error, (EOFError, struct.error)) or "truncated" in str(error).lower()
        raise Refused(Reason.TRUNCATED if cut else Reason.DECODE_FAILED, type(error).__name__) from error


def _open(stream: BinaryIO, kind: str, budget: PixelBudget) -> ImageFile.ImageFile:
    stream.seek(0)
    if kind == "webp":
        _check_webp(stream, budget)
    image = Image.open(stream, formats=(PILLOW_FORMATS[kind],))
    if image.format == "TIFF":
        _check_tiff(image)
    return image


def _load(image: ImageFile.ImageFile, index: int, count: int, *, draft: bool) -> DecodedFrame:
    size, mode = image.size, image.mode
    if draft:
        image.draft("L", (DRAFT_MIN_SIDE_PX, DRAFT_MIN_SIDE_PX))
    reduction = round(size[0] / image.size[0])
    drafted = image.mode != mode or reduction > 1
    image.info.pop("xmp", None)  # or the orientation that it claims is applied to a TIFF
    image.load()
    # Pillow itself applies the orientation of a TIFF while loading, which changes its size.
    width, height = size if drafted else image.size
    return DecodedFrame(
        index=index,
        count=count,
        width_px=width,
        height_px=height,
        orientation=_orientation(image),
        reduction=reduction,
        drafted=drafted,
        image=image,
    )


def _count_ahead(stream: BinaryIO, kind: str, budget: PixelBudget) -> int:
    """Frames of a file in which Pillow would have to walk or parse them all; 0 for the other formats."""
    if kind == "gif":
        return count_gif_frames(stream, budget.most_frames)
    return count_tiff_pages(stream) if kind == "tiff" else 0


def _orientation(image: ImageFile.ImageFile) -> int:
    """The orientation of the EXIF block alone.

    Pillow's `getexif` also asks XMP and text, which no browser does: one edit of them would turn the picture
    for us and for nobody else. A TIFF was turned by Pillow while loading.
    """
    block = image.info.get("exif")
    text = getattr(image, "text", {}).get("exif", "")  # a PNG text of this name goes for EXIF in Pillow
    if image.format == "TIFF" or not isinstance(block, bytes) or block == text.encode("latin-1", "ignore"):
        return 1
    exif = Image.Exif()
    try:
        exif.load(block)
        orientation = exif.get(ExifTags.Base.Orientation, 1)
    except DECODER_FAULTS:  # broken EXIF in a picture that every browser shows
        return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def _on_background(rgba: Image.Image) -> Image.Image:
    alpha = rgba.getchannel("A")
    if alpha.getextrema()[0] == 255:
        return rgba.convert("RGB")
    flat = Image.new("RGB", rgba.size, _BACKGROUND)
    flat.paste(rgba, mask=alpha)
    return flat


def _stretched(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        return Image.new("L", image.size)
    low, high = values[finite].min(), values[finite].max()
    scaled = np.where(finite, values - low, 0) * (255 / max(high - low, np.finfo(np.float64).tiny))
    return Image.fromarray(np.clip(scaled, 0, 255).astype(np.uint8))


def _check_scans(image: ImageFile.ImageFile, stream: BinaryIO, budget: PixelBudget) -> None:
    if image.format in {"JPEG", "MPO"}:
        scans = count_scans(stream, image.tile[0].offset, budget.most_scans(*image.size))
        budget.spend_scans(scans, *image.size)


def _check_webp(stream: BinaryIO, budget: PixelBudget) -> None:
    """Pillow reads a WebP whole and makes room for its canvas on opening, so both are checked before."""
    head = stream.read(30)
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    if len(head) < 30 or size < int.from_bytes(head[4:8], "little") + 8:
        raise Refused(Reason.TRUNCATED, "shorter than its header says")
    budget.check(*_webp_size(head))


def _webp_size(head: bytes) -> tuple[int, int]:
    """Width and height of the canvas (https://developers.google.com/speed/webp/docs/riff_container)."""
    if head[12:16] == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF


def _check_tiff(image: ImageFile.ImageFile) -> None:
    """Raw camera files are TIFFs whose first page is a thumbnail; looking at that is not looking."""
    tags = getattr(image, "tag_v2", {})
    reduced_page = int(tags.get(_TIFF_SUBFILE_TYPE, 0)) & 1
    if _TIFF_DNG_VERSION in tags or (reduced_page and _TIFF_SUB_IFDS in tags):
        raise Refused(Reason.FORMAT_NOT_SUPPORTED, "a raw camera file")
