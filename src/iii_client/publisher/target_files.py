"""The files of a repository that are not metadata, in a folder that any web server can serve.

    base/<epoch>/<sha256>.filter.bin        exact sections
    delta/<epoch>/<sha256>.<n>.delta        bits to add to them
    near/<convention>/<sha256>.<n>.near     near segments

A file lies under the digest of its content, so it never changes: it may be cached for ever, and a client
in the middle of a download is not disturbed by a new release.
"""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuf.api.metadata import TargetFile

from iii_client.errors import ConfigurationError
from iii_client.updates.durable import install_durably, replace_durably

#: Readable for the web server's group alone: the filter is to be treated as the list is.
FILE_MODE = 0o640


class TargetFiles:
    """The `targets` folder of a repository."""

    def __init__(self, directory: Path) -> None:
        self._dir = directory

    def write(self, path: str, content: bytes, *, custom: Mapping[str, Any]) -> TargetFile:
        """Put a file where clients look for it, and describe it for signing.

        Raises:
            OSError: it could not be written.
        """
        digest = hashlib.sha256(content).hexdigest()
        replace_durably(self._file(path, digest), content, mode=FILE_MODE)
        return _target(path, length=len(content), sha256=digest, custom=custom)

    def copy(self, path: str, source: Path, *, sha256: str, custom: Mapping[str, Any]) -> TargetFile:
        """The same for a large file that exists already, whose digest is known.

        Raises:
            OSError: it could not be written.
        """
        file = self._file(path, sha256)
        if not file.exists():
            temporary = file.with_name(f".{file.name}.new")
            shutil.copyfile(source, temporary)
            temporary.chmod(FILE_MODE)
            install_durably(temporary, file)
        return _target(path, length=source.stat().st_size, sha256=sha256, custom=custom)

    def read(self, target: TargetFile) -> bytes:
        """The content of a target.

        Raises:
            ConfigurationError: its file is missing, or is not the one that was signed.
        """
        digest = target.hashes["sha256"]
        try:
            content = self._file(target.path, digest).read_bytes()
        except OSError:
            content = b""
        if hashlib.sha256(content).hexdigest() != digest:
            raise ConfigurationError(
                f"{target.path} in the repository is missing or damaged",
                hint="Restore the repository's folder from a backup, or publish a new base.",
            )
        return content

    def forget_before(self, epoch: int) -> None:
        """Remove bases and deltas of older epochs."""
        for kind in ("base", "delta"):
            for folder in (self._dir / kind).glob("[0-9]*"):
                if folder.name.isdigit() and int(folder.name) < epoch:
                    shutil.rmtree(folder)

    def _file(self, path: str, sha256: str) -> Path:
        file = self._dir / path
        file.parent.mkdir(parents=True, exist_ok=True)
        return file.with_name(f"{sha256}.{file.name}")


def _target(path: str, *, length: int, sha256: str, custom: Mapping[str, Any]) -> TargetFile:
    return TargetFile(
        length=length, hashes={"sha256": sha256}, path=path, unrecognized_fields={"custom": dict(custom)}
    )
