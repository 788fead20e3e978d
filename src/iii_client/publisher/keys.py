"""The publisher's key files: PEM, mode 0600, offline keys in a folder apart from the online ones.

    <private>/offline/  root-1 root-2 root-3 targets-1 targets-2     used to rotate and to publish a base
    <private>/online/   delta-1 snapshot-1                           used every hour by a timer

A file's name says the job of its key and nothing else; whether it may do that job stands in the metadata. A
machine that only re-signs holds the `online` folder alone. Offline keys may lie in several folders, one a
person (a stick each), and be protected by a passphrase. Key files serve the sandbox and small publishers;
hardware tokens take their place without a change of the format.
"""

import os
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner

from iii_client.config import Secret
from iii_client.errors import ConfigurationError
from iii_client.updates.durable import sync_directory

OFFLINE = "offline"
ONLINE = "online"

#: A key file takes a few hundred bytes.
_MAX_PEM_BYTES = 16 << 10


class Job(StrEnum):
    """What a key signs. `SNAPSHOT` signs snapshot and timestamp."""

    ROOT = "root"
    TARGETS = "targets"
    DELTA = "delta"
    SNAPSHOT = "snapshot"

    @property
    def folder(self) -> str:
        """Where its keys belong: `offline` or `online`."""
        return OFFLINE if self in {Job.ROOT, Job.TARGETS} else ONLINE


#: How many keys a new repository gets for each job.
KEYS_OF_JOB = {Job.ROOT: 3, Job.TARGETS: 2, Job.DELTA: 1, Job.SNAPSHOT: 1}

#: Repositories from before keys could be rotated named a lone key after its job.
_NAME = re.compile(rf"({'|'.join(Job)})(?:-([1-9][0-9]{{0,5}}))?\.pem")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFile:
    """One key file."""

    path: Path
    job: Job
    number: int

    @property
    def name(self) -> str:
        """Its name without the ending, such as `root-2`."""
        return self.path.stem


