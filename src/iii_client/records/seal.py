"""Sealed files: what is held lies on disk so that no thumbnailer, backup tool or person sees what it shows.

    magic (13) · key id (8) · salt (32) · chunks of 64 KiB, each encrypted with a 16-byte tag

AES-256-GCM under a key of this file alone (HKDF-SHA-256 of the state directory's key and the salt), so a
plain counter is a safe nonce: 11 bytes big-endian, then 1 for the last chunk and 0 for all before it. The
header is authenticated with every chunk. This is the STREAM construction (Hoang, Reyhanitabar, Rogaway and
Vizár, 2015) as `age` uses it: a chunk that is changed, moved, repeated or missing, also at the end, shows.
"""

import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from iii_client.errors import RecordError

MAGIC = b"III-sealed-1\n"
CHUNK_BYTES = 64 << 10
_TAG_BYTES = 16
_KEY_ID_BYTES = 8
_SALT_BYTES = 32
HEADER_BYTES = len(MAGIC) + _KEY_ID_BYTES + _SALT_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What went through: its length and SHA-256, in the clear."""

    size_bytes: int
    sha256: bytes


class Sealer:
    """Encrypts one stream, chunk by chunk. `seen` is known once `chunks` is exhausted."""

    def __init__(self, source: BinaryIO, *, key: bytes) -> None:
        self._source = source
        self._key = key
        self.seen: Seen | None = None

    def chunks(self) -> Iterator[bytes]:
        """The sealed file, in pieces. Holds two chunks at a time, whatever the length."""
        header = MAGIC + _key_id(self._key) + secrets.token_bytes(_SALT_BYTES)
        yield header
        cipher, digest, size = _cipher(self._key, header), hashlib.sha256(), 0
        current, counter = read_exactly(self._source, CHUNK_BYTES), 0
        while True:
            following = read_exactly(self._source, CHUNK_BYTES) if len(current) == CHUNK_BYTES else b""
            digest.update(current)
            size += len(current)
            yield cipher.encrypt(_nonce(counter, last=not following), current, header)
            if not following:
                break
            current, counter = following, counter + 1
        self.seen = Seen(size_bytes=size, sha256=digest.digest())


def unseal(source: BinaryIO, *, key: bytes) -> Iterator[bytes]:
    """The clear content of a sealed file, in pieces. What was yielded is authentic, but only the normal end
    of the iteration says that it was all.

    Raises:
        RecordError: no sealed file, sealed with another key, or changed.
    """
    header = read_exactly(source, HEADER_BYTES)
    if len(header) != HEADER_BYTES or not header.startswith(MAGIC):
        raise RecordError("not a sealed file of this version")
    if header[len(MAGIC) : len(MAGIC) + _KEY_ID_BYTES] != _key_id(key):
        raise RecordError(
            "sealed with another key",
            hint="Every host of one quarantine needs the same quarantine.key in its state directory.",
        )
    cipher = _cipher(key, header)
    current, counter = read_exactly(source, CHUNK_BYTES + _TAG_BYTES), 0
    while True:
        full = len(current) == CHUNK_BYTES + _TAG_BYTES
        following = read_exactly(source, CHUNK_BYTES + _TAG_BYTES) if full else b""
        try:
            yield cipher.decrypt(_nonce(counter, last=not following), current, header)
        except InvalidTag:
            raise RecordError("a sealed file was changed or cut") from None
        if not following:
            return
        current, counter = following, counter + 1


def read_exactly(source: BinaryIO, size: int) -> bytes:
    """`size` bytes, or fewer at the end only: a stream may give less than it was asked for."""
    parts: list[bytes] = []
    while size > 0 and (part := source.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _cipher(key: bytes, header: bytes) -> AESGCM:
    salt = header[-_SALT_BYTES:]
    kdf = HKDF(algorithm=SHA256(), length=32, salt=salt, info=b"iii-client sealed file 1")
    return AESGCM(kdf.derive(key))


def _key_id(key: bytes) -> bytes:
    """Tells two keys apart and nothing else."""
    return hashlib.sha256(b"iii-client key id" + key).digest()[:_KEY_ID_BYTES]


def _nonce(counter: int, *, last: bool) -> bytes:
    return counter.to_bytes(11) + bytes([last])
