"""A signed filter repository in a folder that any web server can serve.

    <directory>/public/metadata/   TUF metadata, see roles.py
    <directory>/public/targets/    bases, deltas and near segments, see target_files.py

Content is written first and the timestamp last, so a client sees the old state or the new one. The folder
alone holds the state: opened again with the same keys it is the same repository. The same lists give the
same bytes, and publishing what is published already changes nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from iii_client.config import Secret
from iii_client.errors import ConfigurationError
from iii_client.filters import Clock, utc_now
from iii_client.model import NO_RELEASE, HashValue, ReleaseId
from iii_client.publisher.base_release import publish_base
from iii_client.publisher.build import test_picture_entries
from iii_client.publisher.delta_release import MAX_REMOVED_RATIO, check_removals, plan_release, publish_deltas
from iii_client.publisher.keys import Job, KeyStore
from iii_client.publisher.lists import ListEntry
from iii_client.publisher.near_ledger import NearLedger
from iii_client.publisher.present import Workshop, check_ledger, present_release
from iii_client.publisher.reports import NO_DESCRIPTION, Description, PublishReport, RepositoryStatus
from iii_client.publisher.roles import Roles
from iii_client.publisher.sorting import sort_entries
from iii_client.publisher.target_files import TargetFiles
from iii_client.updates.durable import exclusive_lock

#: Another process may be building a large base.
LOCK_TIMEOUT_S = 600.0

#: Digits of a key id that name a key whose file is lost.
LEAST_KEYID_DIGITS = 8


class FilterRepository:
    """One repository; open it with `open_or_create`. Safe to use from several threads and processes."""

    def __init__(self, directory: Path, keys: KeyStore, near: NearLedger, clock: Clock) -> None:
        self._directory = directory
        self._keys = keys
        self._near = near
        self._clock = clock
        self._files = TargetFiles(self._targets_dir)

    @classmethod
    def open_or_create(
        cls,
        directory: Path,
        *,
        keys_dir: Path,
        offline: Sequence[Path] = (),
        passphrase: Secret | None = None,
        practice: bool = False,
        near_minimum: int | None = None,
        clock: Clock = utc_now,
    ) -> "FilterRepository":
        """Open the repository in `directory`, or create it with new keys and without a release.

        Args:
            directory: the repository.
            keys_dir: private: its keys, and below `near/` the hashes of its near segments.
            offline: more folders of offline keys; new ones are made there.
            passphrase: of the offline keys.
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
        public = (directory / "public").resolve()
        for private in (keys_dir / "near", *offline):
            if public in (private / "x").resolve().parents:
                raise ConfigurationError(
                    "the keys lie in the folder that is served", hint="Name a private folder for them."
                )
        near = NearLedger(keys_dir / "near", practice=practice, minimum_count=near_minimum)
        keys = KeyStore(keys_dir, offline=offline, passphrase=passphrase)
        repository = cls(directory, keys, near, clock)
        repository._metadata_dir.mkdir(parents=True, exist_ok=True)
        repository._targets_dir.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(repository._lock_path, timeout_s=LOCK_TIMEOUT_S):
            if not repository.exists:
                Roles.create(repository._metadata_dir, repository._keys, clock)
        return repository

    @property
    def exists(self) -> bool:
        """Whether there is metadata in the folder."""
        return (self._metadata_dir / "timestamp.json").exists()

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
        present = present_release(self._load_roles())
        return present.release if present else NO_RELEASE

    def status(self) -> RepositoryStatus:
        """Everything that an operator asks about; changes nothing.

        Raises:
            ConfigurationError: the metadata is damaged.
        """
        roles = self._load_roles()
        present = present_release(roles)
        keys = roles.keys_of
        return RepositoryStatus(
            release=present.release if present else NO_RELEASE,
            base_at=present.base.published_at if present else None,
            deltas=len(present.deltas) if present else 0,
            coverage=present.base.coverage if present else (),
            near=tuple(target.path for target in present.base.near) if present else (),
            withdrawn=len(present.base.withdrawn) if present else 0,
            roles=roles.versions,
            keys=keys,
            here=self._keys.names([keyid for _, keyids in keys.values() for keyid in keyids]),
            visible=roles.is_taken_up,
        )

    def publish(
        self,
        entries: Iterable[ListEntry],
        *,
        description: Description = NO_DESCRIPTION,
        base: bool | None = None,
        most_removed: float = MAX_REMOVED_RATIO,
    ) -> PublishReport:
        """Publish what is new as deltas, or as a base when one is due; nothing when nothing changed.

        A base needs an offline targets key. Where that is not and a base is due, deltas add what they may,
        and the report says what is due and why.

        Args:
            entries: everything that is listed, read once.
            description: what the lists are about.
            base: True for a base in any case, False for none (but the first) in any case.
            most_removed: share of the hashes of the present release that may be listed no more.

        Raises:
            ConfigurationError: a key is missing.
            PublishError: it would disclose the list: see `NearLedger`; or more is gone than may be.
            OSError: the folder cannot be written.
        """
        hashes = sort_entries(chain(test_picture_entries(), entries))
        with self._workshop() as work:
            present = present_release(work.roles)
            check_ledger(present, work.near)
            hashes = work.near.exact.settled(hashes)
            if present is not None:
                plan = plan_release(work, present, hashes, description)
                # Deltas take nothing away, but whoever publishes them would not notice what is gone.
                check_removals(plan, most_removed=most_removed)
                if not base and (not plan.base_due or base is False or not work.roles.can_publish):
                    return publish_deltas(work, present, plan, hashes)
            return publish_base(
                work, hashes, withdrawn=None, description=description, also_described=bool(base)
            )

    def publish_base(
        self,
        entries: Iterable[ListEntry],
        *,
        withdrawn: Iterable[HashValue] = (),
        description: Description = NO_DESCRIPTION,
    ) -> PublishReport:
        """Publish the hashes of these entries and the test picture as a base in a new epoch.

        PDQ hashes of quality 50 or more become a near segment once enough new ones have gathered; all
        others become the exact sections. When the present release is a base of just that, nothing is
        published; what is due is signed anew. Needs an offline targets key.

        Args:
            entries: everything that is listed, read once.
            withdrawn: hashes that are listed no more. Those that stand in a near segment, which cannot
                change, are named in the release so that clients pass them over.
            description: what the lists are about.

        Raises:
            ConfigurationError: a key is missing.
            PublishError: it would disclose the list: see `NearLedger`.
            OSError: the folder cannot be written.
        """
        hashes = sort_entries(chain(test_picture_entries(), entries))
        with self._workshop() as work:
            check_ledger(present_release(work.roles), work.near)
            hashes = work.near.exact.settled(hashes)
            return publish_base(work, hashes, withdrawn=withdrawn, description=description)

    def refresh(self) -> bool:
        """Sign anew whatever is due, as a timer does every hour; do nothing when nothing is.

        Offline roles are renewed only where their keys are.

        Returns:
            Whether anything was signed.

        Raises:
            ConfigurationError: an online key is missing.
            OSError: the folder cannot be written.
        """
        with self._workshop() as work:
            return work.roles.renew()

    def rotate(self, replace: Iterable[str] = ()) -> None:
        """Put new keys in the place of others, or sign root and targets for a new term when none is named.

        Args:
            replace: names of key files, such as `root-2`, or the first digits of the ids of lost keys.

        Raises:
            ConfigurationError: there is no such key, or too few of the others are here.
            OSError: a folder cannot be written.
        """
        with self._workshop() as work:
            work.roles.rotate([self._resolve(work.roles, name) for name in replace])

    def _resolve(self, roles: Roles, name: str) -> tuple[Job, str]:
        jobs = {str(job): job for job in Job}
        if len(name) >= LEAST_KEYID_DIGITS:
            for role, (_, keyids) in roles.keys_of.items():
                for keyid in keyids:
                    if role in jobs and keyid.startswith(name):
                        return jobs[role], keyid
        return self._keys.keyid(name)

    @contextmanager
    def _workshop(self) -> Iterator[Workshop]:
        with exclusive_lock(self._lock_path, timeout_s=LOCK_TIMEOUT_S):
            yield Workshop(roles=self._load_roles(), files=self._files, near=self._near, clock=self._clock)

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
