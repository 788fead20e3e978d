"""An S3 Inventory in CSV: what a bucket of a billion objects holds, without asking it page by page.

The manifest and its data files are copied beside each other first (`aws s3 sync`). Columns are those that the
manifest names. Delete markers and versions that are not the latest are left out: nobody reaches them by name.
Not trusted to be well-formed: it may be years old, or somebody else's.
"""

import csv
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote_plus

from iii_client.errors import ConfigurationError
from iii_client.rescan.entries import Entry

#: A manifest of 10,000 files has 2 MB.
MAX_MANIFEST_BYTES = 64 << 20
_HINT = "Name the manifest.json of an S3 Inventory in CSV, with its .csv.gz files beside it or in data/."


class S3Inventory:
    """Fits `inventory.Inventory`; a key is `bucket/key`, a cursor `file:line`.

    Args:
        manifest: path of `manifest.json`.
    """

    def __init__(self, manifest: Path) -> None:
        self._manifest = manifest

    def entries(self, after: str) -> Iterator[Entry]:
        """Every object behind a cursor, in the order of the files.

        Raises:
            ConfigurationError: not such an inventory, or a file of it is missing.
        """
        columns, files = self._read_manifest()
        first, _, done = after.partition(":")
        for number, file in enumerate(files):
            if after and number < int(first):
                continue
            skip = int(done) if after and number == int(first) else 0
            yield from self._entries_of(file, number, columns, skip)

    def _entries_of(self, file: Path, number: int, columns: list[str], skip: int) -> Iterator[Entry]:
        try:
            with gzip.open(file, "rt", encoding="utf-8", newline="") as lines:
                for line, values in enumerate(csv.reader(lines), start=1):
                    if line <= skip:
                        continue
                    row = dict(zip(columns, values, strict=True))
                    if row.get("IsDeleteMarker") == "true" or row.get("IsLatest") == "false":
                        continue
                    yield Entry(
                        key=f"{row['Bucket']}/{unquote_plus(row['Key'])}",
                        size_bytes=int(row.get("Size") or -1),
                        token=row.get("ETag") or f"{row.get('Size')}-{row.get('LastModifiedDate')}",
                        cursor=f"{number}:{line}",
                    )
        except (OSError, EOFError, ValueError, KeyError, csv.Error) as error:
            raise ConfigurationError(f"data file {number + 1} cannot be read", hint=_HINT) from error

    def _read_manifest(self) -> tuple[list[str], list[Path]]:
        try:
            if self._manifest.stat().st_size > MAX_MANIFEST_BYTES:
                raise ValueError("too large")
            found = json.loads(self._manifest.read_bytes())
            if found["fileFormat"] != "CSV":
                raise ValueError("another format")
            columns = [column.strip() for column in found["fileSchema"].split(",")]
            names = [Path(file["key"]).name for file in found["files"]]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigurationError("the S3 Inventory cannot be read", hint=_HINT) from error
        folder = self._manifest.parent
        return columns, [
            folder / "data" / name if (folder / "data" / name).exists() else folder / name for name in names
        ]
