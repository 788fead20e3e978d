"""Every mode and orientation becomes the pixels that a viewer shows, and every fault a named refusal."""

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps, JpegImagePlugin, PngImagePlugin

from iii_client.config import Limits
from iii_client.fingerprint.decoding import DECODER_FAULTS, decode_frames, flatten, luma
from iii_client.fingerprint.frames import Refused
from iii_client.model import Decoding, Reason

LIMITS = Limits()


def encoded(image: Image.Image, pillow_format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, pillow_format, **options)
    return out.getvalue()


def decoded(data: bytes, kind: str, decoding: Decoding = Decoding.EXACT, limits: Limits = LIMITS) -> Any:
    """The first frame, flattened, and what was said about it."""
    frames = decode_frames(io.BytesIO(data), kind, decoding=decoding, max_frames=10, limits=limits)
    frame = next(frames)
    return flatten(frame.image).copy(), frame


def refusal(data: bytes, kind: str, limits: Limits = LIMITS) -> Refused:
    with pytest.raises(Refused) as caught:
        for _ in decode_frames(io.BytesIO(data), kind, decoding=Decoding.FAST, max_frames=10, limits=limits):
            pass
    return caught.value


@pytest.fixture(scope="module")
def photo(photos: list[Image.Image]) -> Image.Image:
    return photos[0].resize((300, 200))


# --- modes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "YCbCr", "RGBA", "LA", "1"])
@pytest.mark.parametrize("pillow_format", ["TIFF", "PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF"])
def test_opaque_pictures_of_every_mode_look_as_pillow_shows_them(
    photo: Image.Image, mode: str, pillow_format: str
) -> None:
    picture = photo.convert(mode)
    try:
        data = encoded(picture, pillow_format)
    except (OSError, ValueError):
        pytest.skip("this format does not hold this mode")
    flat, frame = decoded(data, pillow_format.lower())
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image.convert("RGB")).astype(int)
        grey = np.asarray(image.convert("RGB").convert("L")).astype(int)
    assert flat.mode in {"L", "RGB"}
    assert np.abs(np.asarray(flat.convert("RGB")).astype(int) - expected).max() <= 1
    assert np.abs(np.asarray(luma(frame.image)).astype(int) - grey).max() <= 1


def test_transparency_is_flattened_on_white_whatever_holds_it(photo: Image.Image) -> None:
    clear = photo.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(photo.size))
    on_white = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), clear).convert("RGB")
    for pillow_format, tolerance in (("PNG", 1), ("TIFF", 1), ("WEBP", 60)):
        flat, frame = decoded(encoded(clear, pillow_format), pillow_format.lower())
        difference = np.abs(np.asarray(flat).astype(int) - np.asarray(on_white).astype(int))
        assert difference.max() <= tolerance, pillow_format
        assert np.asarray(luma(frame.image))[0, 0] >= 250


def test_hidden_colours_under_full_transparency_are_not_looked_at() -> None:
    hidden = Image.new("RGBA", (50, 50), (255, 0, 0, 0))
    flat, _ = decoded(encoded(hidden, "PNG"), "png")
    assert flat.getextrema() == ((255, 255), (255, 255), (255, 255))


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "1"])
def test_a_transparent_colour_is_flattened_too(mode: str) -> None:
    picture = Image.new("RGB", (40, 40)).convert(mode)
    transparency = (0, 0, 0) if mode == "RGB" else 0
    flat, _ = decoded(encoded(picture, "PNG", transparency=transparency), "png")
    assert np.asarray(flat).min() == 255


def test_sixteen_bit_grey_keeps_its_upper_bits() -> None:
    ramp = (np.arange(256 * 256).reshape(256, 256)).astype(np.uint16)
    for pillow_format in ("PNG", "TIFF"):
        flat, frame = decoded(encoded(Image.fromarray(ramp), pillow_format), pillow_format.lower())
        assert np.array_equal(np.asarray(flat), ramp >> 8)
        assert np.array_equal(np.asarray(luma(frame.image)), ramp >> 8)


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_wide_grey_is_stretched_and_what_is_no_number_is_black(kind: Any) -> None:
    plane = np.linspace(-1000, 3000, 64 * 64).reshape(64, 64).astype(kind)
    if kind is np.float32:
        plane[0, 5] = np.nan
        plane[0, 6] = np.inf
    flat, _ = decoded(encoded(Image.fromarray(plane), "TIFF"), "tiff")
    pixels = np.asarray(flat)
    assert (pixels[0, 0], pixels[-1, -1]) == (0, 255)
    if kind is np.float32:
        assert (pixels[0, 5], pixels[0, 6]) == (0, 0)
    assert np.asarray(flatten(Image.fromarray(np.full((4, 4), np.nan, np.float32)))).max() == 0


