"""The record that a worker writes: what an honest one says comes back; nothing else is believed."""

import io
import random
import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from iii_client.config import Limits
from iii_client.fingerprint import RECIPES
from iii_client.fingerprint.isolation.answers import (
    MAX_FRAMES,
    BadAnswerError,
    answer_bytes,
    pack_answer,
    parse_answer,
)
from iii_client.fingerprint.isolation.questions import Question, pack_question, read_question
from iii_client.fingerprint.pixels import Looked, look_at
from iii_client.model import Reason, Recipe

NONCE = bytes(range(16))
HEADER, FRAME, HASH = 30, 13, 300


def question(recipe: Recipe = RECIPES["fast"]) -> Question:
    return Question(nonce=NONCE, kind="png", size_bytes=1, recipe=recipe, limits=Limits())


def looked(frames: int = 1, *, border: bool = False, recipe: Recipe = RECIPES["fast"]) -> Looked:
    noise = random.Random(1)
    pictures = []
    for _ in range(frames):
        small = Image.frombytes("L", (12, 12), noise.randbytes(144)).resize(
            (160, 120), Image.Resampling.BICUBIC
        )
        pictures.append(ImageOps.expand(small, 40, 0) if border else small)
    out = io.BytesIO()
    pictures[0].save(out, "GIF", save_all=True, append_images=pictures[1:])
    out.seek(0)
    return look_at(out, "gif", recipe=recipe, limits=Limits())


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.id)
@pytest.mark.parametrize("border", [False, True])
@pytest.mark.parametrize("frames", [1, 3, 30])
def test_an_answer_of_any_size_has_one_length_and_comes_back(
    recipe: Recipe, frames: int, border: bool
) -> None:
    said = looked(frames, border=border, recipe=recipe)
    assert any(found.trimmed for found in said.perceptual) is (border and recipe.trims_borders)
    record = pack_answer(said, question(recipe))
    assert len(record) == answer_bytes(recipe)
    assert parse_answer(record, question(recipe)) == said


@pytest.mark.parametrize(
    "reason",
    [
        Reason.TOO_LARGE,
        Reason.TOO_MANY_PIXELS,
        Reason.TRUNCATED,
        Reason.DECODE_FAILED,
        Reason.FORMAT_NOT_SUPPORTED,
    ],
)
def test_every_reason_of_a_decoder_can_be_said(reason: Reason) -> None:
    said = Looked.refused(reason, "a frame is over 50000000 pixels")
    assert parse_answer(pack_answer(said, question()), question()) == said


def test_a_detail_is_cut_and_cleaned_before_it_is_sent() -> None:
    said = Looked.refused(Reason.DECODE_FAILED, "\x1b[31m<b>" + "ä" * 100)
    (skip,) = parse_answer(pack_answer(said, question()), question()).skipped
    assert skip.detail == ("__31m_b_" + "_" * 100)[:64]


def test_an_answer_to_another_question_is_refused() -> None:
    record = pack_answer(looked(), question())
    with pytest.raises(BadAnswerError, match="nonce"):
        parse_answer(record, replace(question(), nonce=bytes(16)))


@pytest.mark.parametrize("length", [0, 1, HEADER, -1])
def test_a_record_of_another_length_is_refused(length: int) -> None:
    record = pack_answer(looked(), question())
    with pytest.raises(BadAnswerError, match="length"):
        parse_answer(record[:length] if length >= 0 else record + b"\0", question())


def changed(at: int, data: bytes) -> bytes:
    record = bytearray(pack_answer(looked(), question()))
    record[at : at + len(data)] = data
    return bytes(record)


HASHES = HEADER + 10 * FRAME


