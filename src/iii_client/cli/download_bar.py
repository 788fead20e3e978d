"""A bar for downloads on standard error, where a person is looking and a file is large enough to wait for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from iii_client.cli.render import err

#: Smaller files are here before a bar would be read.
SHOWN_FROM_BYTES = 1 << 20


@contextmanager
def download_bar() -> Iterator[Callable[[int, int], None]]:
    """A function for `Updater(progress=…)`, which moves the bar; it shows nothing where nobody looks."""
    columns = (TextColumn("downloading"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("", visible=False)

        def moved(done: int, total: int) -> None:
            if total >= SHOWN_FROM_BYTES:
                bar.update(task, completed=done, total=total, visible=True)

        yield moved
