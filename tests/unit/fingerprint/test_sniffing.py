"""The signature table routes every kind to its standing, and text is never taken for a picture."""

import io

import pytest
from PIL import Image

from iii_client.fingerprint.sniffing import UNKNOWN, Standing, sniff


def ftyp(major: bytes, *compatible: bytes) -> bytes:
    body = b"ftyp" + major + b"\0\0\0\0" + b"".join(compatible)
    return (len(body) + 4).to_bytes(4) + body + b"\0\0\0\x08free"


def saved(pillow_format: str, mode: str = "RGB", size: tuple[int, int] = (32, 32)) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size).save(out, pillow_format)
    return out.getvalue()


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_what_pillow_writes_in_an_allowed_format_is_decoded(name: str) -> None:
    kind = sniff(saved(name)[:1024])
    assert (kind.name, kind.standing) == (name.lower(), Standing.DECODED)


@pytest.mark.parametrize("name", ["ICO", "JPEG2000", "DDS", "PPM", "QOI", "ICNS"])
def test_recognisable_pictures_of_other_formats_are_not_supported(name: str) -> None:
    assert sniff(saved(name)[:1024]).standing is Standing.NOT_SUPPORTED


@pytest.mark.parametrize(
    ("head", "name", "standing"),
    [
        (ftyp(b"avif", b"mif1", b"miaf"), "avif", Standing.DECODED),
        (ftyp(b"mif1", b"miaf", b"avif"), "avif", Standing.DECODED),
        (ftyp(b"heic", b"mif1"), "heic", Standing.NOT_ENABLED),
        (ftyp(b"mif1", b"heic"), "heic", Standing.NOT_ENABLED),
        (ftyp(b"msf1", b"hevc"), "heic", Standing.NOT_ENABLED),
        (ftyp(b"mif1", b"miaf"), "heif", Standing.NOT_ENABLED),
        (ftyp(b"isom", b"mp42"), "mp4", Standing.NOT_A_PICTURE),
        (b"\xff\x0a\xfa\x7f", "jxl", Standing.NOT_SUPPORTED),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "jxl", Standing.NOT_SUPPORTED),
        (b"8BPS\0\x01" + bytes(20), "psd", Standing.NOT_SUPPORTED),
        (b"II*\0\x10\0\0\0CR\x02\0", "cr2", Standing.NOT_SUPPORTED),
        (b'<?xml version="1.0"?>\n<!-- x -->\n<svg xmlns="">', "svg", Standing.NOT_ENABLED),
        ("\ufeff<?xml version='1.0'?><svg>".encode("utf-16-le"), "svg", Standing.NOT_ENABLED),
        ("\ufeff<svg>".encode("utf-16-be"), "svg", Standing.NOT_ENABLED),
        (b"<?xml version='1.0'?>\n<!--" + b"x" * 1024, "svg", Standing.NOT_ENABLED),
        (b"<!-- a --> <!-- b -->" + b" " * 1024, "svg", Standing.NOT_ENABLED),
        (b"<!DOCTYPE svg PUBLIC '-//W3C//DTD SVG 1.1//EN' [" + b" " * 1024, "svg", Standing.NOT_ENABLED),
        (b"/* XPM */\nstatic char *x[] = {", "xpm", Standing.NOT_SUPPORTED),
        (ftyp(b"crx ", b"isom"), "cr3", Standing.NOT_SUPPORTED),
        (ftyp(b"qt  "), "mp4", Standing.NOT_A_PICTURE),
        (ftyp(b"M4A ", b"new1"), "mp4", Standing.NOT_A_PICTURE),
        (ftyp(b"new1", b"new2"), "isomedia", Standing.NOT_SUPPORTED),
        (b"\xef\xbb\xbf <svg>", "svg", Standing.NOT_ENABLED),
        (b"%PDF-1.7", "pdf", Standing.NOT_A_PICTURE),
        (b"PK\x03\x04rest", "zip", Standing.NOT_A_PICTURE),
        (b"7z\xbc\xaf\x27\x1c", "7z", Standing.NOT_A_PICTURE),
        (b"\x1a\x45\xdf\xa3", "matroska", Standing.NOT_A_PICTURE),
        (b"RIFF\x10\0\0\0WAVEfmt ", "wav", Standing.NOT_A_PICTURE),
    ],
)
def test_kind_by_signature(head: bytes, name: str, standing: Standing) -> None:
    kind = sniff(head)
    assert (kind.name, kind.standing) == (name, standing)


FILM_THEN_AVIF = b"isom\0\0\0\0mp42avif"


@pytest.mark.parametrize(
    "head",
    [
        (1).to_bytes(4) + b"ftyp" + (32).to_bytes(8) + b"isom\0\0\0\0mp42avif",
        (1).to_bytes(4) + b"ftyp" + (5000).to_bytes(8) + b"isom\0\0\0\0mp42" + bytes(1000),
        (0).to_bytes(4) + b"ftyp" + FILM_THEN_AVIF,
        (7).to_bytes(4) + b"ftyp" + FILM_THEN_AVIF,
        (23).to_bytes(4) + b"ftyp" + FILM_THEN_AVIF,
        (2**32 - 1).to_bytes(4) + b"ftyp" + FILM_THEN_AVIF,
        ftyp(b"isom", *[b"mp42"] * 300, b"avif")[:1024],
        ftyp(b"mif1", *[b"miaf"] * 300, b"avif")[:1024],
        b"\0\0\0\x18ftyp",
    ],
)
def test_where_not_all_brands_can_be_read_the_avif_decoder_has_the_last_word(head: bytes) -> None:
    assert sniff(head) == sniff(saved("AVIF"))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"B",
        b"BMW is a maker of cars, and a long text about them follows here.",
        b"P5 is a chapter. P6 is another.",
        b"II* and MM* are no headers",
        b"GIF89 misses a letter",
        b"RIFF raff, and WEBP later",
        b"<?xml version='1.0'?><rss>no drawing here</rss>",
        b"<html><body>an <svg> inside a page</body></html>",
        b"<!-- a comment, and the file ends",
        b"<!-- a comment --><html>" + b" " * 1024,
        b"<!DOCTYPE html><body><svg>" + b" " * 1024,
        "\ufeff<html>".encode("utf-16-le") + b" \0" * 600,
        b"\xff\xd8 is not enough for a JPEG",
        b"\0\0\x01\0\0\0",
    ],
)
def test_text_and_scraps_are_unknown(text: bytes) -> None:
    assert sniff(text).name == UNKNOWN
    assert sniff(text).standing is Standing.NOT_A_PICTURE
