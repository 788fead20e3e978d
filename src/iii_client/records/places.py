"""Files by address: a local path, or anything fsspec can reach (`s3://…`, `sftp://…`).

Promises: `write_new` never overwrites, and on a local disk there is the whole file, synced, or none; local
files are made with mode 0600. Errors name neither file nor place.
"""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from iii_client.errors import RecordError


class AlreadyThereError(RecordError):
    """There is a file at the address; it was left as it is."""


class NotThereError(RecordError):
    """There is no file at the address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Permissions:
    """Of a local file; -1 where nothing is known.

    Attributes:
        mode: the permission bits.
        uid, gid: its owners.
        names: how many hard links it has.
    """

    mode: int = -1
    uid: int = -1
    gid: int = -1
    names: int = 1


UNKNOWN = Permissions()


def permissions(address: str) -> Permissions:
    """Of a local file; `UNKNOWN` of any other."""
    path = local_path(address)
    if path is None:
        return UNKNOWN
    with _local_errors():
        status = path.stat()
    return Permissions(
        mode=status.st_mode & 0o7777, uid=status.st_uid, gid=status.st_gid, names=status.st_nlink
    )


def local_path(address: str) -> Path | None:
    """The path of a local address; None of any other."""
    if address.startswith("file://"):
        return Path(address.removeprefix("file://"))
    return None if "://" in address else Path(address)


def resolved(address: str) -> str:
    """A local address without links, absolute; any other as it is."""
    path = local_path(address)
    return address if path is None else os.path.realpath(path)


def join(place: str, name: str) -> str:
    """The address of a file in a folder, bucket or prefix."""
    return f"{place.rstrip('/')}/{name}"


@contextlib.contextmanager
def reading(address: str) -> Iterator[BinaryIO]:
    """A binary stream of the file.

    Raises:
        NotThereError: there is none.
        RecordError: it cannot be read.
    """
    path = local_path(address)
    if path is not None:
        with _local_errors():
            stream = path.open("rb")
        with stream, _local_errors():
            yield stream
        return
    with _remote_errors():
        fs, inner = _remote(address)
        with fs.open(inner, "rb") as remote:
            yield cast(BinaryIO, remote)


def write_new(address: str, chunks: Iterable[bytes], *, like: Permissions = UNKNOWN) -> None:
    """Write a file where there is none.

    Folders above it are made as needed. Another storage than a local disk may let a second writer win a race
    to the same address; names of our own are random.

    Args:
        address: where to.
        chunks: its content.
        like: permissions to give it, as far as this process may.

    Raises:
        AlreadyThereError: there is a file; it was not touched.
        RecordError: it cannot be written; nothing is left.
    """
    path = local_path(address)
    if path is not None:
        with _local_errors():
            _write_local(path, chunks, like)
        return
    with _remote_errors():
        fs, inner = _remote(address)
        if fs.exists(inner):
            raise AlreadyThereError("there is a file at that address already")
        try:
            with fs.open(inner, "wb") as remote:
                for chunk in chunks:
                    remote.write(chunk)
        except BaseException:
            # Leaving the block has stored what was written until then.
            with contextlib.suppress(Exception):
                fs.rm_file(inner)
            raise


def remove(address: str) -> None:
    """Delete the file; one that is not there is fine.

    Raises:
        RecordError: it cannot be deleted.
    """
    path = local_path(address)
    if path is not None:
        with _local_errors():
            path.unlink(missing_ok=True)
            if path.parent.exists():
                _sync_directory(path.parent)
        return
    with _remote_errors():
        fs, inner = _remote(address)
        if fs.exists(inner):
            fs.rm_file(inner)


def exists(address: str) -> bool:
    """Whether there is anything at the address; a broken link counts.

    Raises:
        RecordError: the place does not tell.
    """
    path = local_path(address)
    if path is not None:
        return os.path.lexists(path)
    with _remote_errors():
        fs, inner = _remote(address)
        return bool(fs.exists(inner))


def names(place: str) -> tuple[str, ...]:
    """Names of the files of a folder or prefix, sorted; none where there is no such place."""
    path = local_path(place)
    if path is not None:
        with _local_errors():
            return tuple(sorted(entry.name for entry in path.iterdir())) if path.is_dir() else ()
    with _remote_errors():
        fs, inner = _remote(place)
        if not fs.exists(inner):
            return ()
        return tuple(sorted(str(entry).rsplit("/", 1)[-1] for entry in fs.ls(inner, detail=False)))


def _write_local(path: Path, chunks: Iterable[bytes], like: Permissions) -> None:
    if os.path.lexists(path):
        raise AlreadyThereError("there is a file at that address already")
    _make_folder(path.parent)
    with _draft(path.parent) as (file, draft):
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        _give(file.fileno(), like)
        os.fsync(file.fileno())
        _name_once(draft, path)
    _sync_directory(path.parent)


@contextlib.contextmanager
def _draft(folder: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """An open file of the folder, and a path that links to it. Without a name where the file system can do
    that: a process that dies while it puts a picture back must not leave half of it in a public folder."""
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        descriptor = os.open(".", os.O_TMPFILE | os.O_WRONLY, 0o600, dir_fd=directory)
        named = Path(f"/proc/self/fd/{descriptor}")
    except (OSError, AttributeError):  # FAT, network mounts, other systems than Linux
        named = folder / f".{secrets.token_hex(8)}.new"
        descriptor = os.open(named, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    finally:
        os.close(directory)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file, named
    finally:
        if named.parent == folder:
            named.unlink(missing_ok=True)


def _make_folder(path: Path) -> None:
    """Private, and durable up to the first folder that was there."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
        _sync_directory(folder.parent)


def _name_once(draft: Path, path: Path) -> None:
    """Give a finished file its name, unless somebody else has it: a link, unlike a rename, never replaces."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # With a descriptor, Python calls linkat(2), which follows /proc/self/fd to the file, as link(2) does
        # not.
        os.link(draft, path.name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=True)
    except FileExistsError:
        raise AlreadyThereError("there is a file at that address already") from None
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS) or draft.parent != path.parent:
            raise
        # FAT and some network mounts know no links: take the name first, then put the file under it.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        draft.replace(path)
    finally:
        os.close(directory)


def _give(descriptor: int, like: Permissions) -> None:
    if like.mode >= 0:
        # Never the bits that let a file run as its owner.
        os.fchmod(descriptor, like.mode & 0o777)
    if like.uid >= 0:
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, like.uid, like.gid)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remote(address: str) -> tuple[Any, str]:
    import fsspec  # not at the top: a hoster without remote storage never loads it

    fs, inner = fsspec.core.url_to_fs(address)
    # Drivers remember listings: what another process wrote meanwhile must be seen.
    fs.invalidate_cache()
    return fs, inner


@contextlib.contextmanager
def _local_errors() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise NotThereError("there is no such file or place") from None
    except OSError as error:
        raise RecordError(
            f"a file cannot be read or written: {error.strerror or type(error).__name__}",
            hint="Check free space and permissions.",
        ) from None


@contextlib.contextmanager
def _remote_errors() -> Iterator[None]:
    try:
        yield
    except RecordError:
        raise
    except ImportError:
        raise RecordError(
            "no driver for this kind of storage is installed",
            hint="Install the fsspec driver of the scheme, e.g. s3fs for s3://.",
        ) from None
    except FileNotFoundError:
        raise NotThereError("there is no such file or place") from None
    except Exception as error:  # the boundary to drivers, which raise types of their own
        raise RecordError(f"the storage refused: {type(error).__name__}") from error
