"""The stored form of a fingerprint: small, pinned, strict."""

from dataclasses import replace
from pathlib import Path

import pytest

from iii_client.config import Limits
from iii_client.content import Content
from iii_client.errors import RecordError
from iii_client.fingerprint import RECIPES, build_fingerprint
from iii_client.model import (
    Algorithm,
    Fingerprint,
    Frame,
    HashValue,
    PerceptualHash,
    Reason,
    Skipped,
    pack_coefficients,
)
from iii_client.records.fingerprint_codec import MAX_BYTES, decode_fingerprint, encode_fingerprint

#: Coefficients 0, 1, … with a median of 127: the upper half of the bits is set.
COEFFICIENTS = pack_coefficients([float(n) for n in range(256)], median=127.0)
PDQ = PerceptualHash(
    algorithm=Algorithm.PDQ, value=b"\xff" * 16 + b"\0" * 16, quality=100, coefficients=COEFFICIENTS
)
SMALL = Fingerprint(
    recipe="fast-v1",
    size_bytes=300,
    kind="jpeg",
    digests=(HashValue(algorithm=Algorithm.MD5, value=bytes(range(16))),),
    frames=(Frame(index=0, width_px=640, height_px=480, reduction=2),),
    perceptual=(
        PerceptualHash(
            algorithm=Algorithm.PHASH,
            value=b"abcdefgh",
            quality=7,
            frame=1,
            gates=(Reason.LOW_QUALITY,),
            trimmed=True,
        ),
    ),
    skipped=(Skipped(what="frames", reason=Reason.FRAMES_SAMPLED, detail="1 of 2"),),
)
#: Written by hand from the module's description. It must never change: caches and ledgers hold such rows.
SMALL_STORED = (
    b"\x01"  # version
    b"\x07fast-v1"
    b"\xac\x02"  # 300 bytes
    b"\x04jpeg"
    b"\x01\x01" + bytes(range(16)) +  # one digest, MD5
    b"\x01\x00\x80\x05\xe0\x03\x02"  # one frame: 0, 640, 480, 2
    b"\x01\x06\x01abcdefgh\x07\x01"  # one perceptual hash: pHash, trimmed; quality 7, frame 1
    b"\x01\x0blow_quality"
    b"\x01\x06frames\x0eframes_sampled\x061 of 2"
)  # fmt: skip


def test_the_stored_form_is_pinned() -> None:
    assert encode_fingerprint(SMALL) == SMALL_STORED
    assert decode_fingerprint(SMALL_STORED) == SMALL


def test_the_bits_of_pdq_are_left_out_where_they_follow_from_its_coefficients() -> None:
    follows = replace(SMALL, perceptual=(PDQ,))
    other = replace(SMALL, perceptual=(replace(PDQ, value=b"\xfe" + PDQ.value[1:]),))
    assert len(encode_fingerprint(other)) - len(encode_fingerprint(follows)) == 32
    assert decode_fingerprint(encode_fingerprint(follows)) == follows
    assert decode_fingerprint(encode_fingerprint(other)) == other


@pytest.mark.parametrize("recipe", ["fast", "exact"])
def test_real_pictures_come_back_as_they_were_and_take_about_640_bytes(
    photographs: list[Path], recipe: str
) -> None:
    for path in photographs[:4]:
        seen = build_fingerprint(Content.from_path(path), recipe=RECIPES[recipe], limits=Limits())
        stored = encode_fingerprint(seen)
        assert decode_fingerprint(stored) == seen
        whole_frame = [found for found in seen.perceptual if not found.trimmed]
        if len(whole_frame) == len(seen.perceptual):
            assert len(stored) < 660


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\x02" + SMALL_STORED[1:],
        SMALL_STORED[:-1],
        SMALL_STORED + b"\0",
        SMALL_STORED.replace(b"low_quality", b"low_qualitx"),
        SMALL_STORED.replace(b"\x01\x01\x00\x01", b"\x01\x09\x00\x01"),  # an algorithm that there is not
        SMALL_STORED.replace(b"\x01\x01\x00\x01", b"\x01\x04\x00\x01"),  # a perceptual hash among digests
        SMALL_STORED.replace(b"\xac\x02", b"\xac\x82\x00"),  # a number in a longer form
        SMALL_STORED.replace(b"\xac\x02", b"\xff" * 9),  # a number that no store keeps
        SMALL_STORED.replace(b"\x06\x01abc", b"\x06\x08abc"),  # a flag that there is not
        SMALL_STORED.replace(b"\x06\x01abc", b"\x06\x05abc"),  # derived from coefficients that are not there
        SMALL_STORED.replace(b"abcdefgh\x07", b"abcdefgh\x65"),  # quality 101
        SMALL_STORED.replace(b"fast-v1", b"fast-v\xff"),  # no UTF-8
        SMALL_STORED.replace(b"\x01\x06frames", b"\xff\xff\xff\xff\x0f\x06frames"),  # a count without items
    ],
)
def test_anything_else_is_refused_by_name_and_quotes_nothing(damaged: bytes) -> None:
    assert damaged != SMALL_STORED
    with pytest.raises(RecordError) as caught:
        decode_fingerprint(damaged)
    assert "fast" not in str(caught.value)


def test_coefficients_that_a_look_up_would_choke_on_are_refused() -> None:
    stored = encode_fingerprint(replace(SMALL, perceptual=(PDQ,)))
    assert decode_fingerprint(stored).perceptual == (PDQ,)
    zeroed = stored.replace(COEFFICIENTS[-1:] + b"\x64", b"\0\x64")
    assert zeroed != stored
    with pytest.raises(RecordError):
        decode_fingerprint(zeroed)


def test_what_is_too_long_is_not_stored() -> None:
    with pytest.raises(ValueError, match="at most"):
        encode_fingerprint(replace(SMALL, kind="x" * MAX_BYTES))
