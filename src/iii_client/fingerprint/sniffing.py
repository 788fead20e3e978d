"""Type by content: a small signature table that only routes; the decoder has the last word.

Four standings: decoded here; a format whose extra is not installed; a recognisable picture that this
version does not decode; not a picture. A wrong routing can lead to "could not look", never to "nothing
found in a picture": what carries a picture's signature is a picture, whatever the decoder says.
"""

import re
from dataclasses import dataclass
from enum import Enum

#: What `sniff` wants to see of the start of a file.
HEAD_BYTES = 1024

#: Kind of a file with no signature we know (text among them).
UNKNOWN = "unknown"


class Standing(Enum):
    """What is done with a kind."""

    DECODED = "decoded"
    NOT_ENABLED = "not enabled"
    NOT_SUPPORTED = "not supported"
    NOT_A_PICTURE = "not a picture"


@dataclass(frozen=True, slots=True)
class Kind:
    """A type found in the content: our name, and what is done with it."""

    name: str
    standing: Standing


def sniff(head: bytes) -> Kind:
    """The kind of a file from its first `HEAD_BYTES` bytes (fewer if it is shorter)."""
    for signature, name, standing in _SIGNATURES:
        if signature.match(head):
            return Kind(name, standing)
    if head[4:8] == b"ftyp":
        return _sniff_iso_media(head)
    if _is_svg(head):
        return Kind("svg", Standing.NOT_ENABLED)
    return Kind(UNKNOWN, Standing.NOT_A_PICTURE)


#: Brands of the first box of ISO media (https://mp4ra.org/registered-types/brands).
_AVIF = {b"avif", b"avis"}
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_HEIF = {b"mif1", b"mif2", b"msf1", b"miaf", b"avci", b"avcs", b"jpeg", b"jpgs", b"j2ki", b"j2is", b"vvic"}
_RAW = {b"crx "}
_FILM = re.compile(
    rb"iso[m2-9a-c]|mp4[12]|mp71|avc1|hvc1|hev1|av01|M4[ABPV] |M4V[HP]|qt  |3g[2eghprs][0-9a-f]"
    rb"|[Ff]4[ABPVabpv] |mmp4|MSNV|nd[a-z]{2}|XAVC|da[ms]h|dsms|msdh|MSDH|cmf[2cfl]|piff|isml|dby1|mqt |kddi",
    re.DOTALL,
)


def _sniff_iso_media(head: bytes) -> Kind:
    """AVIF, HEIC and MP4 share a container; the brands in its first box tell them apart.

    Where not all of them can be read, the decoder is asked: who writes the box decides where it ends, and a
    picture must not pass as a film because its brand comes last.
    """
    size, at = int.from_bytes(head[:4]), 8
    if size == 1:  # the true size follows in 64 bits
        size, at = int.from_bytes(head[8:16]), 16
    brands = {head[at : at + 4], *(head[i : i + 4] for i in range(at + 8, min(size, len(head)) - 3, 4))}
    complete = at + 8 <= size <= len(head) and size % 4 == 0
    if brands & _AVIF or not complete:
        return Kind("avif", Standing.DECODED)
    if brands & _HEIC:
        return Kind("heic", Standing.NOT_ENABLED)
    if brands & _HEIF:
        return Kind("heif", Standing.NOT_ENABLED)
    if brands & _RAW:
        return Kind("cr3", Standing.NOT_SUPPORTED)
    if any(_FILM.fullmatch(brand) for brand in brands):
        return Kind("mp4", Standing.NOT_A_PICTURE)
    return Kind("isomedia", Standing.NOT_SUPPORTED)


_SVG_ROOT = re.compile(r"<svg[\s>:/]|<!DOCTYPE\s+svg")
_XML_PROLOGUE = (("<?", "?>"), ("<!--", "-->"))


