"""Lists of known hashes, as rows of one CSV form.

    algorithm,value,quality,list,source,scheme,code[,item]
    md5,0cc175b9c0f1b6a831c399e269772661,100,example-list,example-body,,

One row a hash and category; `scheme` and `code` are both empty when the list gives no category. Rows that
follow each other and differ in their category alone are one entry. `quality` is PDQ's (0 to 100), and 100
for digests. Hashes of one picture may name the same `item`: any word that the list keeps for that picture.
The reader is strict, streams, and names line and column of a fault, never the hash.
"""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TextIO

from iii_client.errors import ConfigurationError
from iii_client.model import Algorithm, Category, HashValue
from iii_client.publisher.bad_rows import BadRow, OnBadRow, refuse_bad_row

COLUMNS = ("algorithm", "value", "quality", "list", "source", "scheme", "code")
#: A list that says which hashes are of one picture has one column more.
ITEM_COLUMN = "item"

#: Quality of a hash that has none of its own: a digest is as good as it gets.
FULL_QUALITY = 100

#: Longest line and longest name, in characters. A longer one is a mistake, not a list.
MAX_LINE = 4096
MAX_NAME = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ListEntry:
    """One listed hash.

    Attributes:
        hash: what is listed.
        quality: PDQ's picture quality, 0 to 100; `FULL_QUALITY` for digests.
        list_name: the list it stands on.
        source: the body that put it there.
        categories: as published, each with this entry's source.
        item: the same word for all hashes of one picture on this list; empty when the list does not say.

    Raises:
        ValueError: a quality out of range, or a category of another source.
    """

    hash: HashValue
    quality: int
    list_name: str
    source: str
    categories: tuple[Category, ...] = ()
    item: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.quality <= FULL_QUALITY:
            raise ValueError(f"quality {self.quality} is not between 0 and {FULL_QUALITY}")
        if self.hash.algorithm.is_digest and self.quality != FULL_QUALITY:
            raise ValueError(f"the quality of a digest is {FULL_QUALITY}")
        if any(category.source != self.source for category in self.categories):
            raise ValueError("a category of another source than its entry's")


def read_csv(file: TextIO, *, on_bad_row: OnBadRow = refuse_bad_row) -> Iterator[ListEntry]:
    """Read entries one by one; open the file with `newline=""` and UTF-8.

    Args:
        file: the list.
        on_bad_row: told about each row that cannot be listed, and the reading goes on; by default the
            first one ends it.

    Raises:
        ConfigurationError: the file is no such list: no header, broken quoting, an endless line, not UTF-8.
    """
    pending: ListEntry | None = None
    for entry in _read_rows(file, on_bad_row):
        if pending is None:
            pending = entry
        elif _differ_in_category_alone(pending, entry):
            categories = dict.fromkeys((*pending.categories, *entry.categories))
            pending = replace(pending, categories=tuple(categories))
        else:
            yield pending
            pending = entry
    if pending is not None:
        yield pending


def write_csv(entries: Iterable[ListEntry], file: TextIO, *, with_items: bool = False) -> None:
    """Write entries in the order given, in the form that `read_csv` reads."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow((*COLUMNS, ITEM_COLUMN) if with_items else COLUMNS)
    for entry in entries:
        named = (entry.hash.algorithm, entry.hash.hex, entry.quality, entry.list_name, entry.source)
        item = (entry.item,) if with_items else ()
        for category in entry.categories or (Category(scheme="", code="", source=entry.source),):
            writer.writerow((*named, category.scheme, category.code, *item))


@lru_cache(maxsize=4096)
def check_name(text: str) -> str | None:
    """What is wrong with the name of a list, source, scheme, code or item; None when nothing is."""
    if not text:
        return "must not be empty"
    if len(text) > MAX_NAME or not text.isprintable() or text != text.strip():
        return f"must be at most {MAX_NAME} printable characters, not padded"
    return None


def _differ_in_category_alone(one: ListEntry, other: ListEntry) -> bool:
    return one.hash == other.hash and (one.quality, one.list_name, one.source, one.item) == (
        other.quality,
        other.list_name,
        other.source,
        other.item,
    )


def _read_rows(file: TextIO, on_bad_row: OnBadRow) -> Iterator[ListEntry]:
    reader = csv.reader(_bounded_lines(file), strict=True)
    line = 1
    width = 0
    try:
        for row in reader:
            if not width:
                width = _check_header(row)
            else:
                try:
                    yield _parse_row(row, width)
                except _FieldError as bad:
                    on_bad_row(BadRow(place=f"line {line}, {bad.column}", what=bad.what))
            line = reader.line_num + 1
    except csv.Error as error:
        raise _fault(reader.line_num, "quoting", str(error)) from None
    except UnicodeDecodeError:
        raise _fault(line, "text", "is not UTF-8") from None
    if not width:
        raise _fault(1, "header", "is missing")


def _bounded_lines(file: TextIO) -> Iterator[str]:
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise _fault(number, "line", f"is longer than {MAX_LINE} characters")
        yield line


def _check_header(row: list[str]) -> int:
    """How many columns the list has."""
    # Spreadsheets on Windows put a byte order mark in front.
    names = tuple(name.removeprefix("\ufeff") for name in row)
    if names not in {COLUMNS, (*COLUMNS, ITEM_COLUMN)}:
        raise _fault(1, "header", f"must be {','.join(COLUMNS)}")
    return len(names)


class _FieldError(Exception):
    """One field of a row is wrong."""

    def __init__(self, column: str, what: str) -> None:
        super().__init__(column, what)
        self.column = column
        self.what = what


def _parse_row(row: list[str], width: int) -> ListEntry:
    if len(row) != width:
        raise _FieldError("line", f"has {len(row)} columns, {width} are needed")
    algorithm_name, value, quality, list_name, source, scheme, code, *rest = row
    item = rest[0] if rest else ""
    try:
        algorithm = Algorithm(algorithm_name)
    except ValueError:
        raise _FieldError("algorithm", f"must be one of {', '.join(Algorithm)}") from None
    try:
        hash_value = HashValue.from_hex(algorithm, value)
    except ValueError as error:
        raise _FieldError("value", str(error)) from None
    if not (quality.isascii() and quality.isdigit() and len(quality) <= 3 and int(quality) <= FULL_QUALITY):
        raise _FieldError("quality", f"must be a whole number from 0 to {FULL_QUALITY}")
    if algorithm.is_digest and int(quality) != FULL_QUALITY:
        raise _FieldError("quality", f"must be {FULL_QUALITY} for a digest")
    for column, text, needed in (
        ("list", list_name, True),
        ("source", source, True),
        ("scheme", scheme, bool(code)),
        ("code", code, bool(scheme)),
        ("item", item, False),
    ):
        if (text or needed) and (what := check_name(text)):
            raise _FieldError(column, what)
    return ListEntry(
        hash=hash_value,
        quality=int(quality),
        list_name=list_name,
        source=source,
        categories=(Category(scheme=scheme, code=code, source=source),) if scheme else (),
        item=item,
    )


def _fault(line: int, column: str, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"the list is malformed: line {line}, {column} {what}",
        hint=f"A list is a CSV file with the header {','.join(COLUMNS)}.",
    )
