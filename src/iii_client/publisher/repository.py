"""A signed filter repository in a folder that any web server can serve.

    <directory>/public/metadata/   TUF metadata, see roles.py
    <directory>/public/targets/    base/<epoch>/<sha256>.filter.bin
                                   near/<convention>/<sha256>.<n>.near

Content is written first and the timestamp last, so a client sees the old state or the new one. The folder
alone holds the state: opened again with the same keys it is the same repository. The same lists give the
same bundle bytes, and publishing what is published already changes nothing.
"""

import hashlib
import logging
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuf.api.metadata import TargetFile

from iii_client.errors import ConfigurationError, PublishError
from iii_client.filters import Clock, pack_bundle, parse_bundle, utc_now
from iii_client.filters.near_segment import CONVENTIONS
from iii_client.model import NO_RELEASE, Algorithm, HashValue, NearInfo, ReleaseId
from iii_client.publisher.build import sections_of, test_picture_entries
from iii_client.publisher.keys import KeyStore
from iii_client.publisher.lists import ListEntry
from iii_client.publisher.near import PublishedSegment
from iii_client.publisher.near_ledger import NearLedger
from iii_client.publisher.roles import Roles
from iii_client.publisher.sorting import sort_entries
from iii_client.updates.durable import exclusive_lock, install_durably, replace_durably
from iii_client.updates.signed_base import SignedBase, base_path, newest_base
from iii_client.updates.signed_near import SignedSegment

#: Another process may be building a large base.
LOCK_TIMEOUT_S = 600.0

#: Readable for the web server's group alone: the filter is to be treated as the list is.
_TARGET_MODE = 0o640

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishReport:
    """What a publication did.

    Attributes:
        release: holds these hashes now.
        changed: whether it is a new one.
        near: its near segments.
        waiting: PDQ hashes that are in no release yet, because too few new ones make no segment.
    """

    release: ReleaseId
    changed: bool
    near: tuple[NearInfo, ...]
    waiting: int


