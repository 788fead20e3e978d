"""Files on their way: downloaded with resume, capped by their signed length, verified before they are used.

What an interrupted download left, also in another process or before a reboot, is not asked for again.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from iii_client.errors import LengthOrHashError
from iii_client.updates.fetcher import RepositoryFetcher
from iii_client.updates.naming import named_errors
from iii_client.updates.trust import TrustedFile

#: Told how many bytes of a file are here, and how many it has. Called for every piece: be quick.
Progress = Callable[[int, int], None]


class Downloads:
    """The downloads of one update. Use it under a lock.

    Args:
        directory: where files grow; on the same file system as where they go.
        fetcher: brings the bytes.
        progress: told of every piece.
    """

    def __init__(
        self, directory: Path, fetcher: RepositoryFetcher, *, progress: Progress = lambda _done, _total: None
    ) -> None:
        self._directory = directory
        self._progress = progress
        self._fetcher = fetcher

    def fetch(self, file: TrustedFile) -> Path:
        """The verified file, in the directory, for the caller to move or to remove.

        Raises:
            LengthOrHashError: a whole download is not the signed file.
            TransportError, ServiceError: it could not be fetched; what came is kept for the next time.
            OSError: the disk refused.
        """
        part = self.path(file)
        kept = part.stat().st_size if part.exists() else 0
        while True:
            try:
                self._complete(file, part, offset=kept if kept <= file.size_bytes else 0)
            except LengthOrHashError:
                part.unlink(missing_ok=True)
                if not kept:
                    raise
                # What was kept may have been wrong: only a whole download can accuse anybody.
                kept = 0
            else:
                return part

    def forget_all_but(self, wanted: Iterable[TrustedFile]) -> None:
        """Remove what interrupted downloads of other releases left, and anything else that is here."""
        paths = {self.path(file) for file in wanted}
        for path in self._directory.iterdir():
            if path not in paths:
                path.unlink(missing_ok=True)

    @property
    def scratch(self) -> Path:
        """Where a file may be made of others."""
        return self._directory / "assembled.part"

    def path(self, file: TrustedFile) -> Path:
        """Where a file grows."""
        return self._directory / f"{file.sha256}.part"

    def _complete(self, trusted: TrustedFile, part: Path, *, offset: int) -> None:
        """Complete `part` from `offset` on, and verify all of it."""
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            if offset < trusted.size_bytes:
                with (
                    named_errors(self._fetcher),
                    self._fetcher.open(trusted.url, max_bytes=trusted.size_bytes, offset=offset) as answer,
                ):
                    start, chunks = answer
                    file.seek(start)
                    file.truncate()
                    for chunk in chunks:
                        file.write(chunk)
                        self._progress(file.tell(), trusted.size_bytes)
            trusted.verify(file)
