"""The publisher's key files: PEM, mode 0600, offline keys in a folder apart from the online ones.

    <keys>/offline/  root-1 root-2 root-3 targets-1 targets-2     used to rotate and to publish a base
    <keys>/online/   delta snapshot                               used every hour by a timer

A machine that only re-signs holds the `online` folder alone. Key files serve the sandbox and small
publishers; hardware tokens take their place without a change of the format.
"""

import os
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner

from iii_client.errors import ConfigurationError

OFFLINE = "offline"
ONLINE = "online"

ROOT_KEYS = ("root-1", "root-2", "root-3")
TARGETS_KEYS = ("targets-1", "targets-2")
DELTA_KEY = "delta"
SNAPSHOT_KEY = "snapshot"

_FOLDERS = {
    **dict.fromkeys((*ROOT_KEYS, *TARGETS_KEYS), OFFLINE),
    **dict.fromkeys((DELTA_KEY, SNAPSHOT_KEY), ONLINE),
}


class KeyStore:
    """Key files in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def create(self) -> None:
        """Make every key that a repository needs.

        Raises:
            ConfigurationError: there are keys already; they would be lost.
        """
        if any(self._path(name).exists() for name in _FOLDERS):
            raise ConfigurationError(
                "there are keys, but no repository that they belong to",
                hint="Restore the repository's folder, or name an empty folder for new keys.",
            )
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (OFFLINE, ONLINE):
            (self._directory / folder).mkdir(mode=0o700, exist_ok=True)
        for name in _FOLDERS:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with os.fdopen(os.open(self._path(name), flags, 0o600), "wb") as file:
                file.write(CryptoSigner.generate_ed25519().private_bytes)
                file.flush()
                os.fsync(file.fileno())

    def has(self, *names: str) -> bool:
        """Whether all of these keys are here."""
        return all(self._path(name).is_file() for name in names)

    def signers(self, *names: str) -> list[CryptoSigner]:
        """Load keys.

        Raises:
            ConfigurationError: one is missing or unreadable.
        """
        return [self._load(name) for name in names]

    def _load(self, name: str) -> CryptoSigner:
        try:
            pem = self._path(name).read_bytes()
        except OSError as error:
            raise ConfigurationError(
                f"the publishing key '{name}' cannot be read: {error.strerror}",
                hint=f"It belongs into the {_FOLDERS[name]} folder of the keys.",
            ) from None
        try:
            return CryptoSigner(load_pem_private_key(pem, password=None))
        except (ValueError, TypeError):
            raise ConfigurationError(f"the publishing key '{name}' is no unencrypted PEM key") from None

    def _path(self, name: str) -> Path:
        return self._directory / _FOLDERS[name] / f"{name}.pem"
