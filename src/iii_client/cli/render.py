"""What a person sees: consoles, safe text, and the table of a scan.

Results go to standard output; progress, hints and errors to standard error, so that output can be piped.
"""

import json
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from iii_client.errors import IIIError
from iii_client.model import Coverage

out = Console(highlight=False)
#: A journal's lines are not 80 columns wide: a message stays one line where no person's screen wraps it.
err = Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())


def safe_text(text: str) -> str:
    """A text that cannot steer the terminal: file names are chosen by strangers.

    Control characters, escape sequences and bytes that are no UTF-8 are shown as backslash escapes, and
    rich's own markup is escaped.
    """
    printable = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return escape(printable.encode("utf-8", "backslashreplace").decode())


def print_json_line(value: dict[str, Any]) -> None:
    """One JSON object on one line of standard output, ASCII only, flushed so that a pipe sees it at once."""
    sys.stdout.write(json.dumps(value, separators=(", ", ": ")) + "\n")
    sys.stdout.flush()


def print_error(error: IIIError) -> None:
    """An error of ours and what to do about it."""
    err.print(f"[bold red]error:[/] {safe_text(str(error))}")
    if error.hint:
        err.print(f"  {safe_text(error.hint)}")


def size(size_bytes: int) -> str:
    """A size for people: `1.4 MiB`."""
    value = float(size_bytes)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def age(seconds: float) -> str:
    """An age for people: `3 hours`."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return "less than a minute"


def signed_ago(age_s: float) -> str:
    """When a release was signed. Never in the future, unless a clock is wrong."""
    return f"signed {age(age_s)} ago" if age_s >= 0 else f"SIGNED {age(-age_s)} AHEAD OF THIS CLOCK"


def plural(count: int, noun: str) -> str:
    """`1 file`, `2 files`, `2 matches`."""
    ending = "" if count == 1 else ("es" if noun.endswith(("s", "h")) else "s")
    return f"{count:,} {noun}{ending}"


def coverage_table(coverage: Iterable[Coverage]) -> Table:
    """What a release is made of, and of which lists near copies are found."""
    table = Table("list", "kind", "source", "algorithm", "hashes", "near matches", box=None, pad_edge=False)
    for row in coverage:
        near = f"yes, {row.near:,}" if row.can_near_match else "no"
        if row.waiting:
            near += f" ({row.waiting:,} not found yet)"
        table.add_row(
            safe_text(row.list_name),
            row.kind.value,
            safe_text(row.source),
            row.algorithm.value,
            f"{row.hashes:,}",
            near,
        )
    return table


def joined(words: Iterable[str]) -> str:
    """Words for one table cell."""
    return ", ".join(words)
