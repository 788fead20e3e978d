"""Segments and answers: what comes out is what went in, and anything else is an error of ours."""

import contextlib
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_client.config import Limits
from iii_client.errors import RescanError
from iii_client.model import Fingerprint
from iii_client.records.fingerprint_codec import encode_fingerprint
from iii_client.rescan.chunks import ChunkTask, HashedRow, fingerprints_of, pack_rows, unpack_rows
from iii_client.rescan.segments import Position, Segments, StoredItem

KINDS = st.sampled_from(["png", "jpeg", "unknown"])
ROWS = st.builds(
    HashedRow,
    stored=st.builds(
        lambda size, kind: encode_fingerprint(Fingerprint(recipe="fast-v2", size_bytes=size, kind=kind)),
        st.integers(0, 2**40),
        KINDS,
    ),
    fault=st.sampled_from(["", "vanished", "TimeoutError"]),
)
# Lone surrogates are what names become that are no UTF-8.
TEXTS = st.text(st.one_of(st.characters(), st.integers(0xDC80, 0xDCFF).map(chr)), max_size=30)
ITEMS = st.lists(st.builds(StoredItem, key=TEXTS, token=TEXTS, row=ROWS), min_size=1, max_size=8)


@given(blocks=st.lists(ITEMS, max_size=5), file_bytes=st.integers(1, 400))
def test_what_is_read_is_what_was_written(
    blocks: list[list[StoredItem]], file_bytes: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    segments = Segments(tmp_path_factory.mktemp("shard") / "new", file_bytes=file_bytes)
    end, ends = Position(), []
    for block in blocks:
        end = segments.append(block, end)
        ends.append(end)
    read = list(segments.read(Position(), end))
    assert [items for items, _ in read] == blocks
    assert [position for _, position in read] == ends
    for number, position in enumerate(ends):
        assert [items for items, _ in segments.read(position, end)] == blocks[number + 1 :]


def item(name: str, size: int = 1) -> StoredItem:
    stored = encode_fingerprint(Fingerprint(recipe="fast-v2", size_bytes=size, kind="png"))
    return StoredItem(key=name, token="t", row=HashedRow(stored=stored))


def test_what_was_not_committed_is_cut_off(tmp_path: Path) -> None:
    segments = Segments(tmp_path, file_bytes=1)
    first = segments.append([item("a")], Position())
    segments.append([item("killed")], first)
    segments.cut(first)
    end = segments.append([item("b")], first)
    assert [i.key for items, _ in segments.read(Position(), end) for i in items] == ["a", "b"]


def test_equal_content_is_stored_once(tmp_path: Path) -> None:
    stored = random.Random(1).randbytes(5000)
    twins = [StoredItem(key=str(n), token="", row=HashedRow(stored=stored)) for n in range(50)]
    assert Segments(tmp_path).append(twins, Position()).offset < 7000
    assert len(pack_rows([twin.row for twin in twins])) < 6000


def test_every_damaged_byte_is_found(tmp_path: Path) -> None:
    segments = Segments(tmp_path)
    end = segments.append([item("a"), item("b", 2)], Position())
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for at in range(len(whole)):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(RescanError):
            list(segments.read(Position(), end))
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(RescanError):
            list(segments.read(Position(), end))


def test_a_missing_file_is_an_error_and_nothing_written_is_none(tmp_path: Path) -> None:
    assert list(Segments(tmp_path / "none").read(Position(), Position())) == []
    with pytest.raises(RescanError):
        list(Segments(tmp_path / "none").read(Position(), Position(1, 100)))


@given(rows=st.lists(ROWS, min_size=1, max_size=20))
def test_an_answer_survives_the_way(rows: list[HashedRow]) -> None:
    assert unpack_rows(pack_rows(rows), at_most=len(rows)) == rows
    assert len(fingerprints_of(rows)) == len(rows)
    with pytest.raises(RescanError):
        unpack_rows(pack_rows(rows), at_most=len(rows) - 1)


@given(rows=st.lists(ROWS, min_size=1, max_size=4), data=st.data())
def test_a_broken_answer_is_an_error_of_ours_or_an_answer(rows: list[HashedRow], data: st.DataObject) -> None:
    whole = bytearray(pack_rows(rows))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(RescanError):
        fingerprints_of(unpack_rows(bytes(whole), at_most=10))


@given(keys=st.lists(TEXTS, max_size=5))
def test_a_task_survives_the_way(keys: list[str]) -> None:
    task = ChunkTask(
        root="/srv", keys=tuple(keys), sizes=(1,), recipe="fast", limits=Limits(max_frame_pixels=7)
    )
    assert ChunkTask.unpack(task.pack()) == task
