"""From the paths a person names to the files that are scanned."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path


def iter_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Every file under the given paths, sorted within each folder, streaming.

    What cannot be read (a broken link, a folder without permission, a path that does not exist) is yielded
    too: it must show up as unscannable rather than be passed over. Links to folders inside a tree are not
    followed, because they may form a loop; a link named by the caller is.
    """
    for path in paths:
        if path.is_dir():
            yield from _walk(path)
        else:
            yield path


def _walk(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            children = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        yield folder
        return
    for child in children:
        if child.is_dir(follow_symlinks=False):
            yield from _walk(Path(child.path))
        elif not (child.is_symlink() and Path(child.path).is_dir()):
            yield Path(child.path)
