"""A fingerprint says what was found and what was not looked at, and nothing about a content raises."""

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageOps

from iii_client.config import Limits
from iii_client.content import Content
from iii_client.decide import judge
from iii_client.fingerprint import RECIPES, FingerprintBuilder, build_fingerprint, pdq, phash
from iii_client.fingerprint.digests import CHUNK_BYTES, THREAD_FROM_BYTES
from iii_client.model import (
    UNSCANNABLE_REASONS,
    Algorithm,
    Confirmation,
    Fingerprint,
    Outcome,
    PerceptualHash,
    Reason,
    Recipe,
    ReleaseId,
    unpack_coefficients,
)

LIMITS = Limits()
FAST, EXACT = RECIPES["fast"], RECIPES["exact"]
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


def encoded(image: Image.Image, pillow_format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, pillow_format, **options)
    return out.getvalue()


def fingerprint(data: bytes, recipe: Recipe = FAST, limits: Limits = LIMITS) -> Fingerprint:
    return build_fingerprint(Content.from_bytes(data), recipe=recipe, limits=limits)


def found(fingerprint: Fingerprint, algorithm: Algorithm, frame: int = 0) -> PerceptualHash:
    (value,) = [
        p for p in fingerprint.perceptual if (p.algorithm, p.frame, p.trimmed) == (algorithm, frame, False)
    ]
    return value


def reasons(fingerprint: Fingerprint) -> list[tuple[str, Reason]]:
    return [(skipped.what, skipped.reason) for skipped in fingerprint.skipped]


def distance(a: PerceptualHash, b: PerceptualHash) -> int:
    return (int.from_bytes(a.value) ^ int.from_bytes(b.value)).bit_count()


@pytest.fixture(scope="module")
def photo(photos: list[Image.Image]) -> Image.Image:
    return photos[0]


# --- digests ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, THREAD_FROM_BYTES, 9_000_001]
)
def test_the_three_digests_are_those_of_the_exact_bytes(size: int) -> None:
    data = os.urandom(size)
    result = fingerprint(data)
    assert {value.algorithm: value.hex for value in result.digests} == {
        Algorithm.MD5: hashlib.md5(data).hexdigest(),
        Algorithm.SHA1: hashlib.sha1(data).hexdigest(),
        Algorithm.SHA256: hashlib.sha256(data).hexdigest(),
    }
    assert result.size_bytes == size


def test_every_door_and_the_builder_give_the_same_fingerprint(photo: Image.Image, tmp_path: Path) -> None:
    data = encoded(photo, "JPEG", quality=90)
    path = tmp_path / "photo"
    path.write_bytes(data)
    expected = fingerprint(data)
    assert build_fingerprint(Content.from_path(path), recipe=FAST, limits=LIMITS) == expected
    with path.open("rb") as file:
        assert build_fingerprint(Content.from_file(file), recipe=FAST, limits=LIMITS) == expected
    builder = FingerprintBuilder(recipe=FAST, limits=LIMITS)
    for start in range(0, len(data), 1000):
        builder.update(data[start : start + 1000])
    assert builder.finish() == expected
    assert expected.skipped == ()


# --- pictures -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("pillow_format", ["PNG", "BMP", "TIFF"])
def test_exact_hashes_of_lossless_pictures_equal_the_hash_functions(
    photos: list[Image.Image], pillow_format: str
) -> None:
    for photo in photos[:6]:
        result = fingerprint(encoded(photo, pillow_format), EXACT)
        expected = pdq(np.asarray(photo))
        for algorithm in (Algorithm.PDQ, Algorithm.PDQ_512):
            value = found(result, algorithm)
            assert (value.value, value.quality) == (expected[algorithm].value, expected[algorithm].quality)
            assert value.gates == ()
            stored = np.array(unpack_coefficients(value.coefficients))
            bits = int.from_bytes(value.value)
            assert [bool(bits >> i & 1) for i in range(256)] == (stored > np.sort(stored)[127]).tolist()
        assert found(result, Algorithm.PHASH).value.hex() == str(imagehash.phash(photo)) == str(phash(photo))
        assert result.skipped == ()
        assert (result.frames[0].width_px, result.frames[0].height_px) == photo.size


