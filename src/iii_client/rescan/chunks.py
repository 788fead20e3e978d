"""What a worker is told and what it answers: bytes both ways, the same on every engine.

A task is JSON: which items of which root, under which recipe and limits. An answer is rows, one an item in
the order asked, each a fault (empty for none) and a stored fingerprint; items of equal content share one.

    "IIIR" · version · rows (2) · fingerprints (2) · rows × [index (2) · fault length (1) · fault]
    · fingerprints × [length (4) · bytes]                                  all big-endian

Promises: strict: an answer that is not of this form, or not of the task, is a `RescanError`.
"""

import json
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from iii_client.config import Limits
from iii_client.errors import RecordError, RescanError
from iii_client.model import Fingerprint
from iii_client.records.fingerprint_codec import decode_fingerprint
from iii_client.rescan.reading import ByteReader

_HEAD = struct.Struct(">4sBHH")
_ROW = struct.Struct(">HB")
_LENGTH = struct.Struct(">I")
_MAGIC, _VERSION = b"IIIR", 1
MAX_FAULT_BYTES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkTask:
    """What a worker hashes.

    Attributes:
        root: a normal root, as `inventory` has it; the worker must be able to read it.
        keys: below the root.
        sizes: in bytes, as listed, aligned; -1 where the listing does not say.
        recipe: name in `RECIPES`.
        isolated: whether pictures are decoded in isolation.
    """

    root: str
    keys: tuple[str, ...]
    sizes: tuple[int, ...]
    recipe: str
    limits: Limits
    isolated: bool = True

    def pack(self) -> bytes:
        """For the way to a worker. Names that are no UTF-8 survive as escaped lone surrogates."""
        return json.dumps(asdict(self)).encode("ascii")

    @classmethod
    def unpack(cls, data: bytes) -> "ChunkTask":
        """The inverse of `pack`."""
        found = json.loads(data)
        return cls(
            **{
                **found,
                "keys": tuple(found["keys"]),
                "sizes": tuple(found["sizes"]),
                "limits": Limits(**found["limits"]),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HashedRow:
    """One item, hashed: `stored` is the fingerprint's stored form, `fault` what its storage said."""

    stored: bytes
    fault: str = ""


def fingerprints_of(rows: Sequence[HashedRow]) -> list[Fingerprint]:
    """Decoded, each stored form once.

    Raises:
        RescanError: one is no stored fingerprint of this version.
    """
    known: dict[bytes, Fingerprint] = {}
    try:
        for row in rows:
            if row.stored not in known:
                known[row.stored] = decode_fingerprint(row.stored)
    except RecordError as error:
        raise RescanError(
            "a fingerprint cannot be read", hint="Do all workers run the same version of iii-client?"
        ) from error
    return [known[row.stored] for row in rows]


def pack_rows(rows: Sequence[HashedRow]) -> bytes:
    """The answer to a task, or to its first items."""
    numbers: dict[bytes, int] = {}
    table = bytearray()
    for row in rows:
        fault = row.fault.encode("utf-8", "backslashreplace")[:MAX_FAULT_BYTES]
        table += _ROW.pack(numbers.setdefault(row.stored, len(numbers)), len(fault)) + fault
    prints = b"".join(_LENGTH.pack(len(stored)) + stored for stored in numbers)
    return _HEAD.pack(_MAGIC, _VERSION, len(rows), len(numbers)) + bytes(table) + prints


def unpack_rows(data: bytes, *, at_most: int) -> list[HashedRow]:
    """The inverse of `pack_rows`.

    Raises:
        RescanError: not an answer to a task of `at_most` items.
    """
    try:
        answer = ByteReader(data)
        magic, version, count, prints = answer.unpack(_HEAD)
        if (magic, version) != (_MAGIC, _VERSION) or not 0 < count <= at_most or prints > count:
            raise ValueError("another form, version or number of rows")
        table: list[tuple[int, str]] = []
        for _ in range(count):
            number, length = answer.unpack(_ROW)
            table.append((number, answer.take(length).decode("utf-8", "replace")))
        stored = [answer.sized(_LENGTH) for _ in range(prints)]
        answer.end()
        rows = [HashedRow(stored=stored[number], fault=fault) for number, fault in table]
    except (ValueError, IndexError) as error:
        raise RescanError(
            "a worker's answer cannot be read", hint="Do all workers run the same version of iii-client?"
        ) from error
    return rows
