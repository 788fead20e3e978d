"""A stream that is asked for bytes only so many times.

Pillow walks the blocks of a file in Python: chunks of a PNG, segments of a JPEG and the junk between them,
blocks of a GIF, tags of a TIFF. A file made of empty ones costs a microsecond for every few bytes: 60 MB held
a worker for 20 seconds (measured). Whatever the format, each step reads, so the reads are counted.
"""

from typing import BinaryIO, cast

from iii_client.fingerprint.frames import Refused
from iii_client.model import Reason

#: Reads of one decoding, 0.3 to 1.6 s (measured). 100 MB of a normal GIF ask 0.8 million times, of a PNG with
#: chunks of 8 kB 40,000 times, of a JPEG 5,000 times.
MAX_READS = 1_000_000


class _Metered:
    """What Pillow needs of a file. No descriptor, no buffer: there is no way around `read`."""

    __slots__ = ("_left", "_read", "seek", "tell")

    def __init__(self, stream: BinaryIO) -> None:
        self._read = stream.read
        self._left = MAX_READS
        self.seek = stream.seek
        self.tell = stream.tell

    def read(self, n: int = -1) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise Refused(Reason.DECODE_FAILED, f"asks for bytes more than {MAX_READS} times")
        return self._read(n)


def metered(stream: BinaryIO) -> BinaryIO:
    """The same stream, from which the decoder may read `MAX_READS` times.

    Raises (from `read`):
        Refused: it was asked more often.
    """
    return cast(BinaryIO, _Metered(stream))