def test_fast_is_a_few_bits_from_exact_and_says_how_far_it_reduced(photos: list[Image.Image]) -> None:
    distances = []
    for photo in photos:
        data = encoded(photo, "JPEG", quality=88)
        fast, exact = fingerprint(data), fingerprint(data, EXACT)
        assert (fast.recipe, exact.recipe) == ("fast-v2", "exact-v2")
        assert fast.digests == exact.digests
        assert fast.frames[0].reduction == (
            1 if min(photo.size) < 512 else 2 if min(photo.size) < 1024 else 4
        )
        assert exact.frames[0].reduction == 1
        distances += [
            distance(found(fast, algorithm), found(exact, algorithm))
            for algorithm in (Algorithm.PDQ, Algorithm.PDQ_512)
        ]
        assert distance(found(fast, Algorithm.PHASH), found(exact, Algorithm.PHASH)) <= 6
    assert np.median(distances) <= 2
    assert max(distances) <= 8


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.id)
def test_a_turned_photograph_hashes_like_the_upright_one(
    photo: Image.Image, orientation: int, recipe: Recipe
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photo.crop((0, 0, 511, 387)).resize((1201, 805)), "JPEG", quality=92, exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    turned, expected = fingerprint(data, recipe), fingerprint(encoded(upright, "PNG"), EXACT)
    assert (turned.frames[0].width_px, turned.frames[0].height_px) == upright.size
    tolerance = 0 if recipe is EXACT else 4
    for algorithm in (Algorithm.PDQ, Algorithm.PDQ_512, Algorithm.PHASH):
        assert distance(found(turned, algorithm), found(expected, algorithm)) <= tolerance


@pytest.mark.parametrize("size", [(100, 100), (1400, 1100)])
def test_a_gated_picture_is_hashed_exactly_even_by_the_fast_recipe(size: tuple[int, int]) -> None:
    """Exact membership is all that is left for it, and that does not forgive a bit."""
    flat = Image.linear_gradient("L").resize(size).convert("RGB")
    half = Image.new("RGB", size)
    half.paste((255, 60, 10), (0, 0, size[0] // 2, size[1]))
    for picture, gate in ((flat, Reason.LOW_QUALITY), (half, Reason.LOW_MARGIN)):
        data = encoded(picture, "JPEG", quality=95)
        fast, exact = fingerprint(data), fingerprint(data, EXACT)
        assert gate in found(fast, Algorithm.PDQ).gates
        assert fast.perceptual == exact.perceptual
        assert fast.frames[0].reduction == 1
        assert fast.skipped == ()


@pytest.mark.parametrize(
    ("pillow_format", "kind"),
    [("GIF", "gif"), ("PNG", "png"), ("WEBP", "webp"), ("TIFF", "tiff"), ("AVIF", "avif")],
)
def test_an_animation_is_sampled_and_the_rest_is_named(
    photo: Image.Image, pillow_format: str, kind: str
) -> None:
    small = photo.resize((160, 120))
    still = fingerprint(encoded(small, pillow_format))
    few = fingerprint(encoded(small, pillow_format, save_all=True, append_images=[small.rotate(40)]))
    many = fingerprint(
        encoded(
            small, pillow_format, save_all=True, append_images=[small.rotate(9 * i) for i in range(1, 31)]
        )
    )
    assert [frame.index for frame in still.frames] == [0]
    assert [frame.index for frame in few.frames] == [0, 1]
    assert [frame.index for frame in many.frames] == [0, 3, 7, 10, 13, 17, 20, 23, 27, 30]
    assert {p.frame for p in many.perceptual} == {frame.index for frame in many.frames}
    assert len({found(many, Algorithm.PDQ, frame.index).value for frame in many.frames}) == 10
    assert (still.skipped, few.skipped) == ((), ())
    assert reasons(many) == [("frames", Reason.FRAMES_SAMPLED)]
    assert many.skipped[0].detail == "10 of 31 frames looked at"
    assert many.kind == kind


def test_the_last_frame_of_a_gif_is_what_a_viewer_sees_at_the_end(photo: Image.Image) -> None:
    """Frames build on each other: only part of the canvas changes in each."""
    frames = []
    canvas = photo.resize((160, 120)).quantize(64).convert("RGB")
    for i in range(25):
        canvas = canvas.copy()
        canvas.paste((i * 10, 255 - i * 10, 40), (i * 6, i * 4, i * 6 + 9, i * 4 + 9))
        frames.append(canvas)
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    with Image.open(io.BytesIO(data)) as image:
        image.seek(24)
        last = image.convert("RGB")
    shown = found(fingerprint(encoded(last, "PNG"), EXACT), Algorithm.PDQ)
    assert found(fingerprint(data, EXACT), Algorithm.PDQ, 24).value == shown.value


# --- what could not be looked at ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "kind", "reason"),
    [
        (b"", "unknown", Reason.EMPTY),
        (b"plain text, and nothing else", "unknown", Reason.NOT_A_PICTURE),
        (b"%PDF-1.7 ...", "pdf", Reason.NOT_A_PICTURE),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heic", Reason.FORMAT_NOT_ENABLED),
        (b"8BPS\0\x01" + bytes(40), "psd", Reason.FORMAT_NOT_SUPPORTED),
        (b"\xff\xd8\xff\xe0 and then no JPEG", "jpeg", None),
        (b"\x89PNG\r\n\x1a\n", "png", None),
        (b"GIF89a", "gif", None),
        (b"RIFF\xff\0\0\0WEBPVP8 ", "webp", Reason.TRUNCATED),
        (b"II*\0\x08\0\0\0", "tiff", None),
        (b"BM" + bytes(12) + b"\x28\0\0\0", "bmp", None),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf", "avif", None),
    ],
)
def test_what_was_not_looked_at_has_a_reason_and_digests(
    data: bytes, kind: str, reason: Reason | None
) -> None:
    result = fingerprint(data)
    ((what, why),) = reasons(result)
    assert (result.kind, what) == (kind, "pixels")
    assert why is reason or (reason is None and why in {Reason.TRUNCATED, Reason.DECODE_FAILED})
    assert result.digest(Algorithm.SHA256).value == hashlib.sha256(data).digest()
    assert (result.perceptual, result.frames) == ((), ())
    assert (why in UNSCANNABLE_REASONS) == (why is not Reason.NOT_A_PICTURE)


def test_the_name_plays_no_part(photo: Image.Image, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(encoded(photo, "PNG"))
    (tmp_path / "photo.jpg").write_bytes(b"only text")
    picture = build_fingerprint(Content.from_path(tmp_path / "notes.txt"), recipe=FAST, limits=LIMITS)
    text = build_fingerprint(Content.from_path(tmp_path / "photo.jpg"), recipe=FAST, limits=LIMITS)
    assert (picture.kind, len(picture.perceptual), picture.skipped) == ("png", 3, ())
    assert (text.kind, reasons(text)) == ("unknown", [("pixels", Reason.NOT_A_PICTURE)])


def test_directories_fifos_and_broken_links_are_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "broken").symlink_to("nowhere")
    for name, reason in (("", Reason.NOT_A_FILE), ("fifo", Reason.NOT_A_FILE), ("broken", Reason.UNREADABLE)):
        result = build_fingerprint(Content.from_path(tmp_path / name), recipe=FAST, limits=LIMITS)
        assert reasons(result) == [("digests", reason), ("pixels", reason)]
        assert (result.digests, result.kind, result.size_bytes) == ((), "unknown", 0)


def test_over_a_limit_is_named_and_digests_stay_up_to_the_limit_of_content(photo: Image.Image) -> None:
    data = encoded(photo, "PNG")
    cases = [
        (
            Limits(max_content_bytes=len(data) - 1),
            [("digests", Reason.TOO_LARGE), ("pixels", Reason.TOO_LARGE)],
        ),
        (Limits(max_picture_bytes=len(data) - 1), [("pixels", Reason.TOO_LARGE)]),
        (Limits(max_frame_pixels=photo.width * photo.height - 1), [("pixels", Reason.TOO_MANY_PIXELS)]),
        (Limits(max_total_pixels=photo.width * photo.height - 1), [("pixels", Reason.TOO_MANY_PIXELS)]),
        (Limits(max_picture_bytes=len(data), max_frame_pixels=photo.width * photo.height), []),
    ]
    for limits, expected in cases:
        whole = FingerprintBuilder(recipe=FAST, limits=limits)
        whole.update(data)
        assert whole.finish() == fingerprint(data, limits=limits)
        result = fingerprint(data, limits=limits)
        assert reasons(result) == expected
        assert bool(result.digests) == (("digests", Reason.TOO_LARGE) not in expected)
        builder = FingerprintBuilder(recipe=FAST, limits=limits)
        for start in range(0, len(data), 1 << 16):
            builder.update(data[start : start + (1 << 16)])
        assert builder.finish() == result


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_picture_in_one_chunk_over_the_limit_is_unscannable_never_no_match(
    photo: Image.Image, kind: type
) -> None:
    data = encoded(photo, "PNG")
    for chunks in ([data], [data[:10], data[10:]], [data, b"and more"]):
        builder = FingerprintBuilder(recipe=FAST, limits=Limits(max_picture_bytes=len(data) - 1))
        for chunk in chunks:
            builder.update(kind(chunk))
        result = builder.finish()
        verdict = judge(
            result, candidates=(), confirmation=Confirmation(), release=ReleaseId(epoch=1, sequence=1)
        )
        assert (result.kind, reasons(result)) == ("png", [("pixels", Reason.TOO_LARGE)])
        assert verdict.outcome is Outcome.UNSCANNABLE


def test_a_builder_need_not_keep_bytes_that_somebody_else_keeps(photo: Image.Image) -> None:
    for data in (encoded(photo, "PNG"), b"text " * 1000, encoded(photo, "JPEG")[:-2000], b""):
        builder = FingerprintBuilder(recipe=FAST, limits=LIMITS, keeps_bytes=False)
        for start in range(0, len(data), 1 << 16):
            builder.update(data[start : start + (1 << 16)])
        assert builder._spool.tell() == 0
        assert builder.finish(Content.from_bytes(data)) == fingerprint(data)


def test_bytes_that_somebody_else_lost_are_unreadable_never_no_match(photo: Image.Image) -> None:
    data, gone = encoded(photo, "PNG"), io.BytesIO()
    gone.close()
    for content in (None, Content.from_file(gone)):
        builder = FingerprintBuilder(recipe=FAST, limits=LIMITS, keeps_bytes=False)
        builder.update(data)
        result = builder.finish(content)
        assert reasons(result) == [("pixels", Reason.UNREADABLE)]
        assert result.digests == fingerprint(data).digests


def test_text_over_the_picture_limit_is_still_not_a_picture() -> None:
    limits = Limits(max_picture_bytes=2000)
    assert reasons(fingerprint(b"text " * 1000, limits=limits)) == [("pixels", Reason.NOT_A_PICTURE)]


def test_frames_before_a_cut_are_kept_and_the_cut_is_named(photo: Image.Image) -> None:
    small = photo.resize((160, 120))
    data = encoded(small, "GIF", save_all=True, append_images=[small.rotate(9 * i) for i in range(1, 10)])
    result = fingerprint(data[: len(data) * 2 // 3])
    ((what, reason),) = reasons(result)
    assert what == "frames"
    assert reason in {Reason.TRUNCATED, Reason.DECODE_FAILED}
    assert 3 <= len(result.frames) <= 7
    assert len(result.perceptual) == 3 * len(result.frames)


def test_a_file_that_fails_while_it_is_read_leaves_no_half_fingerprint(photo: Image.Image) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 9_000_000:
                raise OSError(5, "Input/output error")
            return super().read(size)

    data = encoded(photo, "PNG") + bytes(10_000_000)
    result = build_fingerprint(Content.from_file(Failing(data)), recipe=FAST, limits=LIMITS)
    assert reasons(result) == [("digests", Reason.UNREADABLE), ("pixels", Reason.UNREADABLE)]
    assert (result.digests, result.perceptual, result.frames) == ((), (), ())


def test_a_builder_never_spools_more_than_the_limit_of_pictures() -> None:
    builder = FingerprintBuilder(recipe=FAST, limits=Limits(max_picture_bytes=5000))
    for _ in range(100):
        builder.update(bytes(1000))
    assert builder._spool.tell() <= 5000
    result = builder.finish()
    assert result.digest(Algorithm.SHA256).value == hashlib.sha256(bytes(100_000)).digest()
    assert (
        FingerprintBuilder(recipe=FAST, limits=LIMITS).finish().digest(Algorithm.SHA256).hex == EMPTY_SHA256
    )
