"""A signed filter repository in a folder that any web server can serve.

    <directory>/public/metadata/   TUF metadata, see roles.py
    <directory>/public/targets/    base/<epoch>/<sha256>.filter.bin

Content is written first and the timestamp last, so a client sees the old state or the new one. The folder
alone holds the state: opened again with the same keys it is the same repository. The same lists give the
same bundle bytes, and publishing what is published already changes nothing.
"""

import hashlib
import logging
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from tuf.api.metadata import TargetFile

from iii_client.filters import Clock, pack_bundle, parse_bundle, utc_now
from iii_client.model import NO_RELEASE, ReleaseId
from iii_client.publisher.build import build_sections, test_picture_entries
from iii_client.publisher.keys import KeyStore
from iii_client.publisher.lists import ListEntry
from iii_client.publisher.roles import Roles
from iii_client.updates.durable import exclusive_lock, replace_durably
from iii_client.updates.signed_base import SignedBase, base_path, newest_base

#: Another process may be building a large base.
LOCK_TIMEOUT_S = 600.0

logger = logging.getLogger(__name__)


class FilterRepository:
    """One repository; open it with `open_or_create`. Safe to use from several threads and processes."""

    def __init__(self, directory: Path, keys: KeyStore, clock: Clock) -> None:
        self._directory = directory
        self._keys = keys
        self._clock = clock

    @classmethod
    def open_or_create(cls, directory: Path, *, keys_dir: Path, clock: Clock = utc_now) -> "FilterRepository":
        """Open the repository in `directory`, or create it with new keys and without a release.

        Raises:
            ConfigurationError: there are keys but no repository, or a damaged one.
            OSError: the folders cannot be written.
        """
        repository = cls(directory, KeyStore(keys_dir), clock)
        repository._metadata_dir.mkdir(parents=True, exist_ok=True)
        repository._targets_dir.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(repository._lock_path, timeout_s=LOCK_TIMEOUT_S):
            if not (repository._metadata_dir / "timestamp.json").exists():
                Roles.create(repository._metadata_dir, repository._keys, clock)
        return repository

    @property
    def public_dir(self) -> Path:
        """The folder to serve: `metadata/` and `targets/`."""
        return self._directory / "public"

    @property
    def root_bytes(self) -> bytes:
        """The first root, which clients pin; they reach later ones from it."""
        return (self._metadata_dir / "1.root.json").read_bytes()

    @property
    def release(self) -> ReleaseId:
        """The newest release, `NO_RELEASE` before the first."""
        base = _present_base(self._load_roles())
        return base.release if base else NO_RELEASE

    def publish_base(self, entries: Iterable[ListEntry]) -> ReleaseId:
        """Publish the hashes of these entries and the test picture as a base in a new epoch.

        When they are the hashes of the present base, nothing is published; what is due is signed anew.
        Needs an offline targets key.

        Returns:
            The release that holds these hashes.

        Raises:
            ConfigurationError: a key is missing.
            OSError: the folder cannot be written.
        """
        sections = build_sections(entries)
        with exclusive_lock(self._lock_path, timeout_s=LOCK_TIMEOUT_S):
            roles = self._load_roles()
            present = _present_base(roles)
            if present and _sha256(pack_bundle(present.release, sections)) == present.sha256:
                roles.renew()
                return present.release
            epoch = present.release.epoch + 1 if present else 1
            target = self._write_base(epoch, sections)
            roles.publish({target.path: target})
            self._forget_bases_before(epoch - 1)
            logger.info("published epoch %d, %d bytes", epoch, target.length)
            return ReleaseId(epoch=epoch, sequence=0)

    def refresh(self) -> None:
        """Sign anew whatever is due, as a timer does every hour; do nothing when nothing is.

        Offline roles are renewed only where their keys are.

        Raises:
            ConfigurationError: an online key is missing.
            OSError: the folder cannot be written.
        """
        with exclusive_lock(self._lock_path, timeout_s=LOCK_TIMEOUT_S):
            self._load_roles().renew()

    def _write_base(self, epoch: int, sections: Sequence[tuple[str, bytes]]) -> TargetFile:
        content = pack_bundle(ReleaseId(epoch=epoch, sequence=0), sections)
        bundle = parse_bundle(content)
        base = SignedBase(
            release=bundle.release,
            sections=tuple(section.info for section in bundle.sections),
            sha256=_sha256(content),
            canaries=tuple(entry.hash for entry in test_picture_entries()),
        )
        path = Path(base_path(epoch))
        folder = self._targets_dir / path.parent
        folder.mkdir(parents=True, exist_ok=True)
        # Readable for the web server's group alone: the filter is to be treated as the list is.
        replace_durably(folder / f"{base.sha256}.{path.name}", content, mode=0o640)
        return TargetFile(
            length=len(content),
            hashes={"sha256": base.sha256},
            path=base_path(epoch),
            unrecognized_fields={"custom": base.to_custom()},
        )

    def _forget_bases_before(self, epoch: int) -> None:
        """The previous base stays for clients in the middle of a download."""
        for folder in (self._targets_dir / "base").iterdir():
            if folder.name.isdigit() and int(folder.name) < epoch:
                shutil.rmtree(folder)

    def _load_roles(self) -> Roles:
        return Roles.load(self._metadata_dir, self._keys, self._clock)

    @property
    def _metadata_dir(self) -> Path:
        return self.public_dir / "metadata"

    @property
    def _targets_dir(self) -> Path:
        return self.public_dir / "targets"

    @property
    def _lock_path(self) -> Path:
        return self._directory / "lock"


def _present_base(roles: Roles) -> SignedBase | None:
    epoch = newest_base(roles.targets)
    if not epoch:
        return None
    return SignedBase.from_custom(roles.targets[base_path(epoch)].unrecognized_fields.get("custom"))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