@pytest.mark.parametrize(
    ("at", "data", "what"),
    [
        (0, b"III-SAY\x02", "magic"),
        (24, struct.pack("<H", 11), "count"),
        (26, struct.pack("<H", 0xFFFF), "count"),
        (24, struct.pack("<H", 0), "unused slots"),
        (26, struct.pack("<H", 2), "unused slots"),
        (24, struct.pack("<H", 2), "size of a frame"),
        (HEADER, struct.pack("<I", 5), "order of frames"),
        (HEADER + 4, struct.pack("<I", 0), "size of a frame"),
        (HEADER + 8, struct.pack("<I", 70_000), "size of a frame"),
        (HEADER + 12, b"\x03", "reduction"),
        (HEADER + FRAME, b"\x01", "unused slots"),
        (HASHES, struct.pack("<I", 9), "hashes of frames"),
        (HASHES + 4, b"\x09", "fields of a hash"),
        (HASHES + 4, b"\x01", "hashes of frames"),
        (HASHES + 5, b"\x65", "fields of a hash"),
        (HASHES + 6, b"\x04", "fields of a hash"),
        (HASHES + 6, b"\x81", "gates of a trimmed hash"),
        (HASHES + 6, b"\x80", "hashes of frames"),
        (HASHES + 39, b"\x07", "coefficients"),
        (HASHES + 40, struct.pack("<f", float("nan")), "coefficients"),
        (HASHES + 60, b"\0", "coefficients"),
        (HASHES + 2 * HASH + 7 + 8, b"\1", "width of a hash"),
        (HASHES + 2 * HASH + 6, b"\1", "fields of a pHash"),
        (HASHES + 2 * HASH + 50, b"\1", "fields of a pHash"),
    ],
)
def test_a_field_out_of_its_range_is_refused(at: int, data: bytes, what: str) -> None:
    with pytest.raises(BadAnswerError, match=what):
        parse_answer(changed(at, data), question())


def test_an_answer_that_saw_nothing_and_says_no_reason_is_refused() -> None:
    with pytest.raises(BadAnswerError, match="no reason"):
        parse_answer(pack_answer(Looked(), question()), question())


@pytest.mark.parametrize("detail", [b"\x1b[2J", b"<script>", b"a\0b", b"\xff", b"a\nb"])
def test_a_detail_that_could_steer_a_terminal_or_a_page_is_refused(detail: bytes) -> None:
    record = bytearray(pack_answer(Looked.refused(Reason.DECODE_FAILED), question()))
    at = answer_bytes(RECIPES["fast"]) - 4 * 66 + 2
    record[at : at + len(detail)] = detail
    with pytest.raises(BadAnswerError, match="detail"):
        parse_answer(bytes(record), question())


def test_a_recipe_without_end_has_no_answer() -> None:
    for frames in (0, MAX_FRAMES + 1, 10**9):
        with pytest.raises(ValueError, match="frames"):
            answer_bytes(replace(RECIPES["fast"], max_frames=frames))


HONEST = pack_answer(looked(3), question())


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(HONEST) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_mutated_record_is_refused_or_still_within_its_ranges(changes: list[tuple[int, int]]) -> None:
    record = bytearray(HONEST)
    for at, value in changes:
        record[at] = value
    try:
        found = parse_answer(bytes(record), question())
    except BadAnswerError:
        return
    assert len(found.frames) <= 10
    assert {p.frame for p in found.perceptual} == {f.index for f in found.frames}
    assert pack_answer(found, question()) == bytes(record)  # nothing in it that was not read


@given(st.binary(max_size=200))
def test_random_bytes_are_never_an_answer(data: bytes) -> None:
    padded = data.ljust(answer_bytes(RECIPES["fast"]), b"\0")
    with pytest.raises(BadAnswerError):
        parse_answer(padded, question())


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.id)
def test_a_question_arrives_as_it_was_asked(recipe: Recipe) -> None:
    asked = Question(
        nonce=NONCE, kind="jpeg", size_bytes=1 << 40, recipe=recipe, limits=Limits(max_frame_pixels=7)
    )
    stream = io.BytesIO(pack_question(asked) + b"the picture")
    assert read_question(stream.read) == asked
    assert stream.read() == b"the picture"
    assert read_question(io.BytesIO().read) is None
    with pytest.raises(ValueError, match="version"):
        read_question(io.BytesIO(bytes(64)).read)
