"""Which frames of a file are looked at, and what all of them may cost.

An animation is sampled: its first and last frame and up to eight evenly spaced ones between them. Formats
whose frames build on each other must be decoded in order, so the frames in between cost too, and the
budget counts them: 2 MB of GIF can hold 500 frames of 4 megapixels, 15 seconds of decoding (measured).
"""

import os
from typing import BinaryIO, Literal

from iii_client.config import Limits
from iii_client.model import Reason

#: A frame costs at least as much as decoding so many pixels, however small it is: about 0.1 ms. Without
#: it, a file of a million 1x1 frames would pass every limit and hold a worker for minutes.
MIN_FRAME_COST_PX = 10_000

#: Longest side. JPEG, WebP and GIF cannot exceed it; a longer PNG or TIFF is no picture that anyone shows.
MAX_SIDE_PX = 65_535

#: Scans of a JPEG times its pixels: 40 scans of 50 megapixels, 1.3 s more than one (measured). Twice that at
#: most, where a picture is read as FAST and then as EXACT.
MAX_SCAN_PIXELS = 2_000_000_000

#: A scan costs at least as much as one of so many pixels (about 20 µs), however small the picture is.
_MIN_SCAN_COST_PX = 50_000

#: Steps of the walk over a GIF that counts its frames (blocks, sub-blocks, stray bytes), about 0.3 s. 100 MB
#: of a normal GIF take 0.4 million; only one made to stall takes more.
_MAX_GIF_STEPS = 1_000_000

#: Pages of a TIFF. Pillow parses all of them up to the last one sampled, at 0.2 to 0.4 ms each.
MAX_TIFF_PAGES = 2_000

#: No file is so long, and every seek to it is allowed.
_FILE_END = 1 << 62


class Refused(Exception):  # noqa: N818 - control flow within this room, never seen outside
    """The picture, or the rest of its frames, is not looked at, for a reason."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class PixelBudget:
    """Counts what was decoded of one file, and refuses before the next frame would be too much."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._left = limits.max_total_pixels
        self._scan_pixels_left = MAX_SCAN_PIXELS

    def check(self, width_px: int, height_px: int) -> None:
        """Look at the size of one frame alone.

        Raises:
            Refused: it is over the limit of a frame.
        """
        if max(width_px, height_px) > MAX_SIDE_PX:
            raise Refused(Reason.TOO_MANY_PIXELS, f"a side is over {MAX_SIDE_PX} pixels")
        if width_px * height_px > self._limits.max_frame_pixels:
            raise Refused(Reason.TOO_MANY_PIXELS, f"a frame is over {self._limits.max_frame_pixels} pixels")

    def spend(self, width_px: int, height_px: int, *, at_least: int = 0) -> None:
        """Account for a frame before it is decoded, at no less than `at_least` pixels.

        Raises:
            Refused: the frame or the sum is over its limit.
        """
        self.check(width_px, height_px)
        self._left -= max(width_px * height_px, at_least)
        if self._left < 0:
            raise Refused(
                Reason.TOO_MANY_PIXELS, f"all frames are over {self._limits.max_total_pixels} pixels"
            )

    def most_scans(self, width_px: int, height_px: int) -> int:
        """Scans of a JPEG of this size that can still be paid for."""
        return self._scan_pixels_left // max(width_px * height_px, _MIN_SCAN_COST_PX)

    def spend_scans(self, scans: int, width_px: int, height_px: int) -> None:
        """Account for the scans of a JPEG before it is decoded.

        Raises:
            Refused: they are over `MAX_SCAN_PIXELS`.
        """
        if scans > self.most_scans(width_px, height_px):
            raise Refused(Reason.TOO_MANY_PIXELS, f"scans of over {MAX_SCAN_PIXELS} pixels")
        self._scan_pixels_left -= scans * max(width_px * height_px, _MIN_SCAN_COST_PX)

    @property
    def most_frames(self) -> int:
        """More frames than this cannot be paid for."""
        return max(self._limits.max_total_pixels // MIN_FRAME_COST_PX, 1)


def sample_indices(count: int, most: int) -> tuple[int, ...]:
    """At most `most` of `count` frames: the first, the last, and evenly spaced ones between."""
    if count <= most:
        return tuple(range(count))
    if most == 1:
        return (0,)
    return tuple((2 * i * (count - 1) + most - 1) // (2 * (most - 1)) for i in range(most))


def count_gif_frames(stream: BinaryIO, most: int) -> int:
    """Number of frames of a GIF, found by walking its blocks without decoding them; stops above `most`.

    A frame whose data is cut off is counted: that it is broken is for the decoder to say.

    Raises:
        Refused: so many blocks that walking them alone would take too long.
    """
    stream.seek(0)
    header = stream.read(13)
    if len(header) == 13 and header[10] & 0x80:
        stream.seek(3 << ((header[10] & 7) + 1), os.SEEK_CUR)
    frames = steps = 0
    while frames <= most and (mark := stream.read(1)) not in (b"", b";"):
        steps = _step(steps)
        if mark == b"!":
            stream.seek(1, os.SEEK_CUR)
        elif mark == b",":
            frames += 1
            descriptor = stream.read(9)
            if len(descriptor) == 9 and descriptor[8] & 0x80:
                stream.seek(3 << ((descriptor[8] & 7) + 1), os.SEEK_CUR)
            stream.seek(1, os.SEEK_CUR)
        else:
            continue  # stray bytes between blocks are skipped, as the decoder does
        while (length := stream.read(1)) not in (b"", b"\0"):
            stream.seek(length[0], os.SEEK_CUR)
            steps = _step(steps)
    return frames


def _step(steps: int) -> int:
    if steps >= _MAX_GIF_STEPS:
        raise Refused(Reason.DECODE_FAILED, f"more than {_MAX_GIF_STEPS} blocks")
    return steps + 1


def count_tiff_pages(stream: BinaryIO) -> int:
    """Number of pages in the chain of a TIFF, found without parsing them.

    A chain that bites itself ends there. A page that the file is too short for is counted: that it is broken
    is for the decoder to say.

    Raises:
        Refused: more than `MAX_TIFF_PAGES`.
    """
    stream.seek(0)
    order: Literal["little", "big"] = "little" if stream.read(2) == b"II" else "big"
    big = int.from_bytes(stream.read(2), order) == 43
    # https://www.awaresystems.be/imaging/tiff/bigtiff.html
    first, count_bytes, entry_bytes, offset_bytes = (8, 8, 20, 8) if big else (4, 2, 12, 4)
    stream.seek(first)
    seen: set[int] = set()
    while (at := int.from_bytes(stream.read(offset_bytes), order)) and at not in seen:
        if len(seen) == MAX_TIFF_PAGES:
            raise Refused(Reason.TOO_MANY_PIXELS, f"more than {MAX_TIFF_PAGES} pages")
        seen.add(at)
        if at >= _FILE_END:
            break
        stream.seek(at)
        entries = int.from_bytes(stream.read(count_bytes), order)
        stream.seek(min(at + count_bytes + entries * entry_bytes, _FILE_END))
    return len(seen)
