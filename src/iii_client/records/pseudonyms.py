"""The key under which uploaders and places are stored: linkable here, nameless to whoever reads the table."""

import hashlib
import hmac
from pathlib import Path

from iii_client.records.key_file import KeyFile
from iii_client.records.store import storable


class PseudonymKey:
    """The state directory's own key, made on first use; two makers agree on whoever came first."""

    def __init__(self, file: Path) -> None:
        self._file = KeyFile(file, what="encounter key")

    def of(self, text: str) -> bytes:
        """32 bytes for a text; none for none.

        Raises:
            RecordError: the key cannot be read or made.
        """
        return hmac.digest(self._file.key(), storable(text).encode(), hashlib.sha256) if text else b""
