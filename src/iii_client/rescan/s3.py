"""Listing a bucket: pages of 1,000 in the order of their keys, on from any key; nothing is held but a page.

S3 lists flat and sorted by bytes, so going on costs one request wherever it is. Through `s3fs`, which lists
whatever names strangers chose.
"""

import io
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from iii_client.content import IN_MEMORY_MAX_BYTES
from iii_client.rescan.entries import Entry, patiently


class Bucket:
    """The objects below a prefix. Fits `inventory.Inventory`.

    Args:
        fs: an `s3fs.S3FileSystem`.
        path: bucket and prefix.
    """

    def __init__(self, fs: Any, path: str) -> None:
        self._fs = fs
        self._bucket, _, prefix = path.partition("/")
        self._prefix = f"{prefix}/" if prefix else ""

    def entries(self, after: str) -> Iterator[Entry]:
        """Every object behind a cursor, which is the key of the last one."""
        start = {"StartAfter": self._prefix + after} if after else {}
        while True:
            page = self._page(start)
            for found in page.get("Contents", ()):
                key = found["Key"].removeprefix(self._prefix)
                # What consoles make for a "folder": a name without content.
                if not key or (key.endswith("/") and not found["Size"]):
                    continue
                yield Entry(key=key, size_bytes=found["Size"], token=found["ETag"].strip('"'), cursor=key)
            if not page.get("IsTruncated"):
                return
            start = {"StartAfter": page["Contents"][-1]["Key"]}

    def _page(self, start: dict[str, str]) -> Any:
        return patiently(
            lambda: self._fs.call_s3(
                "list_objects_v2", Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1000, **start
            )
        )


def opener(fs: Any, path: str, size_bytes: int) -> Callable[[], BinaryIO]:
    """Opens an object: what is small by its listing by one GET, without asking for its size before."""

    def opened() -> BinaryIO:
        if 0 < size_bytes < IN_MEMORY_MAX_BYTES:
            # One byte more than listed: an object that was replaced by a larger one is not cut.
            data: bytes = fs.cat_file(path, start=0, end=size_bytes + 1)
            if len(data) <= size_bytes:
                return io.BytesIO(data)
        stream: BinaryIO = fs.open(path, "rb")
        return stream

    return opened
