"""Everything that decoding may load, loaded ahead: a worker can open no file any more."""

import io
from collections.abc import Callable, Iterator
from typing import Any

from PIL import AvifImagePlugin, Image

from iii_client.config import Limits
from iii_client.fingerprint.pixels import look_at
from iii_client.fingerprint.registry import EXACT, FAST
from iii_client.fingerprint.sniffing import HEAD_BYTES, sniff

#: A picture that takes every step of the usual way, in under a millisecond.
_REHEARSED_SIDE_PX = 96

#: Every decoder with a code path of its own that loads something.
_SAVED_AS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("JPEG", "RGB", {}),
    ("JPEG", "RGB", {"progressive": True}),
    ("JPEG", "CMYK", {}),
    ("MPO", "RGB", {"save_all": True}),
    ("PNG", "RGBA", {}),
    ("PNG", "P", {"save_all": True}),
    ("PNG", "I;16", {}),
    ("GIF", "P", {"save_all": True}),
    ("WEBP", "RGB", {"save_all": True}),
    ("WEBP", "RGBA", {"lossless": True}),
    ("BMP", "RGB", {}),
    ("TIFF", "RGB", {"save_all": True}),
    ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    ("TIFF", "RGB", {"compression": "jpeg"}),
    ("TIFF", "F", {}),
    ("AVIF", "RGB", {"save_all": True}),
)


def load_decoders() -> None:
    """Load all decoders that this Pillow has, by using them."""
    # A worker may start no thread, so the one decoder that would is told not to. This process is ours.
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    Image.init()
    for data in _samples():
        for recipe in (FAST, EXACT):
            _look(data, recipe)
    _look(b"\xff\xd8\xff\xe0 broken", FAST)  # what is raised for a broken file is loaded too


def make_rehearsal() -> Callable[[], None]:
    """Something that looks at a small picture."""
    data = _encoded("JPEG", "RGB", {})
    return lambda: _look(data, FAST)


def _look(data: bytes, recipe: Any) -> None:
    look_at(io.BytesIO(data), sniff(data[:HEAD_BYTES]).name, recipe=recipe, limits=Limits())


def _samples() -> Iterator[bytes]:
    for pillow_format, mode, options in _SAVED_AS:
        if (
            pillow_format in Image.SAVE
        ):  # a Pillow that was built without a library has no such decoder either
            try:
                yield _encoded(pillow_format, mode, options)
            except (OSError, ValueError):  # built without this compression
                continue


def _encoded(pillow_format: str, mode: str, options: dict[str, Any]) -> bytes:
    side = _REHEARSED_SIDE_PX
    picture = Image.radial_gradient("L").resize((side, side)).convert("I" if mode == "I;16" else mode)
    picture = picture.convert(mode)
    if "save_all" in options:
        options = {**options, "append_images": [picture.rotate(90), picture.rotate(180)]}
    encoded = io.BytesIO()
    picture.save(encoded, pillow_format, **options)
    return encoded.getvalue()
