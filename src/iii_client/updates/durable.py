"""Files that survive a crash and a second process: write, fsync, then replace; one writer at a time.

A file that somebody may have mapped is never rewritten in place, which would kill the reader with SIGBUS;
it gets a new inode under the old name.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from iii_client.errors import FilterError, UpdateRunningError

#: How often a waiting process looks whether the lock is free.
_LOCK_POLL_S = 0.05


def replace_durably(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Put `content` under `path`: after a crash there is the old file or the new one, never a mixture.

    Raises:
        OSError: it could not be written; the old file is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def install_durably(temporary: Path, path: Path) -> None:
    """Move a finished file of the same file system to `path`, durably.

    Raises:
        OSError: it could not be synced or moved.
    """
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make renames in this directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(path: Path) -> None:
    """Make files that somebody else wrote below this directory durable."""
    for directory, _, names in os.walk(path):
        for name in names:
            with (Path(directory) / name).open("rb") as file:
                os.fsync(file.fileno())
        sync_directory(Path(directory))


@contextmanager
def exclusive_lock(path: Path, *, timeout_s: float) -> Iterator[None]:
    """Hold the lock file at `path`; the kernel frees it when the process dies, however it dies.

    Raises:
        UpdateRunningError: another process held it for all of `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise UpdateRunningError(
                        f"another process has held the lock for {timeout_s:.0f} s",
                        hint="Another update is running; if none should be, look for a hanging process.",
                    ) from None
                time.sleep(_LOCK_POLL_S)
        try:
            yield
        finally:
            # Said, not left to closing: a child forked meanwhile holds the same lock through its copy.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


@contextmanager
def named_disk_errors(what: str, where: str) -> Iterator[None]:
    """What the operating system refuses, as an error with what to do.

    Args:
        what: cannot be stored, e.g. "the filter".
        where: to look, e.g. "III_STATE_DIR".

    Raises:
        FilterError: in place of any OSError.
    """
    try:
        yield
    except OSError as error:
        raise FilterError(
            f"{what} cannot be stored: {error.strerror or type(error).__name__}",
            hint=f"Check the permissions and the free space of {where}. The filter in use stays.",
        ) from error