def test_lab_is_looked_at_through_its_lightness() -> None:
    lab = Image.merge("LAB", [Image.linear_gradient("L")] * 3)
    flat, _ = decoded(encoded(lab, "TIFF"), "tiff")
    assert np.array_equal(np.asarray(flat), np.asarray(Image.linear_gradient("L")))


# --- orientation and reduction ------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("pillow_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_orientation_is_reported_as_pillow_would_apply_it(
    photo: Image.Image, orientation: int, pillow_format: str
) -> None:
    from iii_client.fingerprint.geometry import upright

    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photo, pillow_format, exif=exif)
    flat, frame = decoded(data, pillow_format.lower())
    with Image.open(io.BytesIO(data)) as image:
        expected = ImageOps.exif_transpose(image).convert("RGB")
    assert np.array_equal(upright(np.asarray(flat), frame.orientation), np.asarray(expected))


@pytest.mark.parametrize(
    ("size", "reduction"),
    [
        ((300, 200), 1),
        ((511, 2000), 1),
        ((512, 512), 2),
        ((1030, 1024), 4),
        ((2050, 2049), 8),
        ((5000, 300), 1),
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_fast_jpeg_is_reduced_but_never_below_256(
    photo: Image.Image, size: tuple[int, int], reduction: int, mode: str
) -> None:
    data = encoded(photo.resize(size).convert(mode), "JPEG")
    flat, frame = decoded(data, "jpeg", Decoding.FAST)
    assert frame.reduction == reduction
    assert (frame.width_px, frame.height_px) == size
    assert flat.size == (-(-size[0] // reduction), -(-size[1] // reduction))
    assert frame.drafted == (mode == "RGB" or reduction > 1)
    assert not decoded(data, "jpeg", Decoding.EXACT)[1].drafted


def test_broken_exif_does_not_hide_the_picture(photo: Image.Image) -> None:
    data = encoded(photo, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert decoded(data, "jpeg")[1].orientation == 1


XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    b"</rdf:RDF></x:xmpmeta>"
)


@pytest.mark.parametrize("pillow_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("with_exif", [False, True])
def test_xmp_does_not_turn_a_picture(photo: Image.Image, pillow_format: str, with_exif: bool) -> None:
    options: dict[str, Any] = {"xmp": XMP}
    if pillow_format == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", XMP.decode())
        options = {"pnginfo": text}
    if pillow_format == "TIFF":
        options = {"tiffinfo": {700: XMP}}
    if with_exif and pillow_format != "TIFF":
        exif = Image.Exif()
        exif[0x010E] = "a description, so that there is EXIF without an orientation"
        options["exif"] = exif
    data = encoded(photo, pillow_format, **options)
    with Image.open(io.BytesIO(data)) as image:
        assert image.getexif()[0x0112] == 6, "Pillow asks XMP, or this test proves nothing"
    flat, frame = decoded(data, pillow_format.lower())
    assert (frame.orientation, frame.width_px, flat.size) == (1, photo.width, photo.size)


def test_text_in_a_png_does_not_turn_a_picture(photo: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    block = exif.tobytes()
    profile = f"\nexif\n{len(block):8}\n{block.hex()}\n"
    for key, value in (("Raw profile type exif", profile), ("exif", block.decode("latin-1"))):
        text = PngImagePlugin.PngInfo()
        text.add_text(key, value)
        data = encoded(photo, "PNG", pnginfo=text)
        with Image.open(io.BytesIO(data)) as image:
            assert image.getexif()[0x0112] == 6, "Pillow asks it, or this test proves nothing"
        assert decoded(data, "png")[1].orientation == 1


# --- limits -------------------------------------------------------------------------------------------


def png_header(width: int, height: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("width", "height"), [(8000, 8000), (12_000, 12_000), (60_000, 60_000), (2**31 - 1, 1), (1, 70_000)]
)
@pytest.mark.parametrize("action", ["ignore", "error"])
def test_a_decompression_bomb_is_refused_from_its_header_whatever_the_warning_filter(
    width: int, height: int, action: Any
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter(action)
        assert refusal(png_header(width, height), "png").reason is Reason.TOO_MANY_PIXELS


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"}])
def test_the_canvas_of_a_webp_is_checked_before_pillow_makes_room_for_it(
    photo: Image.Image, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encoded(photo, "WEBP", **options)
    pixels = photo.width * photo.height
    assert decoded(data, "webp", limits=Limits(max_frame_pixels=pixels))[1].width_px == photo.width
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("it was opened"))
    assert refusal(data, "webp", Limits(max_frame_pixels=pixels - 1)).reason is Reason.TOO_MANY_PIXELS


def test_every_page_of_a_tiff_is_checked_not_only_the_first(photo: Image.Image) -> None:
    data = encoded(photo, "TIFF", save_all=True, append_images=[photo.resize((900, 900)), photo])
    assert refusal(data, "tiff", Limits(max_frame_pixels=500_000)).reason is Reason.TOO_MANY_PIXELS


def test_frames_between_the_sampled_ones_count_where_they_must_be_decoded(photo: Image.Image) -> None:
    frames = [photo.rotate(i) for i in range(1, 30)]
    limits = Limits(max_total_pixels=10 * photo.width * photo.height)
    for kind, pillow_format in (("gif", "GIF"), ("webp", "WEBP"), ("png", "PNG")):
        data = encoded(photo, pillow_format, save_all=True, append_images=frames)
        assert refusal(data, kind, limits).reason is Reason.TOO_MANY_PIXELS, kind
    pages = encoded(photo, "TIFF", save_all=True, append_images=frames)  # these stand alone
    seen = list(
        decode_frames(io.BytesIO(pages), "tiff", decoding=Decoding.FAST, max_frames=10, limits=limits)
    )
    assert [frame.index for frame in seen] == [0, 3, 6, 10, 13, 16, 19, 23, 26, 29]


def test_a_gif_frame_that_outgrows_the_canvas_is_refused() -> None:
    data = bytearray(encoded(Image.new("P", (10, 10)), "GIF", save_all=True))
    second = b",\0\0\0\0" + struct.pack("<HH", 60_000, 60_000) + b"\0\x02\x02\x4c\x01\0"
    grown = bytes(data[:-1]) + second + second + b";"
    assert refusal(grown, "gif").reason is Reason.TOO_MANY_PIXELS


def test_no_global_of_pillow_is_touched(photo: Image.Image) -> None:
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters), list(Image.ID))
    for kind in ("jpeg", "png", "gif"):
        decoded(encoded(photo, kind.upper()), kind, Decoding.FAST)
    after = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters), list(Image.ID))
    assert before[:3] == after[:3]


# --- faults -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "gif", "bmp", "tiff"])
def test_a_cut_file_is_truncated_or_undecodable_never_a_picture(photo: Image.Image, kind: str) -> None:
    data = encoded(photo, kind.upper())
    for share in (0.2, 0.5, 0.9):
        assert refusal(data[: int(len(data) * share)], kind).reason in {
            Reason.TRUNCATED,
            Reason.DECODE_FAILED,
        }
    assert refusal(data[: len(data) // 2], kind).reason is Reason.TRUNCATED


@pytest.mark.parametrize(
    "fault", [*DECODER_FAULTS, struct.error, zlib.error, NotImplementedError, RecursionError]
)
def test_whatever_pillow_raises_is_a_refusal(
    photo: Image.Image, fault: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(self: object) -> None:
        raise fault("broken")

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", load)
    assert refusal(encoded(photo, "JPEG"), "jpeg").reason in {
        Reason.DECODE_FAILED,
        Reason.TRUNCATED,
        Reason.TOO_MANY_PIXELS,
    }


def test_raw_camera_files_are_not_judged_by_their_thumbnail(photo: Image.Image) -> None:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    for tags in ({50706: b"\1\4\0\0"}, {254: 1, 330: 8}):
        directory = ImageFileDirectory_v2()
        for tag, value in tags.items():
            directory.tagtype[tag] = 1 if isinstance(value, bytes) else 4
            directory[tag] = value
        data = encoded(photo, "TIFF", tiffinfo=directory)
        assert refusal(data, "tiff").reason is Reason.FORMAT_NOT_SUPPORTED


def test_both_pictures_of_an_mpo_are_looked_at(photo: Image.Image, tmp_path: Path) -> None:
    path = tmp_path / "pair.jpg"
    large = photo.resize((1200, 800))
    large.save(path, "MPO", save_all=True, append_images=[ImageOps.invert(large)])
    stream = io.BytesIO(path.read_bytes())
    frames = [
        (frame.index, frame.reduction, np.asarray(luma(frame.image)).mean())
        for frame in decode_frames(stream, "jpeg", decoding=Decoding.FAST, max_frames=10, limits=LIMITS)
    ]
    assert [(index, reduction) for index, reduction, _ in frames] == [(0, 2), (1, 1)]
    assert frames[0][2] + frames[1][2] == pytest.approx(255, abs=3)