def _is_svg(head: bytes) -> bool:
    """Whether it begins as a drawing, or as XML whose prologue is longer than what we see."""
    encoding = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}.get(head[:2], "utf-8")
    text = head.decode(encoding, "ignore").lstrip("\ufeff").lstrip()
    if not text.startswith(("<svg", "<?xml", "<!--", "<!DOCTYPE")):
        return False
    if (root := _SVG_ROOT.search(text)) is not None:
        return root.start() == 0 or text.startswith(("<?xml", "<!--"))
    return len(head) >= HEAD_BYTES and _is_prologue(text)


def _is_prologue(text: str) -> bool:
    while text := text.lstrip():
        for opening, closing in _XML_PROLOGUE:
            if text.startswith(opening):
                _, ended, text = text.partition(closing)
                if not ended:
                    return True
                break
        else:
            return "<!DOCTYPE svg".startswith(text) or "<svg".startswith(text)  # cut off within
    return True


def _table(standing: Standing, **patterns: bytes) -> list[tuple[re.Pattern[bytes], str, Standing]]:
    return [(re.compile(pattern, re.DOTALL), name, standing) for name, pattern in patterns.items()]


#: Tried in order, at the start of the file. Two-byte magics are too weak alone ("BM" starts many a text),
#: so theirs include the next fields that must make sense.
_SIGNATURES = [
    *_table(
        Standing.NOT_SUPPORTED,
        cr2=rb"II\*\0....CR",
    ),
    *_table(
        Standing.DECODED,
        jpeg=rb"\xff\xd8\xff",
        png=rb"\x89PNG\r\n\x1a\n",
        gif=rb"GIF8[79]a",
        webp=rb"RIFF....WEBP",
        tiff=rb"II[\x2a\x2b]\0|MM\0[\x2a\x2b]",
        bmp=rb"BM.{12}[\x0c-\x7c]\0\0\0",  # the length of a known header at 14
    ),
    *_table(
        Standing.NOT_SUPPORTED,
        jxl=rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n",
        jp2=rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
        psd=rb"8BP[SB]\0[\x01\x02]",
        ico=rb"\0\0[\x01\x02]\0.[\0\x01]...\0",  # a count below 512, and the reserved byte of the first entry
        icns=rb"icns",
        dds=rb"DDS \x7c",
        qoi=rb"qoif",
        exr=rb"\x76\x2f\x31\x01",
        hdr=rb"#\?R(ADIANC|GB)E",
        pnm=rb"P[1-6]\s+(#[^\n]*\n\s*)*\d+\s+\d+\s|P7\nWIDTH ",
        jxr=rb"II\xbc[\0\x01]",
        mng=rb"[\x8a\x8b][MJ]NG\r\n\x1a\n",
        flif=rb"FLIF",
        bpg=rb"BPG\xfb",
        xcf=rb"gimp xcf",
        farbfeld=rb"farbfeld",
        xpm=rb"\s*/\* XPM \*/",
    ),
    *_table(
        Standing.NOT_A_PICTURE,
        pdf=rb"%PDF-",
        zip=rb"PK(\x03\x04|\x05\x06|\x07\x08)",
        gzip=rb"\x1f\x8b\x08",
        bzip2=rb"BZh[1-9]",
        xz=rb"\xfd7zXZ\0",
        zstd=rb"\x28\xb5\x2f\xfd",
        rar=rb"Rar!\x1a\x07",
        tar=rb".{257}ustar",
        avi=rb"RIFF....AVI ",
        wav=rb"RIFF....WAVE",
        matroska=rb"\x1a\x45\xdf\xa3",
        ogg=rb"OggS",
        flac=rb"fLaC",
        mp3=rb"ID3[\x02-\x04]",
        mpeg=rb"\0\0\x01[\xb3\xba]",
        flv=rb"FLV\x01",
        ole=rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        elf=rb"\x7fELF",
        sqlite=rb"SQLite format 3\0",
    ),
]
# "7z" is no keyword argument.
_SIGNATURES += [(re.compile(rb"7z\xbc\xaf\x27\x1c"), "7z", Standing.NOT_A_PICTURE)]
