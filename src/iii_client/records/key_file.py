"""A secret key of the state directory, in a file of its own: made at random on first use.

Promises: mode 0600; on disk before it is used, because what is sealed with a key that is lost is lost; two
makers agree on whoever came first.
"""

import os
import secrets
from pathlib import Path

from iii_client.errors import RecordError

KEY_BYTES = 32


class KeyFile:
    """One key file. Its bytes are never in a `repr`.

    Args:
        file: where it is or will be.
        what: its name in messages, e.g. `encounter key`.
    """

    def __init__(self, file: Path, *, what: str) -> None:
        self._file = file
        self._what = what

    def __repr__(self) -> str:
        return f"KeyFile({self._what})"

    def key(self) -> bytes:
        """32 bytes.

        Raises:
            RecordError: it cannot be read or made, or holds something else.
        """
        try:
            if not self._file.exists():
                self._make()
            key = self._file.read_bytes()
        except OSError as error:
            raise RecordError(f"the {self._what} cannot be read or made: {error.strerror}") from error
        if len(key) != KEY_BYTES:
            raise RecordError(
                f"the {self._what} has {len(key)} bytes instead of {KEY_BYTES}",
                hint="Put the file back from your backup; with another key nothing older can be read.",
            )
        return key

    def _make(self) -> None:
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._file.with_suffix(f".{secrets.token_hex(4)}")
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, self._file)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        descriptor = os.open(self._file.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
