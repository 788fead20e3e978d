"""Everything that decoding may load, loaded ahead: a worker can open no file any more."""

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import AvifImagePlugin, Image

from iii_client.config import Limits
from iii_client.fingerprint.isolation.answers import pack_answer
from iii_client.fingerprint.isolation.questions import NONCE_BYTES, Question, pack_question, read_question
from iii_client.fingerprint.pixels import look_at
from iii_client.fingerprint.registry import EXACT, FAST
from iii_client.fingerprint.sniffing import HEAD_BYTES, sniff

#: Side of the picture of a rehearsal: takes every step of the usual way, in a millisecond.
_REHEARSED_SIDE_PX = 256
#: Side of the pictures that load the decoders.
_SIDE_PX = 96

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
    """Something that goes the whole way of a usual picture, from the question to the packed answer."""
    encoded = io.BytesIO()
    _picture_of_waves(_REHEARSED_SIDE_PX).save(encoded, "JPEG")
    picture = encoded.getvalue()
    asked = pack_question(
        Question(nonce=bytes(NONCE_BYTES), kind="jpeg", size_bytes=len(picture), recipe=FAST, limits=Limits())
    )

    def rehearse() -> None:
        question = read_question(io.BytesIO(asked).read)
        assert question is not None  # noqa: S101 - it was written three lines above
        pack_answer(
            look_at(io.BytesIO(picture), question.kind, recipe=question.recipe, limits=question.limits),
            question,
        )

    return rehearse


def _picture_of_waves(side: int) -> Image.Image:
    """Detail enough that no gate sends it another way than a photograph."""
    x = np.linspace(0, 1, side)
    crests = ((3, 7), (11, 5), (19, 23), (37, 31))
    waves = np.sum([np.outer(np.sin(a * x + b), np.cos(b * x + a)) for a, b in crests], axis=0)
    return Image.fromarray(((waves - waves.min()) / np.ptp(waves) * 255).astype(np.uint8)).convert("RGB")


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
    side = _SIDE_PX
    picture = Image.radial_gradient("L").resize((side, side)).convert("I" if mode == "I;16" else mode)
    picture = picture.convert(mode)
    if "save_all" in options:
        options = {**options, "append_images": [picture.rotate(90), picture.rotate(180)]}
    encoded = io.BytesIO()
    picture.save(encoded, pillow_format, **options)
    return encoded.getvalue()
