"""Reads a packed form to its end, strictly: whatever is missing or left over is a `ValueError`."""

import struct
from typing import Any


class ByteReader:
    """Goes through bytes from the front.

    Args:
        data: all of them.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, length: int) -> bytes:
        """The next so many bytes."""
        end = self._at + length
        if end > len(self._data):
            raise ValueError("it ends too early")
        taken, self._at = self._data[self._at : end], end
        return taken

    def unpack(self, form: struct.Struct) -> tuple[Any, ...]:
        """The next values of a form."""
        return form.unpack(self.take(form.size))

    def sized(self, form: struct.Struct) -> bytes:
        """The next bytes, behind their length in this form."""
        (length,) = self.unpack(form)
        return self.take(length)

    def end(self) -> None:
        """Nothing may be left."""
        if self._at != len(self._data):
            raise ValueError("it ends too late")
