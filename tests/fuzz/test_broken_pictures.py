"""Random and mutated bytes of every format: nothing raises, and no broken picture passes as looked at."""

import io
import os
import random
import warnings
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from iii_client.config import Limits
from iii_client.content import Content
from iii_client.fingerprint import RECIPES, FingerprintBuilder, build_fingerprint
from iii_client.fingerprint.sniffing import Standing, sniff
from iii_client.model import UNSCANNABLE_REASONS, Fingerprint, Reason

#: Mutations of each file in the default suite; III_FUZZ_ROUNDS=5000 for a longer run.
ROUNDS = int(os.environ.get("III_FUZZ_ROUNDS", "60"))
LIMITS = Limits(max_frame_pixels=4_000_000, max_total_pixels=16_000_000)
HEADS = [
    b"\xff\xd8\xff\xe0",
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a",
    b"RIFF\x40\0\0\0WEBPVP8X",
    b"II*\0\x08\0\0\0",
    b"MM\0*\0\0\0\x08",
    b"BM" + bytes(12) + b"\x28\0\0\0",
    b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf",
    b"",
]


def encoded(image: Image.Image, pillow_format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.copy().save(out, pillow_format, **options)  # a copy: saving leaves settings behind in the picture
    return out.getvalue()


def picture() -> Image.Image:
    noise = Image.frombytes("RGB", (96, 64), random.Random(3).randbytes(96 * 64 * 3))
    return Image.blend(noise, Image.linear_gradient("L").resize((96, 64)).convert("RGB"), 0.7)


def samples() -> dict[str, bytes]:
    still, turned = picture(), picture().rotate(30)
    made = {
        "jpeg": encoded(still, "JPEG", quality=85),
        "progressive jpeg": encoded(still, "JPEG", progressive=True),
        "cmyk jpeg": encoded(still.convert("CMYK"), "JPEG"),
        "mpo": encoded(still, "MPO", save_all=True, append_images=[turned.copy()]),
        "png": encoded(still, "PNG"),
        "palette png": encoded(still.quantize(16), "PNG", transparency=3),
        "bmp": encoded(still, "BMP"),
    }
    for name in ("PNG", "GIF", "WEBP", "TIFF", "AVIF"):
        made[f"animated {name}"] = encoded(
            still, name, save_all=True, append_images=[turned.copy() for _ in range(3)]
        )
    for compression in ("tiff_lzw", "jpeg", "tiff_adobe_deflate"):
        made[f"TIFF {compression}"] = encoded(still, "TIFF", compression=compression)
    return made


SAMPLES = samples()


def looked_at(data: bytes) -> Fingerprint:
    """The fingerprint, checked for what must hold whatever the bytes are."""
    found = build_fingerprint(Content.from_bytes(data), recipe=RECIPES["fast"], limits=LIMITS)
    assert len(found.digests) == 3
    # Three a frame, and PDQ's two again where a frame has a plain border to trim.
    whole = [one for one in found.perceptual if not one.trimmed]
    assert len(whole) == 3 * len(found.frames)
    assert len(found.perceptual) - len(whole) in range(0, 2 * len(found.frames) + 1, 2)
    kind = sniff(data[:1024])
    assert found.kind == kind.name
    reasons = {skipped.reason for skipped in found.skipped}
    if not found.frames:
        assert reasons, "nothing was decoded, and nothing says so"
    if kind.standing is Standing.DECODED:
        assert Reason.NOT_A_PICTURE not in reasons
        assert found.frames or reasons & UNSCANNABLE_REASONS
    return found


@pytest.fixture(autouse=True)
def quiet() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("name", SAMPLES)
def test_the_samples_themselves_are_looked_at_in_full(name: str) -> None:
    assert looked_at(SAMPLES[name]).skipped == ()


@pytest.mark.parametrize("name", SAMPLES)
def test_mutated_files_never_raise(name: str) -> None:
    original, chance = SAMPLES[name], random.Random(name)
    for _ in range(ROUNDS):
        data = bytearray(original)
        for _ in range(chance.choice((1, 2, 4, 16))):
            at = chance.randrange(min(len(data), chance.choice((64, 512, len(data)))))
            data[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        if chance.random() < 0.2:
            start = chance.randrange(len(data))
            del data[start : start + chance.randrange(64)]
        looked_at(bytes(data))


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_cut_anywhere_is_never_looked_at_in_full(name: str) -> None:
    """Up to the last bytes, which hold what no pixel needs (an end marker, a checksum, an index)."""
    data = SAMPLES[name]
    tail = {
        "png": 24,
        "palette png": 24,
        "animated PNG": 24,
        "jpeg": 2,
        "progressive jpeg": 2,
        "cmyk jpeg": 2,
    }
    chance = random.Random(name)
    for _ in range(ROUNDS // 2):
        length = chance.randrange(1, len(data) - tail.get(name, 2))
        found = looked_at(data[:length])
        assert found.skipped or not lost(name, data, length), (name, length, len(data))


def lost(name: str, data: bytes, length: int) -> bool:
    """Whether the cut took pixels with it, for formats that put other things behind them."""
    if "TIFF" in name:
        return False  # TIFF strips and directories stand in any order: a cut may take only tags
    if name == "animated GIF":
        return b"," in data[length:]  # nothing tells a GIF of fewer frames from one that was cut between two
    return True


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(head=st.sampled_from(HEADS), body=st.binary(max_size=400))
@example(head=b"\xff\xd8\xff\xe0", body=b"")
def test_random_bytes_behind_a_signature_never_raise(head: bytes, body: bytes) -> None:
    looked_at(head + body)


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(sorted(SAMPLES)), sizes=st.lists(st.integers(1, 4000), min_size=1, max_size=5))
def test_chunks_of_any_size_give_the_same_fingerprint(name: str, sizes: list[int]) -> None:
    data = SAMPLES[name]
    builder = FingerprintBuilder(recipe=RECIPES["fast"], limits=LIMITS)
    at = 0
    while at < len(data):
        size = sizes[at % len(sizes)]
        builder.update(data[at : at + size])
        at += size
    assert builder.finish() == looked_at(data)
