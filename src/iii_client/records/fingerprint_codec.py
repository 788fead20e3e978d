"""Stored form of a fingerprint, version 1: a compact, strict binary of about 640 bytes for a picture.

    version · recipe · size · kind · digests · frames · perceptual hashes · skipped

Numbers are unsigned LEB128, texts and lists carry their length before them. A PDQ value is left out where it
follows from its coefficients (a bit is set exactly where its coefficient is above 128), which saves 32 bytes
of it.

Promises: what decodes is what was encoded, and has exactly one form; anything else is a `RecordError`, never
a fingerprint that fails later; nothing is read beyond the end or kept behind it.
"""

from collections.abc import Callable
from typing import TypeVar

from iii_client.errors import RecordError
from iii_client.model import (
    Algorithm,
    Fingerprint,
    Frame,
    HashValue,
    PerceptualHash,
    Reason,
    Skipped,
)
from iii_client.model.coefficients import check_coefficients

VERSION = 1
#: Longest stored form: far more than the frames of one picture take.
MAX_BYTES = 1 << 20

#: Numbers on disk: append only.
_ALGORITHMS = {
    Algorithm.MD5: 1,
    Algorithm.SHA1: 2,
    Algorithm.SHA256: 3,
    Algorithm.PDQ: 4,
    Algorithm.PDQ_512: 5,
    Algorithm.PHASH: 6,
}
_ALGORITHM_OF = {number: algorithm for algorithm, number in _ALGORITHMS.items()}

#: Flags of a perceptual hash.
_TRIMMED, _COEFFICIENTS, _DERIVED = 1, 2, 4
_FLAGS = _TRIMMED | _COEFFICIENTS | _DERIVED
#: `model/coefficients.py`: a version, a median, and one byte for each bit of the hash.
_COEFFICIENTS_BYTES = 261
_COEFFICIENTS_HEADER_BYTES = 5
#: One digit for each coefficient: whether its bit is set.
_BIT_OF = bytes(ord("1") if byte > 128 else ord("0") for byte in range(256))

_MAX_QUALITY = 100
#: Longest LEB128 number: 63 bits, what SQLite and PostgreSQL keep.
_MAX_NUMBER_BYTES = 9

_T = TypeVar("_T")


def encode_fingerprint(fingerprint: Fingerprint) -> bytes:
    """The stored form.

    Raises:
        ValueError: a text or the whole is longer than can be stored.
    """
    out = bytearray([VERSION])
    _put_text(out, fingerprint.recipe)
    _put_number(out, fingerprint.size_bytes)
    _put_text(out, fingerprint.kind)
    _put_number(out, len(fingerprint.digests))
    for digest in fingerprint.digests:
        out.append(_ALGORITHMS[digest.algorithm])
        out += digest.value
    _put_number(out, len(fingerprint.frames))
    for frame in fingerprint.frames:
        for number in (frame.index, frame.width_px, frame.height_px, frame.reduction):
            _put_number(out, number)
    _put_number(out, len(fingerprint.perceptual))
    for found in fingerprint.perceptual:
        _put_perceptual(out, found)
    _put_number(out, len(fingerprint.skipped))
    for skip in fingerprint.skipped:
        for text in (skip.what, skip.reason.value, skip.detail):
            _put_text(out, text)
    if len(out) > MAX_BYTES:
        raise ValueError(f"a fingerprint of {len(out)} bytes; at most {MAX_BYTES} are stored")
    return bytes(out)


def decode_fingerprint(data: bytes) -> Fingerprint:
    """The inverse of `encode_fingerprint`.

    Raises:
        RecordError: not what this version wrote.
    """
    reader = _Reader(data)
    try:
        if reader.byte() != VERSION:
            raise RecordError(f"a stored fingerprint of another version than {VERSION}")
        fingerprint = Fingerprint(
            recipe=reader.text(),
            size_bytes=reader.number(),
            kind=reader.text(),
            digests=reader.many(_read_digest),
            frames=reader.many(_read_frame),
            perceptual=reader.many(_read_perceptual),
            skipped=reader.many(_read_skipped),
        )
        reader.end()
    except ValueError as error:
        # Its text may hold what was stored.
        raise RecordError(
            "a stored fingerprint cannot be read", hint="It is damaged: hash it again."
        ) from error
    return fingerprint


