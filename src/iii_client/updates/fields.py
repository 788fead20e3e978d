"""Strict readers of JSON fields: a field of another type or out of range is a ValueError, never a guess."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

#: Longest text in any field of ours.
MAX_TEXT = 200

_SHA256 = re.compile(r"[0-9a-f]{64}")


def number(tree: Mapping[str, Any], key: str, least: int) -> int:
    """A whole number from `least` to 2^63 - 1."""
    value = tree[key]
    if type(value) is not int or not least <= value < 1 << 63:
        raise ValueError(f"{key} must be a whole number from {least}")
    return value


def text(tree: Mapping[str, Any], key: str) -> str:
    """A text of at most `MAX_TEXT` characters."""
    value = tree[key]
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise ValueError(f"{key} must be a text")
    return value


def sha256(tree: Mapping[str, Any], key: str) -> str:
    """A SHA-256 in lower-case hexadecimal."""
    value = text(tree, key)
    if not is_sha256(value):
        raise ValueError(f"{key} must be a SHA-256")
    return value


def is_sha256(value: object) -> bool:
    """Whether this is a SHA-256 in lower-case hexadecimal, and nothing else."""
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def flag(tree: Mapping[str, Any], key: str) -> bool:
    """True or false."""
    value = tree[key]
    if value is not True and value is not False:
        raise ValueError(f"{key} must be true or false")
    return bool(value)


def moment(tree: Mapping[str, Any], key: str) -> datetime:
    """A time with its zone, ISO 8601."""
    value = datetime.fromisoformat(text(tree, key))
    if value.tzinfo is None:
        raise ValueError(f"{key} has no zone")
    return value


def rows(tree: Mapping[str, Any], key: str, most: int) -> list[Any]:
    """A list of 1 to `most` things."""
    value = tree[key]
    if not isinstance(value, list) or not 1 <= len(value) <= most:
        raise ValueError(f"{key} must have 1 to {most} rows")
    return value


def rows_if_any(tree: Mapping[str, Any], key: str, most: int) -> list[Any]:
    """A list of 1 to `most` things, or nothing where there is no such field."""
    return rows(tree, key, most) if key in tree else []
