"""The key under which uploaders and places are stored: linkable here, nameless to whoever reads the table."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from iii_client.errors import RecordError
from iii_client.records.store import storable

_KEY_BYTES = 32


class PseudonymKey:
    """The state directory's own key, made on first use; two makers agree on whoever came first."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def of(self, text: str) -> bytes:
        """32 bytes for a text; none for none.

        Raises:
            RecordError: the key cannot be read or made.
        """
        return hmac.digest(self._key(), storable(text).encode(), hashlib.sha256) if text else b""

    def _key(self) -> bytes:
        try:
            if not self._file.exists():
                self._make()
            return self._file.read_bytes()
        except OSError as error:
            raise RecordError(f"the encounter key cannot be read or made: {error.strerror}") from error

    def _make(self) -> None:
        draft = self._file.with_suffix(f".{secrets.token_hex(4)}")
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, self._file)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
