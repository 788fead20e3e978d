"""The sealed files of a quarantine: written, read back, put back, deleted. Knows no rows.

Promises: `seal` returns only after what it wrote was read back and found whole; `put_back` writes nothing
unless the whole sealed file is what it should be, and never overwrites.
"""

import hashlib
import secrets
from collections.abc import Iterable, Iterator
from functools import partial
from typing import BinaryIO

from iii_client.content import Content
from iii_client.errors import RecordError
from iii_client.records import places
from iii_client.records.key_file import KeyFile
from iii_client.records.places import AlreadyThereError, Permissions
from iii_client.records.seal import Sealer, Seen, unseal

_SUFFIX = ".sealed"
_READ_BYTES = 1 << 20


def new_name() -> str:
    """A random name, which says nothing about what was held."""
    return secrets.token_hex(16) + _SUFFIX


class Vault:
    """Sealed files of one place.

    Args:
        place: folder or fsspec address.
        key: seals them.
    """

    def __init__(self, place: str, key: KeyFile) -> None:
        self._place = place
        self._key = key

    def seal(self, name: str, content: Content) -> Seen:
        """Write a sealed copy under a new name, and read it back.

        Raises:
            RecordError: it could not be written, or is not what was written.
            ContentError: the content cannot be read.
        """
        with content.open() as stream:
            sealer = Sealer(stream, key=self._key.key())
            places.write_new(self._address(name), sealer.chunks())
        if sealer.seen is None or self.read(name) != sealer.seen:
            raise RecordError("the sealed file is not what was written", hint="Check the storage.")
        return sealer.seen

    def read(self, name: str) -> Seen:
        """Decrypt a sealed file to its end, keeping nothing.

        Raises:
            NotThereError: there is none.
            RecordError: it is changed, cut, or sealed with another key.
        """
        with places.reading(self._address(name)) as sealed:
            return _seen_in(unseal(sealed, key=self._key.key()))

    def put_back(self, name: str, target: str, *, sha256: bytes, like: Permissions) -> None:
        """Write the clear content to where there is no file; the same content there is fine.

        Raises:
            AlreadyThereError: there is another file.
            RecordError: the sealed file is not the one of this digest, or the target cannot be written.
        """
        # Read to the end first: a damaged file must not appear half under its old name.
        if self.read(name).sha256 != sha256:
            raise RecordError("the sealed file is not the one that was held")
        try:
            with places.reading(self._address(name)) as sealed:
                places.write_new(target, unseal(sealed, key=self._key.key()), like=like)
        except AlreadyThereError:
            # Written by a call that did not come back?
            if digest_at(target) != sha256:
                raise

    def delete(self, name: str) -> None:
        """Delete a sealed file; one that is not there is fine."""
        places.remove(self._address(name))

    def names(self) -> tuple[str, ...]:
        """Every file of the place, also what is not ours."""
        return places.names(self._place)

    def _address(self, name: str) -> str:
        return places.join(self._place, name)


def digest_at(address: str) -> bytes:
    """SHA-256 of a file in the clear.

    Raises:
        NotThereError: there is none.
        RecordError: it cannot be read.
    """
    with places.reading(address) as stream:
        return _seen_in(_parts(stream)).sha256


def digest_of(content: Content) -> bytes:
    """SHA-256 of a content.

    Raises:
        ContentError: it cannot be read.
    """
    with content.open() as stream:
        return _seen_in(_parts(stream)).sha256


def _parts(stream: BinaryIO) -> Iterator[bytes]:
    return iter(partial(stream.read, _READ_BYTES), b"")


def _seen_in(parts: Iterable[bytes]) -> Seen:
    digest, size = hashlib.sha256(), 0
    for part in parts:
        digest.update(part)
        size += len(part)
    return Seen(size_bytes=size, sha256=digest.digest())