class KeyStore:
    """Key files in `offline` and `online` below one directory, and in further folders of offline keys.

    Args:
        directory: private.
        offline: more folders of offline keys, such as mounted sticks.
        passphrase: of the offline keys; new ones are protected by it.
    """

    def __init__(
        self, directory: Path, *, offline: Sequence[Path] = (), passphrase: Secret | None = None
    ) -> None:
        self._directory = directory
        self._offline = (directory / OFFLINE, *offline)
        self._passphrase = passphrase.reveal().encode() if passphrase and passphrase.reveal() else None

    def create(self) -> None:
        """Make every key that a repository needs. Offline keys go to the folders of offline keys in turn.

        Raises:
            ConfigurationError: there are keys already; they would be lost.
        """
        if any(True for _ in self._files()):
            raise ConfigurationError(
                "there are keys, but no repository that they belong to",
                hint="Restore the repository's folder, or name an empty folder for new keys.",
            )
        for job, count in KEYS_OF_JOB.items():
            for _ in range(count):
                self.new(job)

    def new(self, job: Job, *, instead_of: str = "") -> CryptoSigner:
        """Make and keep one more key. It may do nothing until the metadata names it.

        Args:
            job: what it will sign.
            instead_of: id of the key that it replaces: it comes into the same folder. Else into the one with
                the fewest keys of its job, so that no stick holds two of three.

        Raises:
            OSError: its folder cannot be written.
        """
        taken = [file.number for file in self._files() if file.job is job]
        number = max(taken, default=0) + 1
        path = self._folder_of_new(job, instead_of) / f"{job}-{number}.pem"
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, self._encryption(job))
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        sync_directory(path.parent)
        return CryptoSigner(key)

    def all_of(self, job: Job) -> list[CryptoSigner]:
        """Every key of a job that is here, whatever the metadata says."""
        return [signer for _, signer in self._loaded(job)]

    def signers(self, job: Job, keyids: Collection[str]) -> list[CryptoSigner]:
        """The keys of a job that are here and that the metadata names.

        Raises:
            ConfigurationError: a key file is unreadable, or all that are here are of another repository.
        """
        signers = {signer.public_key.keyid: signer for _, signer in self._loaded(job)}
        named = [signer for keyid, signer in signers.items() if keyid in keyids]
        if signers and not named:
            raise ConfigurationError(
                f"a key that should sign {job} is not one of this repository's",
                hint="The folder of keys belongs to another repository.",
            )
        return named

    def has(self, job: Job, keyids: Collection[str], *, at_least: int) -> bool:
        """Whether so many of these keys are here and can be used."""
        here = {signer.public_key.keyid for _, signer in self._loaded(job)}
        return len(here.intersection(keyids)) >= at_least

    def missing(self, job: Job, *, here: int, needed: int) -> ConfigurationError:
        """The error for too few keys, which says what to fetch."""
        if any(file.job is job and _is_protected(file) for file in self._files()) and not self._passphrase:
            return ConfigurationError(
                f"the publishing keys of '{job}' are protected by a passphrase",
                hint="Give it with --passphrase (asks) or --passphrase-file.",
            )
        return ConfigurationError(
            f"{here} of {needed} publishing keys of '{job}' that are needed are here",
            hint=f"They belong into the {job.folder} folder of the keys"
            + (", or name the folders that hold them with --offline." if job.folder == OFFLINE else "."),
        )

    def keyid(self, name: str) -> tuple[Job, str]:
        """Job and id of the key in the file of this name, such as `root-2`.

        Raises:
            ConfigurationError: there is no such file.
        """
        for job in Job:
            for file, signer in self._loaded(job):
                if file.name == name:
                    return job, signer.public_key.keyid
        known = ", ".join(sorted(file.name for file in self._files()))
        raise ConfigurationError(
            f"there is no key '{name}' here, or it cannot be opened", hint=f"Here are: {known or 'none'}."
        )

    def forget(self, keyids: Collection[str]) -> None:
        """Remove the files of keys that may sign no more."""
        for job in Job:
            for file, signer in self._loaded(job):
                if signer.public_key.keyid in keyids:
                    file.path.unlink()
                    sync_directory(file.path.parent)

    def names(self, keyids: Collection[str]) -> dict[str, str]:
        """Key id to file name, of those that are here."""
        return {
            signer.public_key.keyid: file.name
            for job in Job
            for file, signer in self._loaded(job)
            if signer.public_key.keyid in keyids
        }

    def _loaded(self, job: Job) -> Iterator[tuple[KeyFile, CryptoSigner]]:
        """Every key of a job that can be opened; protected ones without a passphrase count as absent."""
        for file in self._files():
            if file.job is job and (self._passphrase or not _is_protected(file)):
                yield file, self._load(file)

    def _load(self, file: KeyFile) -> CryptoSigner:
        pem = _read(file)
        password = self._passphrase if _is_protected(file) else None
        try:
            return CryptoSigner(load_pem_private_key(pem, password=password))
        except (ValueError, TypeError):
            why = "the passphrase is wrong, or it is no key" if password else "it is no PEM key"
            raise ConfigurationError(
                f"the publishing key '{file.name}' cannot be opened: {why}",
                hint="Restore it from its backup, or rotate it out with two other root keys.",
            ) from None

    def _files(self) -> Iterator[KeyFile]:
        for folder in (*self._offline, self._directory / ONLINE):
            for path in sorted(folder.glob("*.pem")):
                if match := _NAME.fullmatch(path.name):
                    job = Job(match[1])
                    # An online key among the offline ones is one that somebody put into the wrong hands.
                    if (folder in self._offline) == (job.folder == OFFLINE):
                        yield KeyFile(path=path, job=job, number=int(match[2] or 1))

    def _folder_of_new(self, job: Job, instead_of: str) -> Path:
        if job.folder == ONLINE:
            return self._directory / ONLINE
        for file, signer in self._loaded(job):
            if signer.public_key.keyid == instead_of:
                return file.path.parent
        # Named folders come instead of the one beside the online keys: that is what they are for.
        folders = self._offline[1:] or self._offline
        held = [file.path.parent for file in self._files() if file.job is job]
        return min(folders, key=held.count)

    def _encryption(self, job: Job) -> KeySerializationEncryption:
        if self._passphrase and job.folder == OFFLINE:
            return BestAvailableEncryption(self._passphrase)
        return NoEncryption()


def _is_protected(file: KeyFile) -> bool:
    return b"ENCRYPTED" in _read(file)


def _read(file: KeyFile) -> bytes:
    try:
        with file.path.open("rb") as content:
            return content.read(_MAX_PEM_BYTES)
    except OSError as error:
        raise ConfigurationError(
            f"the publishing key '{file.name}' cannot be read: {error.strerror}",
            hint=f"It belongs into the {file.job.folder} folder of the keys, mode 0600.",
        ) from None