def _put_perceptual(out: bytearray, found: PerceptualHash) -> None:
    derived = bool(found.coefficients) and _bits(found.coefficients) == found.value
    out.append(_ALGORITHMS[found.algorithm])
    out.append(
        _TRIMMED * found.trimmed + _COEFFICIENTS * bool(found.coefficients) + _DERIVED * derived,
    )
    if not derived:
        out += found.hash_value.value
    if found.coefficients:
        if len(found.coefficients) != _COEFFICIENTS_BYTES:
            raise ValueError(f"coefficients take {_COEFFICIENTS_BYTES} bytes, not {len(found.coefficients)}")
        out += found.coefficients
    _put_number(out, found.quality)
    _put_number(out, found.frame)
    _put_number(out, len(found.gates))
    for gate in found.gates:
        _put_text(out, gate.value)


def _put_number(out: bytearray, number: int) -> None:
    if not 0 <= number < 1 << 63:
        raise ValueError("only numbers from 0 to 2^63 - 1 are stored")
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)


def _put_text(out: bytearray, text: str) -> None:
    encoded = text.encode("utf-8")
    _put_number(out, len(encoded))
    out += encoded


def _bits(coefficients: bytes) -> bytes:
    """The hash that follows from its coefficients, in canonical order: bit 0 is the last."""
    digits = coefficients[_COEFFICIENTS_HEADER_BYTES:].translate(_BIT_OF)[::-1]
    return int(digits, 2).to_bytes(len(digits) // 8)


class _Reader:
    """Reads bytes from the front; whatever is not of the form is a `ValueError`."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if len(taken) != count:
            raise ValueError("it ends too early")
        self._at += count
        return taken

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        value = 0
        for position in range(_MAX_NUMBER_BYTES):
            byte = self.byte()
            value |= (byte & 127) << (7 * position)
            if byte < 128:
                if byte == 0 and position:
                    raise ValueError("a number with a form that is too long")
                return value
        raise ValueError("a number that is too large")

    def text(self) -> str:
        return self.take(self.number()).decode("utf-8")

    def many(self, read: Callable[["_Reader"], _T]) -> tuple[_T, ...]:
        count = self.number()
        # Each takes a byte at least, so a count alone cannot make this loop long.
        if count > len(self._data) - self._at:
            raise ValueError("more items than bytes")
        return tuple(read(self) for _ in range(count))

    def end(self) -> None:
        if self._at != len(self._data):
            raise ValueError("something follows its end")


def _read_digest(reader: _Reader) -> HashValue:
    algorithm = _read_algorithm(reader)
    if not algorithm.is_digest:
        raise ValueError("not a digest")
    return HashValue(algorithm=algorithm, value=reader.take(algorithm.width_bits // 8))


def _read_frame(reader: _Reader) -> Frame:
    index, width_px, height_px, reduction = (reader.number() for _ in range(4))
    return Frame(index=index, width_px=width_px, height_px=height_px, reduction=reduction)


def _read_perceptual(reader: _Reader) -> PerceptualHash:
    algorithm, flags = _read_algorithm(reader), reader.byte()
    if algorithm.is_digest or flags & ~_FLAGS or (flags & _DERIVED and not flags & _COEFFICIENTS):
        raise ValueError("not a perceptual hash")
    value = b"" if flags & _DERIVED else reader.take(algorithm.width_bits // 8)
    coefficients = reader.take(_COEFFICIENTS_BYTES) if flags & _COEFFICIENTS else b""
    if coefficients:
        check_coefficients(coefficients)
        bits = _bits(coefficients)
        if flags & _DERIVED and len(bits) * 8 != algorithm.width_bits:
            raise ValueError("coefficients of another algorithm")
        if value == bits:
            raise ValueError("a value that follows from its coefficients is not stored")
        value = value or bits
    quality = reader.number()
    if quality > _MAX_QUALITY:
        raise ValueError("quality is from 0 to 100")
    return PerceptualHash(
        algorithm=algorithm,
        value=value,
        quality=quality,
        coefficients=coefficients,
        frame=reader.number(),
        gates=reader.many(lambda inner: Reason(inner.text())),
        trimmed=bool(flags & _TRIMMED),
    )


def _read_skipped(reader: _Reader) -> Skipped:
    return Skipped(what=reader.text(), reason=Reason(reader.text()), detail=reader.text())


def _read_algorithm(reader: _Reader) -> Algorithm:
    number = reader.byte()
    if number not in _ALGORITHM_OF:
        raise ValueError("an unknown algorithm")
    return _ALGORITHM_OF[number]
