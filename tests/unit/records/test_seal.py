"""Sealed files: come back whole, show nothing, and every change of them shows."""

import hashlib
import io
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_client.errors import RecordError
from iii_client.records.seal import CHUNK_BYTES, HEADER_BYTES, MAGIC, Sealer, unseal

KEY, OTHER_KEY = bytes(32), bytes(31) + b"x"


def sealed(content: bytes, *, key: bytes = KEY) -> bytes:
    return b"".join(Sealer(io.BytesIO(content), key=key).chunks())


def unsealed(data: bytes, *, key: bytes = KEY) -> bytes:
    return b"".join(unseal(io.BytesIO(data), key=key))


class Dribble(io.BytesIO):
    """Gives a few bytes at a time, as a socket does."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(7, size) if size is not None and size > 0 else 7)


@pytest.mark.parametrize(
    "size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 3 * CHUNK_BYTES + 5]
)
def test_what_was_sealed_comes_back(size: int) -> None:
    content = bytes(i % 251 for i in range(size))
    sealer = Sealer(io.BytesIO(content), key=KEY)
    data = b"".join(sealer.chunks())
    assert unsealed(data) == content
    assert sealer.seen is not None
    assert (sealer.seen.size_bytes, sealer.seen.sha256) == (size, hashlib.sha256(content).digest())


@given(st.binary(max_size=300))
def test_any_content_comes_back_and_is_not_in_the_sealed_file(content: bytes) -> None:
    data = sealed(content)
    assert unsealed(data) == content
    assert len(content) < 8 or content not in data[HEADER_BYTES:]


def test_a_source_that_gives_little_at_a_time_is_sealed_the_same_way() -> None:
    content = bytes(range(256)) * 300
    assert unsealed(b"".join(Sealer(Dribble(content), key=KEY).chunks())) == content
    assert b"".join(unseal(Dribble(sealed(content)), key=KEY)) == content


def test_the_same_content_is_sealed_to_other_bytes_each_time() -> None:
    assert sealed(b"a picture")[HEADER_BYTES:] != sealed(b"a picture")[HEADER_BYTES:]


def test_a_change_of_any_single_byte_shows() -> None:
    data = sealed(b"a harmless picture")
    for index in range(len(data)):
        changed = bytearray(data)
        changed[index] ^= 0x01
        with pytest.raises(RecordError):
            unsealed(bytes(changed))


def test_chunks_that_are_cut_swapped_repeated_or_appended_show() -> None:
    content = bytes(range(256)) * (3 * CHUNK_BYTES // 256)
    data = sealed(content)
    step = CHUNK_BYTES + 16
    header, chunks = data[:HEADER_BYTES], [data[i : i + step] for i in range(HEADER_BYTES, len(data), step)]
    assert len(chunks) == 3
    for count in range(5):
        for picked in itertools.product(range(3), repeat=count):
            if picked != (0, 1, 2):
                with pytest.raises(RecordError):
                    unsealed(header + b"".join(chunks[i] for i in picked))


@pytest.mark.parametrize("cut", [0, 5, HEADER_BYTES, HEADER_BYTES + 3, -1])
def test_a_file_that_was_cut_short_shows(cut: int) -> None:
    with pytest.raises(RecordError):
        unsealed(sealed(b"x" * 100)[:cut])


def test_another_key_is_told_from_a_change() -> None:
    with pytest.raises(RecordError, match="another key") as caught:
        unsealed(sealed(b"x"), key=OTHER_KEY)
    assert "quarantine.key" in caught.value.hint


def test_a_file_that_an_older_version_sealed_still_opens() -> None:
    """Golden vector of form 1: magic, key id, salt, one last chunk with its tag."""
    kept = bytes.fromhex(
        "4949492d7365616c65642d310a"
        "326278fcfcda442d"
        "6b280e3e1edadbfba0043d3e0b097f0a0b794b105917d13ce74a6783da8b6d4d"
        "c8a6e71c7e89b9ab68cda02132c4cdd7dd068b7bc28c831183aba26f238ff4d4d305"
    )
    assert kept.startswith(MAGIC)
    assert unsealed(kept) == b"a harmless picture"
