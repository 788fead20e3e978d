"""Files by address: never overwritten, whole or absent, private; local disks and fsspec alike."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from iii_client.errors import RecordError
from iii_client.records import places
from iii_client.records.places import AlreadyThereError, NotThereError, Permissions


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "local":
        yield str(tmp_path / "a" / "b")
        return
    yield f"memory://{tmp_path.name}/b"
    import fsspec

    with contextlib.suppress(FileNotFoundError):
        fsspec.filesystem("memory").rm(tmp_path.name, recursive=True)


def content_of(address: str) -> bytes:
    with places.reading(address) as stream:
        return stream.read()


def test_what_was_written_is_read_listed_and_removed(folder: str) -> None:
    address = places.join(folder, "x")
    places.write_new(address, iter([b"ab", b"c"]))
    assert content_of(address) == b"abc"
    assert places.exists(address)
    assert places.names(folder) == ("x",)
    places.remove(address)
    places.remove(address)
    assert not places.exists(address)
    places.write_new(address, [])
    assert content_of(address) == b""


def test_nothing_is_ever_overwritten(folder: str) -> None:
    address = places.join(folder, "x")
    places.write_new(address, [b"first"])
    with pytest.raises(AlreadyThereError):
        places.write_new(address, [b"second"])
    assert content_of(address) == b"first"
    assert places.names(folder) == ("x",)


def test_a_content_that_breaks_off_leaves_no_file(folder: str) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise RecordError("the source broke")

    with pytest.raises(RecordError, match="the source broke"):
        places.write_new(places.join(folder, "x"), broken())
    assert places.names(folder) == ()


def test_what_is_not_there_is_said_so_without_its_name(folder: str) -> None:
    with (
        pytest.raises(NotThereError) as caught,
        places.reading(places.join(folder, "holiday-of-alice.jpg")),
    ):
        pass
    assert "alice" not in str(caught.value) + caught.value.hint
    assert caught.value.__cause__ is None


def test_local_files_are_private_and_keep_their_permissions_when_asked(tmp_path: Path) -> None:
    places.write_new(str(tmp_path / "new" / "private"), [b"x"])
    assert stat.S_IMODE((tmp_path / "new" / "private").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    for name, like in (
        ("back", Permissions(mode=0o4644)),
        ("owned", Permissions(mode=0o644, uid=os.getuid(), gid=os.getgid())),
    ):
        places.write_new(str(tmp_path / name), [b"x"], like=like)
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o644


def test_a_broken_link_counts_as_a_file_and_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert places.exists(str(tmp_path / "link"))
    with pytest.raises(AlreadyThereError):
        places.write_new(str(tmp_path / "link"), [b"x"])
    assert not (tmp_path / "elsewhere").exists()


def test_a_storage_without_a_driver_says_what_to_install() -> None:
    with pytest.raises(RecordError) as caught:
        places.exists("nosuchscheme://bucket/x")
    assert "ValueError" in str(caught.value) or "driver" in caught.value.hint


def test_a_file_address_is_a_local_path(tmp_path: Path) -> None:
    places.write_new(f"file://{tmp_path}/x", [b"x"])
    assert (tmp_path / "x").read_bytes() == b"x"
    assert places.permissions(f"file://{tmp_path}/x").mode == 0o600
    assert places.permissions("memory://x") == places.UNKNOWN
