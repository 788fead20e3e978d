"""JSON from the other side, read strictly: typed, bounded, and without ambiguity. Pure, no I/O.

Promises: whatever the bytes are, the outcome is a value of the asked type within the asked bounds, or a
`WireFormatError` that names the field and never repeats what was in it. A field that nobody asks for is
ignored; an object that names a field twice is refused, because two readers would see two things.
"""

import json
from typing import Any, NoReturn

from iii_client.errors import WireFormatError


class Fields:
    """The fields of one JSON object. A field that is absent or null takes its default, if it has one.

    Args:
        value: a parsed JSON value that must be an object.
        where: name of the object in error messages.
    """

    __slots__ = ("_fields", "_where")

    def __init__(self, value: object, *, where: str) -> None:
        if not isinstance(value, dict):
            raise WireFormatError(f"{where} is not a JSON object")
        self._fields: dict[str, Any] = value
        self._where = where

    def __contains__(self, key: str) -> bool:
        return self._fields.get(key) is not None

    def text(self, key: str, *, longest: int, default: str | None = None) -> str:
        """A printable text of 1 to `longest` characters (the default may be shorter)."""
        value = self._get(key, default)
        if key in self:
            _check_text(value, longest=longest, where=self._name(key))
        return str(value)

    def whole(self, key: str, *, low: int, high: int, default: int | None = None) -> int:
        """A whole number from `low` to `high`."""
        value = self._get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise WireFormatError(f"{self._name(key)} is not a whole number from {low} to {high}")
        return value

    def seconds(self, key: str, *, most: int, default: int | None = None) -> int:
        """A whole number of seconds, not negative. More than `most` counts as `most`."""
        return min(self.whole(key, low=0, high=1 << 62, default=default), most)

    def flag(self, key: str, *, default: bool | None = None) -> bool:
        """`true` or `false`."""
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise WireFormatError(f"{self._name(key)} is neither true nor false")
        return value

    def array(self, key: str, *, most: int, required: bool = False) -> list[Any]:
        """An array of at most `most` items; empty when it is absent and not required."""
        value = self._get(key, None if required else [])
        if not isinstance(value, list) or len(value) > most:
            raise WireFormatError(f"{self._name(key)} is not an array of at most {most} items")
        return value

    def object(self, key: str) -> "Fields":
        """An object; empty when it is absent."""
        return Fields(self._get(key, {}), where=self._name(key))

    def texts(self, key: str, *, most: int, longest: int) -> tuple[str, ...]:
        """An array of printable texts."""
        values = self.array(key, most=most)
        for value in values:
            _check_text(value, longest=longest, where=self._name(key))
        return tuple(values)

    def objects(self, key: str, *, most: int, required: bool = False) -> "tuple[Fields, ...]":
        """An array of objects."""
        values = self.array(key, most=most, required=required)
        return tuple(Fields(value, where=f"an item of {self._name(key)}") for value in values)

    def _get(self, key: str, default: Any) -> Any:
        value = self._fields.get(key)
        if value is not None:
            return value
        if default is None:
            raise WireFormatError(f"{self._name(key)} is missing")
        return default

    def _name(self, key: str) -> str:
        return f"{key!r} of {self._where}"


def parse_object(body: bytes, *, where: str) -> Fields:
    """Parse a whole body as one JSON object in UTF-8.

    Raises:
        WireFormatError: it is anything else.
    """
    try:
        value = json.loads(
            body.decode("utf-8"), object_pairs_hook=_without_repetition, parse_constant=_no_constant
        )
    except (ValueError, RecursionError):
        # The cause is left out: its text quotes the body.
        raise WireFormatError(f"{where} is not JSON ({len(body)} bytes)") from None
    return Fields(value, where=where)


def _check_text(value: object, *, longest: int, where: str) -> None:
    # isprintable() also keeps control characters out of terminals and lone surrogates out of databases.
    if not isinstance(value, str) or not 1 <= len(value) <= longest or not value.isprintable():
        raise WireFormatError(f"{where} is not a printable text of 1 to {longest} characters")


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a field is named twice")
    return fields


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
