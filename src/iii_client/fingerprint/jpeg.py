"""What the scans of a JPEG cost, told from its markers before anything is decoded.

A progressive JPEG comes in scans, and each goes over the whole picture however few bytes it has: one that is
repeated a thousand times makes a file of a few megabytes decode for minutes (30 ms a scan of 49 megapixels
measured). Cameras and encoders write one to a dozen, so scans times pixels has a limit of its own.
"""

import os
import re
from typing import BinaryIO

#: Bytes looked at in one piece.
_CHUNK_BYTES = 1 << 13
#: Markers of one picture that are walked: 100 MB of the largest segments have 1600.
_MAX_MARKERS = 100_000
#: A scan in arithmetic coding (which no browser shows) costs so many others: up to 240 ms for 49 megapixels.
_ARITHMETIC_SCANS = 8

_END_OF_IMAGE, _START_OF_SCAN = 0xD9, 0xDA
_ARITHMETIC = {0xC9, 0xCA, 0xCB}
#: What the decoder takes for a marker: not stuffing (00), not padding (FF), not a restart (D0 to D7).
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")


def count_scans(stream: BinaryIO, start: int, most: int) -> int:
    """Scans of the JPEG that begins at `start`, each as many as it costs; no less than the true number.

    Args:
        most: above this it does not matter how many.
    """
    # The bytes FF DA are also found in thumbnails and in a film behind the picture, so this is an upper
    # bound; nearly always it is low enough, and the markers need not be walked.
    bound = _bound(stream, start)
    return bound if bound <= most else _walk(stream, start, most)


def _bound(stream: BinaryIO, start: int) -> int:
    stream.seek(start)
    scans, arithmetic, last = 0, False, b""
    while part := stream.read(_CHUNK_BYTES << 3):
        window = last + part  # a marker may lie across the border
        scans += window.count(b"\xff\xda")
        arithmetic = arithmetic or any(bytes([0xFF, mark]) in window for mark in _ARITHMETIC)
        last = part[-1:]
    return scans * _ARITHMETIC_SCANS if arithmetic else scans


def _walk(stream: BinaryIO, start: int, most: int) -> int:
    """Count as the decoder comes by the markers, up to the end of this picture."""
    stream.seek(start + 2)
    scans, weight = 0, 1
    for _ in range(_MAX_MARKERS):
        mark = _next_marker(stream)
        if mark == _END_OF_IMAGE or scans * weight > most:
            return scans * weight
        scans += mark == _START_OF_SCAN
        weight = _ARITHMETIC_SCANS if mark in _ARITHMETIC else weight
        if mark >= 0xC0:  # those below have no length
            stream.seek(max(int.from_bytes(stream.read(2)) - 2, 0), os.SEEK_CUR)
    return most + 1


def _next_marker(stream: BinaryIO) -> int:
    last = b""
    while part := stream.read(_CHUNK_BYTES):
        window = last + part
        if found := _MARKER.search(window):
            stream.seek(found.end() - len(window), os.SEEK_CUR)
            return found[1][0]
        last = part[-1:]
    return _END_OF_IMAGE
