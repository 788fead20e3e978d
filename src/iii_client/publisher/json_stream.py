"""JSON files that are larger than memory: steps into objects and arrays, and parses one value at a time.

The standard library parses each value; this walks over what holds them. No value may be longer than
`MAX_VALUE`, whatever the file is: streaming parsers that build whatever comes have no such bound.
"""

import json
from collections.abc import Iterator
from typing import Any, NoReturn, TextIO

from iii_client.errors import ConfigurationError

#: Longest single value, in characters: a VICS medium with all its file records takes a few thousand.
MAX_VALUE = 1 << 20
#: Read at once; much more than one value, so that moving the rest to the front costs little.
_CHUNK = 8 * MAX_VALUE

_SPACE = " \t\n\r"


class JsonStream:
    """A position in a JSON text.

    Args:
        file: the text.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text = ""
        self._at = 0
        self._before = 0
        self._ended = False
        self._decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant)

    def members(self) -> Iterator[str]:
        """The keys of the object here; after each, its value must be taken."""
        self._take("{")
        if self._skip("}"):
            return
        while True:
            key = self.value()
            if not isinstance(key, str):
                self._fail("a key must be a text")
            self._take(":")
            yield key
            if self._skip("}"):
                return
            self._take(",")

    def elements(self) -> Iterator[None]:
        """Stops at each element of the array here, which must be taken."""
        self._take("[")
        if self._skip("]"):
            return
        while True:
            yield None
            if self._skip("]"):
                return
            self._take(",")

    def value(self) -> Any:
        """The whole value here.

        Raises:
            ConfigurationError: it is malformed, longer than `MAX_VALUE`, or names a key twice.
        """
        self._peek()
        try:
            value, end = self._decoder.raw_decode(self._text, self._at)
        except (ValueError, RecursionError):
            # The error of the parser quotes what it read.
            self._fail(f"no JSON value of at most {MAX_VALUE} characters")
        if end - self._at > MAX_VALUE:
            self._fail(f"a value is longer than {MAX_VALUE} characters")
        self._at = end
        return value

    def end(self) -> None:
        """Nothing may follow.

        Raises:
            ConfigurationError: something does.
        """
        if self._peek():
            self._fail("something follows the end")

    def _peek(self) -> str:
        """The next character that is no space; empty at the end. At least a whole value is in memory."""
        while True:
            if len(self._text) - self._at <= MAX_VALUE:
                self._fill()
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self._at += 1
            if len(self._text) - self._at > MAX_VALUE or not self._fill():
                return self._text[self._at : self._at + 1]

    def _fill(self) -> bool:
        if self._ended:
            return False
        try:
            more = self._file.read(_CHUNK)
        except UnicodeDecodeError:
            self._fail("it is not UTF-8")
        self._before += self._at
        self._text = self._text[self._at :] + more
        self._at = 0
        self._ended = not more
        return not self._ended

    def _take(self, character: str) -> None:
        if not self._skip(character):
            self._fail(f"'{character}' is missing")

    def _skip(self, character: str) -> bool:
        found = self._peek() == character
        self._at += found
        return found

    def _fail(self, what: str) -> NoReturn:
        raise ConfigurationError(
            f"the list is malformed: character {self._before + self._at}: {what}",
            hint="Ask for the file again: it is damaged, or not the JSON that was expected.",
        ) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_constant(_: str) -> NoReturn:
    raise ValueError("not a number")
