"""The scans of a JPEG are counted before it is decoded, and a file made of scans is refused."""

import io
from typing import Any

import pytest
from PIL import Image, JpegImagePlugin

from iii_client.config import Limits
from iii_client.content import Content
from iii_client.fingerprint import RECIPES, build_fingerprint
from iii_client.fingerprint.decoding import decode_frames
from iii_client.fingerprint.frames import MAX_SCAN_PIXELS, PixelBudget, Refused
from iii_client.fingerprint.jpeg import _CHUNK_BYTES, count_scans
from iii_client.model import Decoding, Reason


def jpeg(size: tuple[int, int] = (600, 400), **options: Any) -> bytes:
    out = io.BytesIO()
    Image.radial_gradient("L").resize(size).convert("RGB").save(out, "JPEG", **options)
    return out.getvalue()


def scans(data: bytes, most: int = 10**9, start: int = 0) -> int:
    return count_scans(io.BytesIO(data), start, most)


def with_last_scan_repeated(data: bytes, times: int) -> bytes:
    last = data[data.rfind(b"\xff\xda") : -2]
    return data[:-2] + last * times + b"\xff\xd9"


def test_baseline_has_one_scan_and_progressive_ten() -> None:
    for most in (10**9, 0):
        assert scans(jpeg(), most) == 1
        assert scans(jpeg(progressive=True), 10**9) == 10
    assert scans(jpeg(progressive=True), 3) == 4, "it stops above the most"


def test_what_lies_behind_the_picture_or_in_its_thumbnail_is_no_scan() -> None:
    exif = b"Exif\0\0" + jpeg((60, 40), progressive=True)
    film = b"\xff\xda" * 5000
    data = jpeg(exif=exif, progressive=True) + film
    assert scans(data) == 20 + 5000
    assert scans(data, 15) == 10


@pytest.mark.parametrize("shift", range(-3, 4))
def test_a_marker_across_the_border_of_two_pieces_is_counted(shift: int) -> None:
    for border in (_CHUNK_BYTES, _CHUNK_BYTES * 8):
        head = b"\xff\xd8" + bytes(border + shift - 2)
        data = head + b"\xff\xda\0\2" + b"\xff\xd9"
        assert scans(data) == 1
        assert scans(data, 0) == 1


def test_repeated_scans_are_refused_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    fine = jpeg(progressive=True)
    many = with_last_scan_repeated(fine, MAX_SCAN_PIXELS // (600 * 400))
    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", lambda _: pytest.fail("it was decoded"))
    for decoding in Decoding:
        with pytest.raises(Refused) as caught:
            next(decode_frames(io.BytesIO(many), "jpeg", decoding=decoding, max_frames=10, limits=Limits()))
        assert caught.value.reason is Reason.TOO_MANY_PIXELS


def test_a_progressive_picture_with_some_more_scans_is_hashed() -> None:
    data = with_last_scan_repeated(jpeg(progressive=True), 10)
    found = build_fingerprint(Content.from_bytes(data), recipe=RECIPES["fast"], limits=Limits())
    assert (found.skipped, len(found.frames)) == ((), 1)


def test_the_second_picture_of_an_mpo_is_counted_too() -> None:
    out = io.BytesIO()
    picture = Image.radial_gradient("L").resize((600, 400)).convert("RGB")
    picture.save(out, "MPO", save_all=True, append_images=[picture])
    many = out.getvalue()[:-2] + b"\xff\xda\0\x08\1\1\0\0\x3f\0" * 9000 + b"\xff\xd9"
    frames = decode_frames(io.BytesIO(many), "jpeg", decoding=Decoding.FAST, max_frames=10, limits=Limits())
    assert next(frames).count == 2
    with pytest.raises(Refused) as caught:
        next(frames)
    assert caught.value.reason is Reason.TOO_MANY_PIXELS


def test_arithmetic_scans_weigh_more_and_small_pictures_are_not_free() -> None:
    arithmetic = b"\xff\xd8\xff\xca\0\2\xff\xda\0\2\xff\xd9"
    assert scans(arithmetic) == scans(arithmetic, 1) == 8
    budget = PixelBudget(Limits())
    assert budget.most_scans(1, 1) < 50_000
    assert budget.most_scans(7071, 7071) >= 20
    budget.spend_scans(20, 7071, 7071)
    with pytest.raises(Refused):
        budget.spend_scans(21, 7071, 7071)


def test_a_file_of_markers_alone_is_too_much_not_endless() -> None:
    assert scans(b"\xff\xd8" + b"\xff\xe0\0\2" * 200_000 + b"\xff\xda" * 3, 2) == 3
