"""Lists of known hashes, as rows of one CSV form.

    algorithm,value,quality,list,source,scheme,code
    md5,0cc175b9c0f1b6a831c399e269772661,100,example-list,example-body,,

One row a hash and category; `scheme` and `code` are both empty when the list gives no category. Rows that
follow each other and differ in their category alone are one entry. `quality` is PDQ's (0 to 100), and 100
for digests. The reader is strict, streams, and names line and column of a fault, never the hash.
"""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TextIO

from iii_client.errors import ConfigurationError
from iii_client.model import Algorithm, Category, HashValue

COLUMNS = ("algorithm", "value", "quality", "list", "source", "scheme", "code")

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

    Raises:
        ValueError: a quality out of range, or a category of another source.
    """

    hash: HashValue
    quality: int
    list_name: str
    source: str
    categories: tuple[Category, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.quality <= FULL_QUALITY:
            raise ValueError(f"quality {self.quality} is not between 0 and {FULL_QUALITY}")
        if self.hash.algorithm.is_digest and self.quality != FULL_QUALITY:
            raise ValueError(f"the quality of a digest is {FULL_QUALITY}")
        if any(category.source != self.source for category in self.categories):
            raise ValueError("a category of another source than its entry's")


def read_csv(file: TextIO) -> Iterator[ListEntry]:
    """Read entries one by one; open the file with `newline=""` and UTF-8.

    Raises:
        ConfigurationError: the first malformed line, by number and column.
    """
    for _, rows in groupby(_read_rows(file), key=lambda entry: replace(entry, categories=())):
        first, *others = rows
        categories = (*first.categories, *(c for row in others for c in row.categories))
        yield replace(first, categories=tuple(dict.fromkeys(categories)))


def write_csv(entries: Iterable[ListEntry], file: TextIO) -> None:
    """Write entries in the order given, in the form that `read_csv` reads."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for entry in entries:
        named = (entry.hash.algorithm, entry.hash.hex, entry.quality, entry.list_name, entry.source)
        for category in entry.categories or (Category(scheme="", code="", source=entry.source),):
            writer.writerow((*named, category.scheme, category.code))


def _read_rows(file: TextIO) -> Iterator[ListEntry]:
    reader = csv.reader(_bounded_lines(file), strict=True)
    line = 1
    try:
        for row in reader:
            if line == 1:
                if tuple(row) != COLUMNS:
                    raise _fault(1, "header", f"must be {','.join(COLUMNS)}")
            else:
                yield _parse_row(row, line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise _fault(reader.line_num, "quoting", str(error)) from None
    except UnicodeDecodeError:
        raise _fault(line, "text", "is not UTF-8") from None
    if line == 1:
        raise _fault(1, "header", "is missing")


def _bounded_lines(file: TextIO) -> Iterator[str]:
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise _fault(number, "line", f"is longer than {MAX_LINE} characters")
        yield line


def _parse_row(row: list[str], line: int) -> ListEntry:
    if len(row) != len(COLUMNS):
        raise _fault(line, "line", f"has {len(row)} columns, {len(COLUMNS)} are needed")
    algorithm_name, value, quality, list_name, source, scheme, code = row
    try:
        algorithm = Algorithm(algorithm_name)
    except ValueError:
        raise _fault(line, "algorithm", f"must be one of {', '.join(Algorithm)}") from None
    try:
        hash_value = HashValue.from_hex(algorithm, value)
    except ValueError as error:
        raise _fault(line, "value", str(error)) from None
    if not (quality.isascii() and quality.isdigit() and len(quality) <= 3 and int(quality) <= FULL_QUALITY):
        raise _fault(line, "quality", f"must be a whole number from 0 to {FULL_QUALITY}")
    if algorithm.is_digest and int(quality) != FULL_QUALITY:
        raise _fault(line, "quality", f"must be {FULL_QUALITY} for a digest")
    for column, text, needed in (
        ("list", list_name, True),
        ("source", source, True),
        ("scheme", scheme, bool(code)),
        ("code", code, bool(scheme)),
    ):
        if needed and not text:
            raise _fault(line, column, "must not be empty")
        if len(text) > MAX_NAME or not text.isprintable() or text != text.strip():
            raise _fault(line, column, f"must be at most {MAX_NAME} printable characters, not padded")
    return ListEntry(
        hash=hash_value,
        quality=int(quality),
        list_name=list_name,
        source=source,
        categories=(Category(scheme=scheme, code=code, source=source),) if scheme else (),
    )


def _fault(line: int, column: str, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"the list is malformed: line {line}, {column} {what}",
        hint=f"A list is a CSV file with the header {','.join(COLUMNS)}.",
    )
