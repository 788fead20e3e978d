"""Which file lies at a path: how a holder of an open file learns that it was removed or replaced."""

from pathlib import Path


def file_identity(path: Path) -> tuple[int, int] | None:
    """Device and inode; None when there is no file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
