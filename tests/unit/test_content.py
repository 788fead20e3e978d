"""The four doors of Content: what comes in is what is read, nothing is changed, nothing is waited for."""

import io
import lzma
import os
import pickle
import socket
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from iii_client.content import IN_MEMORY_MAX_BYTES, Content
from iii_client.errors import ContentTooLargeError, NotAFileError, UnreadableContentError

SMALL = b"harmless " * 1000
LARGE = bytes(range(256)) * (IN_MEMORY_MAX_BYTES // 256) + b"beyond what is kept in memory"


class OneWay(io.RawIOBase):
    """A stream that can be read once and not rewound, as a socket or a pipe."""

    def __init__(self, data: bytes) -> None:
        self._inner = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        return self._inner.readinto(buffer)


def read_all(content: Content) -> bytes:
    with content.open() as stream:
        return stream.read()


@pytest.mark.parametrize("data", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
def test_every_door_gives_the_same_bytes_as_often_as_asked(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with path.open("rb") as file:
        doors = [
            Content.from_bytes(data),
            Content.from_path(path),
            Content.from_path(str(path)),
            Content.from_file(file),
            Content.from_file(cast(BinaryIO, OneWay(data))),
            Content.from_url(path.as_uri()),
        ]
        for content in doors:
            assert content.size_bytes == len(data)
            assert read_all(content) == data
            assert read_all(content) == data


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_a_file_object_comes_back_as_it_was(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with path.open("r+b") as file:
        file.seek(17)
        content = Content.from_file(file)
        with content.open() as stream:
            assert stream.read(100) == data[:100]
            stream.seek(-5, os.SEEK_END)
            assert stream.read() == data[-5:]
            assert file.tell() == 17
        content.close()
        assert file.tell() == 17
        assert not file.closed
    assert path.read_bytes() == data


def test_two_readers_of_one_large_file_object_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(LARGE)
    read: list[bytes] = []
    with path.open("rb") as file:
        content = Content.from_file(file)
        threads = [threading.Thread(target=lambda: read.append(read_all(content))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert read == [LARGE] * 4


def test_a_one_way_stream_over_its_cap_is_refused() -> None:
    content = Content.from_file(cast(BinaryIO, OneWay(SMALL)), max_bytes=len(SMALL) - 1)
    with pytest.raises(ContentTooLargeError) as caught:
        read_all(content)
    assert caught.value.limit == "max_content_bytes"
    assert read_all(Content.from_file(cast(BinaryIO, OneWay(SMALL)), max_bytes=len(SMALL))) == SMALL


def test_a_mutable_buffer_may_change_afterwards() -> None:
    buffer = bytearray(b"before")
    content = Content.from_bytes(buffer)
    buffer[:] = b"after!"
    assert read_all(content) == b"before"


def test_nothing_is_touched_before_the_first_use(tmp_path: Path) -> None:
    path = tmp_path / "later"
    content = Content.from_path(path)
    path.write_bytes(SMALL)
    assert read_all(content) == SMALL


def test_directories_fifos_devices_and_sockets_are_no_files_and_never_waited_for(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "link").symlink_to(fifo)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        for path in (tmp_path, fifo, tmp_path / "link", Path("/dev/zero"), tmp_path / "s"):
            content = Content.from_path(path)
            with pytest.raises(NotAFileError):
                read_all(content)
            with pytest.raises(NotAFileError):
                _ = content.size_bytes


def test_broken_links_missing_files_and_impossible_names_are_unreadable(tmp_path: Path) -> None:
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("broken", "loop", "missing", "a\0b", "x" * 5000):
        with pytest.raises(UnreadableContentError) as caught:
            read_all(Content.from_path(str(tmp_path / name)))
        assert not isinstance(caught.value, NotAFileError)
        assert name not in str(caught.value)
        assert str(tmp_path) not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(SMALL)
    path.chmod(0)
    with pytest.raises(UnreadableContentError, match="Permission denied"):
        read_all(Content.from_path(path))


def test_text_files_closed_files_and_failing_files_are_unreadable() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    closed = io.BytesIO(SMALL)
    closed.close()
    for file in (io.StringIO("text"), closed, Failing(SMALL)):
        with pytest.raises(UnreadableContentError):
            read_all(Content.from_file(cast(BinaryIO, file)))


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_a_file_that_is_replaced_between_two_readers_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    content = Content.from_path(path)
    assert content.size_bytes == len(data)
    (tmp_path / "new").write_bytes(data[::-1])
    (tmp_path / "new").replace(path)
    with pytest.raises(UnreadableContentError, match="changed"):
        read_all(content)


def test_a_large_file_that_shrinks_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(LARGE)
    with Content.from_path(path).open() as stream:
        stream.read(10)
        os.truncate(path, 1000)
        with pytest.raises(UnreadableContentError, match="changed"):
            stream.read()


class Strange(io.BytesIO):
    """A file object that raises something of its own, at one of the things it is asked for."""

    def __init__(self, at: str, fault: Exception) -> None:
        super().__init__(SMALL)
        self._at, self._fault = at, fault

    def _maybe(self, at: str) -> None:
        if at == self._at:
            raise self._fault

    def seekable(self) -> bool:
        self._maybe("seekable")
        return self._at != "one-way read"

    def tell(self) -> int:
        self._maybe("tell")
        return super().tell()

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._maybe("seek")
        return super().seek(offset, whence)

    def read(self, size: int | None = -1, /) -> bytes:
        self._maybe("read")
        self._maybe("one-way read")
        return super().read(size)


@pytest.mark.parametrize("at", ["tell", "seek", "read", "one-way read"])
@pytest.mark.parametrize(
    "fault",
    [RuntimeError("of a driver"), lzma.LZMAError("corrupt"), zipfile.BadZipFile("bad"), KeyError("x")],
    ids=lambda fault: type(fault).__name__,
)
def test_whatever_a_file_object_raises_it_is_unreadable(at: str, fault: Exception) -> None:
    content = Content.from_file(Strange(at, fault))
    with pytest.raises(UnreadableContentError, match=type(fault).__name__):
        read_all(content)


def test_a_file_that_cannot_say_whether_it_seeks_is_read_once() -> None:
    assert read_all(Content.from_file(Strange("seekable", RuntimeError()))) == SMALL


def test_a_broken_compressed_file_is_unreadable() -> None:
    broken = bytearray(lzma.compress(LARGE))
    broken[len(broken) // 2] ^= 0xFF
    with lzma.open(io.BytesIO(bytes(broken))) as file, pytest.raises(UnreadableContentError):
        read_all(Content.from_file(cast(BinaryIO, file)))


def test_an_address_keeps_its_cap_when_it_travels(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(SMALL)
    travelled = pickle.loads(pickle.dumps(Content.from_url(path.as_uri(), max_bytes=len(SMALL) - 1)))
    with pytest.raises(ContentTooLargeError):
        _ = travelled.size_bytes


def test_addresses_that_no_driver_knows_or_finds_are_unreadable() -> None:
    for url in ("no-such-scheme://x/y", "memory://not-there", "file:///not/there"):
        with pytest.raises(UnreadableContentError) as caught:
            read_all(Content.from_url(url))
        assert "there" not in str(caught.value)


def test_a_repr_shows_no_name(tmp_path: Path) -> None:
    assert repr(Content.from_path(tmp_path / "holiday.jpg")) == "Content(LocalFile)"


def test_200_mb_add_less_than_20_mb_of_memory(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(200 << 20)  # a sparse file: reading it is all there is
    program = f"""
import resource
from iii_client.content import Content
from iii_client.config import Limits
from iii_client.fingerprint import RECIPES, build_fingerprint, warm_up
warm_up()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
content = Content.from_path({str(path)!r})
found = build_fingerprint(content, recipe=RECIPES["fast"], limits=Limits())
assert len(found.digests) == 3, found
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    out = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert float(out.stdout) < 20


def test_importing_it_loads_the_standard_library_alone() -> None:
    program = "import sys, iii_client.content; print(*(m.partition('.')[0] for m in sys.modules))"
    out = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert not set(out.stdout.split()) & {"fsspec", "numpy", "PIL", "requests"}
