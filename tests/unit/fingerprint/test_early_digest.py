"""SHA-256 alone and first, so that bytes that were seen before need nothing else."""

import hashlib
import io
from pathlib import Path

import pytest

from iii_client.config import Limits
from iii_client.content import IN_MEMORY_MAX_BYTES, Content
from iii_client.fingerprint import RECIPES, FingerprintBuilder, build_fingerprint, early_sha256
from iii_client.model import Algorithm, Fingerprint, HashValue

RECIPE, LIMITS = RECIPES["fast"], Limits()


@pytest.mark.parametrize("length", [0, 1, 300_000, IN_MEMORY_MAX_BYTES])
def test_it_is_the_sha256_of_the_bytes(length: int) -> None:
    data = bytes(length)
    expected = HashValue(algorithm=Algorithm.SHA256, value=hashlib.sha256(data).digest())
    assert early_sha256(Content.from_bytes(data)) == expected
    assert early_sha256(Content.from_file(io.BytesIO(data))) == expected


def test_what_is_too_large_to_be_read_twice_is_left_alone() -> None:
    assert early_sha256(Content.from_bytes(bytes(IN_MEMORY_MAX_BYTES + 1))) is None


def test_what_cannot_be_read_is_left_to_the_fingerprint(tmp_path: Path) -> None:
    assert early_sha256(Content.from_path(tmp_path / "nothing")) is None
    assert early_sha256(Content.from_path(tmp_path)) is None


def test_an_upload_that_streams_in_is_not_decoded_when_its_bytes_are_known() -> None:
    data = b"x" * 1000
    known = build_fingerprint(Content.from_bytes(b"y"), recipe=RECIPE, limits=LIMITS)
    asked: list[HashValue] = []

    def recall(sha256: HashValue) -> Fingerprint | None:
        asked.append(sha256)
        return known if len(asked) == 1 else None

    for expected in (known, build_fingerprint(Content.from_bytes(data), recipe=RECIPE, limits=LIMITS)):
        builder = FingerprintBuilder(recipe=RECIPE, limits=LIMITS, recall=recall)
        builder.update(data)
        assert builder.finish() == expected
    assert asked == [HashValue(algorithm=Algorithm.SHA256, value=hashlib.sha256(data).digest())] * 2


@pytest.mark.parametrize("length", [1000, 300_000])
def test_a_fingerprint_takes_it_over_and_computes_only_the_others(length: int) -> None:
    content = Content.from_bytes(b"x" * length)
    whole = build_fingerprint(content, recipe=RECIPE, limits=LIMITS)
    assert build_fingerprint(content, recipe=RECIPE, limits=LIMITS, sha256=early_sha256(content)) == whole
    # That it is not computed again shows when it is another's.
    other = HashValue(algorithm=Algorithm.SHA256, value=bytes(32))
    found = build_fingerprint(content, recipe=RECIPE, limits=LIMITS, sha256=other)
    assert found.digest(Algorithm.SHA256) == other
    assert found.digest(Algorithm.MD5) == whole.digest(Algorithm.MD5)
