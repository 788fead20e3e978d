"""What lies in a storage: an address in, its items out in one order, from any place of that order on.

    /srv/uploads                every file below a folder, or one file
    s3://bucket/prefix, sftp:…  whatever fsspec can list
    list:/path/names.txt        one path or address a line
    s3-inventory:/path/manifest.json

Promises: streaming, one folder's names in memory at most; the same order at every listing, so that a cursor
is enough to go on; links to folders are not followed; what cannot be listed is an item of its own, so that
it shows up as unscannable rather than be passed over. No address with a password is taken.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import translate
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import urlsplit

from iii_client.errors import ConfigurationError
from iii_client.rescan import s3
from iii_client.rescan.entries import Entry, patiently
from iii_client.rescan.s3_inventory import S3Inventory

#: A line of a file list that is longer is no path and no address.
MAX_LINE_BYTES = 8192

_LIST = "list:"
_S3_INVENTORY = "s3-inventory:"


#: How an item is read: a local path, or a function that opens it.
ItemSource = Path | Callable[[], BinaryIO]
#: From an item's key and listed size to how it is read.
Opener = Callable[[str, int], ItemSource]


class Inventory(Protocol):
    """Lists one root."""

    def entries(self, after: str) -> Iterator[Entry]:
        """Every item behind a cursor, in order; from the first for an empty one."""
        ...


def normal_root(address: str) -> str:
    """An address as jobs keep it: local paths absolute, no slash at the end.

    Raises:
        ConfigurationError: an empty address, one with a password, or a local one that does not exist.
    """
    if not address:
        # Path("") is the working directory: an unset variable in a script must not scan that.
        raise ConfigurationError("an empty address was given", hint="Is a variable of your script unset?")
    for prefix in (_LIST, _S3_INVENTORY):
        if address.startswith(prefix):
            return prefix + _existing(address.removeprefix(prefix))
    if "://" not in address:
        return _existing(address)
    if urlsplit(address).password is not None:
        raise ConfigurationError(
            "an address with a password would be kept in the ledger and its reports",
            hint="Give it to the driver: environment, ~/.ssh/config, or fsspec's own configuration.",
        )
    return (
        _existing(address.removeprefix("file://")) if address.startswith("file://") else address.rstrip("/")
    )


def refuse_overlap(roots: Sequence[str]) -> None:
    """Every item belongs to one root.

    Raises:
        ConfigurationError: one root lies below another.
    """
    ordered = sorted(roots)
    for one, other in pairwise(ordered):
        if other == one or other.startswith(one.rstrip("/") + "/"):
            raise ConfigurationError(
                "one address lies below another: its items would count twice",
                hint="Name the outer one alone.",
            )


def open_inventory(root: str) -> Inventory:
    """The inventory of a normal root.

    Raises:
        ConfigurationError: no driver for this kind of storage is installed.
    """
    if root.startswith(_LIST):
        return _FileList(Path(root.removeprefix(_LIST)))
    if root.startswith(_S3_INVENTORY):
        return S3Inventory(Path(root.removeprefix(_S3_INVENTORY)))
    if "://" not in root:
        return _Tree(_LocalFolders(root))
    fs, path = _filesystem(root)
    return s3.Bucket(fs, path) if _is_s3(root) else _Tree(_FsspecFolders(fs, path))


def reference_of(root: str, key: str) -> str:
    """Where an application finds an item again."""
    if root.startswith(_LIST):
        return key
    if root.startswith(_S3_INVENTORY):
        return f"s3://{key}"
    return f"{root.rstrip('/')}/{key}" if key else root


def opener_of(root: str) -> Opener:
    """How items of a root are read, by key and listed size: a local path, or a function that opens the item.

    Raises:
        ConfigurationError: as `open_inventory`.
    """
    if root.startswith(_LIST):
        return lambda key, _: _open_address(key) if "://" in key else Path(key)
    if root.startswith(_S3_INVENTORY):
        fs, _ = _filesystem("s3://")
        return lambda key, size: s3.opener(fs, key, size)
    if "://" not in root:
        return lambda key, _: Path(reference_of(root, key))
    fs, path = _filesystem(root)
    if _is_s3(root):
        return lambda key, size: s3.opener(fs, f"{path}/{key}" if key else path, size)
    return lambda key, _: lambda: fs.open(f"{path}/{key}" if key else path, "rb")


def matcher(include: Sequence[str], exclude: Sequence[str]) -> Callable[[str], bool]:
    """Whether a key is wanted: globs over the whole key, where `*` also passes slashes."""
    wanted = re.compile("|".join(map(translate, include))).match if include else None
    unwanted = re.compile("|".join(map(translate, exclude))).match if exclude else None
    return lambda key: (not wanted or bool(wanted(key))) and not (unwanted and unwanted(key))


# --- trees ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Child:
    name: str
    is_folder: bool
    size_bytes: int = -1
    token: str = ""


class _Folders(Protocol):
    def children(self, path: str) -> list[_Child]:
        """Of a folder, `""` being the root; `OSError` where it cannot be listed."""
        ...

    def single(self) -> _Child | None:
        """The root itself, where it is no folder."""
        ...


class _Tree:
    """Depth first, names of each folder in order; a cursor is the key of the last item."""

    def __init__(self, folders: _Folders) -> None:
        self._folders = folders

    def entries(self, after: str) -> Iterator[Entry]:
        if (single := self._folders.single()) is not None:
            if not after:
                yield Entry(key="", size_bytes=single.size_bytes, token=single.token, cursor=".")
            return
        # A stack of its own: a tree may be deeper than the interpreter recurses.
        stack = [self._listed("", after.split("/") if after else [])]
        while stack:
            step = next(stack[-1], None)
            if step is None:
                stack.pop()
                continue
            path, child, behind = step
            if child.is_folder:
                stack.append(self._listed(path, behind))
            else:
                yield Entry(key=path, size_bytes=child.size_bytes, token=child.token, cursor=path)

    def _listed(self, folder: str, after: Sequence[str]) -> Iterator[tuple[str, _Child, Sequence[str]]]:
        """Children behind a cursor, each with what of the cursor lies below it."""
        try:
            # An object and a "folder" may have one name in a bucket: the object comes first.
            children = sorted(self._folders.children(folder), key=lambda child: (child.name, child.is_folder))
        except OSError:
            if not after:
                yield folder, _Child(name=folder, is_folder=False), ()
            return
        for child in children:
            path = f"{folder}/{child.name}" if folder else child.name
            behind: Sequence[str] = ()
            if after:
                if child.name < after[0] or (child.name == after[0] and not child.is_folder):
                    continue
                if child.name == after[0]:
                    behind = after[1:]
            yield path, child, behind


class _LocalFolders:
    def __init__(self, root: str) -> None:
        self._root = root

    def single(self) -> _Child | None:
        try:
            status = Path(self._root).stat()
        except OSError:
            return _Child(name="", is_folder=False)
        return None if stat.S_ISDIR(status.st_mode) else _local_child("", status)

    def children(self, path: str) -> list[_Child]:
        found = []
        with os.scandir(f"{self._root}/{path}") as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    found.append(_Child(name=entry.name, is_folder=True))
                elif entry.is_symlink() and entry.is_dir():
                    continue  # links may form a loop, or lead out of what is scanned
                else:
                    try:
                        found.append(_local_child(entry.name, entry.stat()))
                    except OSError:
                        found.append(_Child(name=entry.name, is_folder=False))
        return found


def _local_child(name: str, status: os.stat_result) -> _Child:
    token = f"{status.st_size}-{status.st_mtime_ns}"
    return _Child(name=name, is_folder=False, size_bytes=status.st_size, token=token)


class _FsspecFolders:
    def __init__(self, fs: Any, root: str) -> None:
        self._fs = fs
        self._root = root

    def single(self) -> _Child | None:
        # `isdir` answers False for a storage that cannot be reached, which must not read as a file.
        info = patiently(lambda: self._fs.info(self._root))
        return None if info["type"] == "directory" else _remote_child("", info)

    def children(self, path: str) -> list[_Child]:
        folder = f"{self._root}/{path}" if path else self._root
        found = []
        for info in patiently(lambda: self._fs.ls(folder, detail=True)):
            # An index page of a web server also links elsewhere; a bucket's "folder" may list itself.
            if not info["name"].startswith(f"{folder.rstrip('/')}/"):
                continue
            name = info["name"].removeprefix(f"{folder.rstrip('/')}/").rstrip("/")
            if name and "/" not in name:
                found.append(_remote_child(name, info))
        return found


#: What drivers call that which changes with the content, the most telling first.
_TOKENS = ("ETag", "etag", "version_id", "VersionId", "md5Hash", "generation")
_TIMES = ("mtime", "LastModified", "last_modified", "created")


def _remote_child(name: str, info: dict[str, Any]) -> _Child:
    size = info.get("size")
    token = next((str(info[word]) for word in _TOKENS if info.get(word)), "")
    changed = next((str(info[word]) for word in _TIMES if info.get(word)), "")
    return _Child(
        name=name,
        is_folder=info["type"] == "directory",
        size_bytes=-1 if size is None else int(size),
        token=token.strip('"') or f"{size}-{changed}",
    )


# --- lists ----------------------------------------------------------------------------------------------


class _FileList:
    """One path or address a line; a cursor is the byte behind the line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def entries(self, after: str) -> Iterator[Entry]:
        with self._path.open("rb") as file:
            file.seek(int(after or 0))
            while line := file.readline(MAX_LINE_BYTES + 1):
                if len(line) > MAX_LINE_BYTES:
                    raise ConfigurationError(f"the file list has a line of more than {MAX_LINE_BYTES} bytes")
                if name := os.fsdecode(line.rstrip(b"\r\n")):
                    yield Entry(key=name, size_bytes=-1, token="", cursor=str(file.tell()))


def _open_address(address: str) -> Callable[[], BinaryIO]:
    def opened() -> BinaryIO:
        fs, path = _filesystem(address)
        stream: BinaryIO = fs.open(path, "rb")
        return stream

    return opened


def _is_s3(root: str) -> bool:
    return root.startswith(("s3://", "s3a://"))


def _filesystem(address: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs  # a rescan of a local folder never loads it

    try:
        # `::` chains file systems in fsspec; in an item's own name it is just a name.
        fs, path = url_to_fs(address, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise ConfigurationError(
            f"no driver for {urlsplit(address).scheme}:// is installed",
            hint="Install the fsspec driver of the scheme, e.g. s3fs for s3://, paramiko for sftp://.",
        ) from error
    return fs, str(path).rstrip("/")


def _existing(path: str) -> str:
    absolute = os.path.abspath(path)  # noqa: PTH100 - keeps links as they were named
    if not os.path.lexists(absolute):
        raise ConfigurationError("a path that was given does not exist", hint="Check its spelling.")
    return absolute