class FilterRepository:
    """One repository; open it with `open_or_create`. Safe to use from several threads and processes."""

    def __init__(self, directory: Path, keys: KeyStore, near: NearLedger, clock: Clock) -> None:
        self._directory = directory
        self._keys = keys
        self._near = near
        self._clock = clock

    @classmethod
    def open_or_create(
        cls,
        directory: Path,
        *,
        keys_dir: Path,
        practice: bool = False,
        near_minimum: int | None = None,
        clock: Clock = utc_now,
    ) -> "FilterRepository":
        """Open the repository in `directory`, or create it with new keys and without a release.

        Args:
            directory: the repository.
            keys_dir: private: its keys, and below `near/` the hashes of its near segments.
            practice: its pictures are harmless: near segments may hold few hashes, and are flagged. A
                repository is one or the other for ever.
            near_minimum: new hashes that make a near segment; the least, and the default, is 10,000, or
                1 for practice.
            clock: the present time.

        Raises:
            ConfigurationError: there are keys but no repository, or a damaged one; or the keys would be
                served.
            PublishError: a minimum under the least.
            OSError: the folders cannot be written.
        """
        if (directory / "public").resolve() in (keys_dir / "near").resolve().parents:
            raise ConfigurationError(
                "the keys lie in the folder that is served", hint="Name a private folder for them."
            )
        near = NearLedger(keys_dir / "near", practice=practice, minimum_count=near_minimum)
        repository = cls(directory, KeyStore(keys_dir), near, clock)
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

    def publish_base(
        self, entries: Iterable[ListEntry], *, withdrawn: Iterable[HashValue] = ()
    ) -> PublishReport:
        """Publish the hashes of these entries and the test picture as a base in a new epoch.

        PDQ hashes of quality 50 or more become a near segment once enough new ones have gathered; all
        others become the exact sections. When the present release holds all that, nothing is published;
        what is due is signed anew. Needs an offline targets key.

        Args:
            entries: everything that is listed, read once.
            withdrawn: hashes that are listed no more. Those that stand in a near segment, which cannot
                change, are named in the release so that clients pass them over.

        Raises:
            ConfigurationError: a key is missing.
            PublishError: it would disclose the list: see `NearLedger`.
            OSError: the folder cannot be written.
        """
        hashes = sort_entries((*test_picture_entries(), *entries))
        with exclusive_lock(self._lock_path, timeout_s=LOCK_TIMEOUT_S):
            roles = self._load_roles()
            _check_ledger(_present_base(roles), self._near)
            hashes = self._near.exact.settled(hashes)
            waiting = self._near.gather(hashes)
            segments = self._near.segments()
            signed = tuple(map(_signed_segment, segments))
            exact = self._near.without_held(hashes.exact)
            self._near.exact.remember(exact)
            sections = sections_of(exact)
            withdrawn_digests = self._near.withdrawn(withdrawn, listed=hashes)

            def base_of(release: ReleaseId) -> tuple[SignedBase, bytes]:
                content = pack_bundle(release, sections)
                return _describe(content, near=signed, withdrawn=withdrawn_digests), content

            present = _present_base(roles)
            changed = present is None or base_of(present.release)[0] != present
            if present is not None and not changed:
                release = present.release
                roles.renew()
            else:
                release = ReleaseId(epoch=present.release.epoch + 1 if present else 1, sequence=0)
                targets = [self._write_segment(*pair) for pair in zip(segments, signed, strict=True)]
                targets.append(self._write_base(*base_of(release)))
                roles.publish({target.path: target for target in targets})
                self._forget_bases_before(release.epoch - 1)
                logger.info("published release %s with %d near segments", release, len(segments))
            return PublishReport(
                release=release,
                changed=changed,
                near=tuple(segment.info for segment in signed),
                waiting=waiting,
            )

    def refresh(self) -> None:
        """Sign anew whatever is due, as a timer does every hour; do nothing when nothing is.

        Offline roles are renewed only where their keys are.

        Raises:
            ConfigurationError: an online key is missing.
            OSError: the folder cannot be written.
        """
        with exclusive_lock(self._lock_path, timeout_s=LOCK_TIMEOUT_S):
            self._load_roles().renew()

    def _write_base(self, base: SignedBase, content: bytes) -> TargetFile:
        path = base_path(base.release.epoch)
        replace_durably(self._target_file(path, base.sha256), content, mode=_TARGET_MODE)
        return _target(path, length=len(content), sha256=base.sha256, custom=base.to_custom())

    def _write_segment(self, segment: PublishedSegment, signed: SignedSegment) -> TargetFile:
        target = signed.target
        file = self._target_file(target.path, target.sha256)
        if not file.exists():
            temporary = file.with_name(f".{file.name}.new")
            shutil.copyfile(segment.path, temporary)
            temporary.chmod(_TARGET_MODE)
            install_durably(temporary, file)
        return _target(target.path, length=target.size_bytes, sha256=target.sha256, custom=signed.to_custom())

    def _target_file(self, path: str, sha256: str) -> Path:
        """Where a target's bytes lie for a client that asks for this very hash."""
        file = self._targets_dir / path
        file.parent.mkdir(parents=True, exist_ok=True)
        return file.with_name(f"{sha256}.{file.name}")

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


def _describe(content: bytes, *, near: Iterable[SignedSegment], withdrawn: tuple[bytes, ...]) -> SignedBase:
    bundle = parse_bundle(content)
    return SignedBase(
        release=bundle.release,
        sections=tuple(section.info for section in bundle.sections),
        sha256=hashlib.sha256(content).hexdigest(),
        canaries=tuple(entry.hash for entry in test_picture_entries() if entry.hash.algorithm.is_digest),
        near=tuple(segment.target for segment in near),
        withdrawn=withdrawn,
    )


def _signed_segment(segment: PublishedSegment) -> SignedSegment:
    with segment.path.open("rb") as file:
        return SignedSegment(header=segment.header, sha256=hashlib.file_digest(file, "sha256").hexdigest())


def _target(path: str, *, length: int, sha256: str, custom: dict[str, Any]) -> TargetFile:
    return TargetFile(
        length=length, hashes={"sha256": sha256}, path=path, unrecognized_fields={"custom": custom}
    )


def _check_ledger(present: SignedBase | None, ledger: NearLedger) -> None:
    """Refuse to go on without the ledger of what was published: a hash could come into a second table."""
    held = {signed.target.path: signed.sha256 for signed in map(_signed_segment, ledger.segments())}
    lost = [
        target.path for target in (present.near if present else ()) if held.get(target.path) != target.sha256
    ]
    lost += [
        f"the exact section {section.name}"
        for section in (present.sections if present else ())
        if section.name in CONVENTIONS and section.count > ledger.exact.count(Algorithm(section.name))
    ]
    if lost:
        raise PublishError(
            f"{lost[0]} was published and the ledger does not hold it",
            hint="Restore the folder 'near' beside the keys from a backup: two builds of the same hashes "
            "disclose the list.",
        )
