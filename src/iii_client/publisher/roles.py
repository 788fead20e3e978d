"""The TUF roles of a repository: loaded from its metadata folder, signed, and written back.

    root                  2 of 3 offline keys   18 months   renewed when 45 days are left
    targets               1 of 2 offline keys   120 days    renewed when 45 days are left; signs bases
    delta                 own online key        14 days     delegated `delta/*/*`, nothing else
    snapshot, timestamp   own online key        7 days      signed anew every hour

The clocks are such that a small organisation can keep them over a holiday. A client reads the signing
time off the timestamp (its expiry minus 7 days), so a filter that is not re-signed is seen to age.

Offline roles may be signed on a machine that has no online key: the newest root and targets in the folder
are the present ones, and the next `renew` where the online keys are takes them up.
"""

import copy
import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Role,
    Root,
    Snapshot,
    T,
    TargetFile,
    Targets,
    Timestamp,
)

from iii_client.errors import ConfigurationError
from iii_client.filters import Clock
from iii_client.publisher.keys import Job, KeyStore
from iii_client.publisher.metadata_folder import is_signed, newest_root, newest_signed, read_metadata
from iii_client.updates.durable import replace_durably
from iii_client.updates.trust import ONLINE_LIFETIME

ROOT_LIFETIME = timedelta(days=548)
TARGETS_LIFETIME = timedelta(days=120)
DELTA_LIFETIME = timedelta(days=14)

#: Offline keys must be fetched from a safe: renew early.
OFFLINE_MARGIN = timedelta(days=45)
DELTA_MARGIN = timedelta(days=7)

#: An hourly timer that comes a little early must still sign.
RESIGN_AFTER = timedelta(minutes=55)

ROOT_THRESHOLD = 2
DELTA_ROLE = "delta"
#: A TUF pattern's `*` stops at a slash: `delta/*` would not match `delta/<epoch>/<sequence>`.
DELTA_PATTERN = "delta/*/*"

#: Superseded versions are kept this long for clients in the middle of a refresh.
KEPT_VERSIONS = 48

logger = logging.getLogger(__name__)


class Roles:
    """All roles of one repository, as they stand on disk. Load it anew for every operation, under a lock."""

    def __init__(
        self,
        metadata_dir: Path,
        keys: KeyStore,
        clock: Clock,
        *,
        root: Metadata[Root],
        targets: Metadata[Targets],
        delta: Metadata[Targets],
        snapshot: Metadata[Snapshot],
        timestamp: Metadata[Timestamp],
    ) -> None:
        self._dir = metadata_dir
        self._keys = keys
        self._clock = clock
        self._root = root
        self._targets = targets
        self._delta = delta
        self._snapshot = snapshot
        self._timestamp = timestamp

    @classmethod
    def create(cls, metadata_dir: Path, keys: KeyStore, clock: Clock) -> "Roles":
        """Make keys, sign every role for the first time, and write them."""
        keys.create()
        root = Root(consistent_snapshot=True)
        for role, job in (
            ("root", Job.ROOT),
            ("targets", Job.TARGETS),
            ("snapshot", Job.SNAPSHOT),
            ("timestamp", Job.SNAPSHOT),
        ):
            for signer in keys.all_of(job):
                root.add_key(signer.public_key, role)
        root.roles["root"].threshold = ROOT_THRESHOLD
        (delta_key,) = (signer.public_key for signer in keys.all_of(Job.DELTA))
        delegate = DelegatedRole(DELTA_ROLE, [delta_key.keyid], 1, terminating=True, paths=[DELTA_PATTERN])
        targets = Targets(delegations=Delegations({delta_key.keyid: delta_key}, {DELTA_ROLE: delegate}))
        roles = cls(
            metadata_dir,
            keys,
            clock,
            root=_unsigned(root),
            targets=_unsigned(targets),
            delta=_unsigned(Targets()),
            snapshot=_unsigned(Snapshot()),
            timestamp=_unsigned(Timestamp()),
        )
        roles._sign_root(root.roles["root"])
        roles._sign_targets()
        roles._sign_delta()
        roles._sign_online()
        return roles

    @classmethod
    def load(cls, metadata_dir: Path, keys: KeyStore, clock: Clock) -> "Roles":
        """Read the present roles.

        Raises:
            ConfigurationError: a file is missing or malformed, or none of a role is signed by its keys.
        """
        timestamp = read_metadata(metadata_dir / "timestamp.json", Timestamp)
        version = timestamp.signed.snapshot_meta.version
        snapshot = read_metadata(metadata_dir / f"{version}.snapshot.json", Snapshot)
        root = newest_root(metadata_dir)
        targets = newest_signed(metadata_dir, "targets", root)
        return cls(
            metadata_dir,
            keys,
            clock,
            root=root,
            targets=targets,
            delta=newest_signed(metadata_dir, DELTA_ROLE, targets),
            snapshot=snapshot,
            timestamp=timestamp,
        )

    @property
    def targets(self) -> Mapping[str, TargetFile]:
        """The files that the offline key vouches for."""
        return self._targets.signed.targets

    @property
    def deltas(self) -> Mapping[str, TargetFile]:
        """The files that the delta key vouches for."""
        return self._delta.signed.targets

    @property
    def can_publish(self) -> bool:
        """Whether the offline keys that sign a base are here."""
        return self._has(Job.TARGETS, self._root.signed.roles["targets"])

    @property
    def can_sign_online(self) -> bool:
        """Whether the key that clients see every hour is here."""
        return self._has(Job.SNAPSHOT, self._root.signed.roles["snapshot"])

    @property
    def versions(self) -> Mapping[str, tuple[int, datetime]]:
        """Version and expiry of each role."""
        signed = {
            "root": self._root.signed,
            "targets": self._targets.signed,
            DELTA_ROLE: self._delta.signed,
            "snapshot": self._snapshot.signed,
            "timestamp": self._timestamp.signed,
        }
        return {name: (role.version, role.expires) for name, role in signed.items()}

    @property
    def keys_of(self) -> Mapping[str, tuple[int, Sequence[str]]]:
        """Threshold and ids of the keys of each role."""
        roles: dict[str, Role] = {**self._root.signed.roles, DELTA_ROLE: self._delta_role}
        return {name: (role.threshold, role.keyids) for name, role in roles.items()}

    def publish(self, targets: Mapping[str, TargetFile]) -> None:
        """Sign these files, instead of the present ones, with an offline targets key.

        Where the online key is not, clients see them after the next `renew` where it is.
        """
        self._targets.signed.targets = dict(targets)
        self._sign_targets()
        if self.can_sign_online:
            self._sign_online()

    def publish_deltas(self, targets: Mapping[str, TargetFile]) -> None:
        """Sign these files, instead of the present ones, with the delta key."""
        self._delta.signed.targets = dict(targets)
        self._sign_delta()
        self._sign_online()

    def renew(self) -> bool:
        """Sign anew whatever is due. Offline roles only where their keys are.

        Returns:
            Whether anything was.
        """
        renewed = [
            self._renew("root", self._root, OFFLINE_MARGIN, self._renew_root),
            self._renew("targets", self._targets, OFFLINE_MARGIN, self._sign_targets),
            self._renew(DELTA_ROLE, self._delta, DELTA_MARGIN, self._sign_delta),
        ]
        signed_at = self._timestamp.signed.expires - ONLINE_LIFETIME
        due = self._clock() - signed_at >= RESIGN_AFTER or not self.is_taken_up
        if any(renewed) or due:
            self._sign_online()
            return True
        return False

    def rotate(self, replace: Sequence[tuple[Job, str]]) -> None:
        """Put new keys in the place of others, and sign root and all that they sign for a new term.

        The new root is signed by enough of the old root keys and enough of its own. Files of replaced keys
        are removed at the end; whenever this is interrupted, the next call or `renew` goes on.

        Args:
            replace: job and id of each key that shall sign no more; none signs for a new term only.

        Raises:
            ConfigurationError: too few keys of a role are here, or a key is none of this repository's.
        """
        old_root = copy.deepcopy(self._root.signed.roles["root"])
        root, targets = self._root.signed, self._targets.signed
        self._check_can_rotate(old_root, replace)
        for job, keyid in replace:
            new = self._keys.new(job, instead_of=keyid).public_key
            if job is Job.DELTA:
                targets.revoke_key(keyid, DELTA_ROLE)
                targets.add_key(new, DELTA_ROLE)
            else:
                for role in ("snapshot", "timestamp") if job is Job.SNAPSHOT else (job,):
                    root.revoke_key(keyid, role)
                    root.add_key(new, role)
        # In this order: until the root is written, all that is newer counts for nothing.
        if any(job is Job.DELTA for job, _ in replace):
            self._sign_delta()
        self._sign_targets()
        self._sign_root(old_root)
        if self.can_sign_online:
            self._sign_online()
        self._keys.forget([keyid for _, keyid in replace])

    def _check_can_rotate(self, old_root: Role, replace: Sequence[tuple[Job, str]]) -> None:
        """Before a key is made or a file written: are all keys here that this takes?"""
        keys_of = self.keys_of
        for job, keyid in replace:
            if keyid not in keys_of[job][1]:
                raise ConfigurationError(
                    f"a key of '{job}' that should be replaced is none of this repository's",
                    hint="See `iii-client publish status` for its keys.",
                )
        gone = {keyid for _, keyid in replace}
        if not self._has(Job.ROOT, old_root):
            raise self._missing(Job.ROOT, old_root)
        targets = self._root.signed.roles["targets"]
        staying = [keyid for keyid in targets.keyids if keyid not in gone]
        if not any(job is Job.TARGETS for job, _ in replace) and not self._keys.has(
            Job.TARGETS, staying, at_least=targets.threshold
        ):
            raise self._missing(Job.TARGETS, targets)

    def _renew(self, name: str, metadata: Metadata[T], margin: timedelta, sign: Callable[[], None]) -> bool:
        if metadata.signed.expires - self._clock() > margin:
            return False
        try:
            sign()
        except ConfigurationError as missing:
            logger.warning("%s expires on %s: %s", name, metadata.signed.expires.date(), missing)
            return False
        return True

    @property
    def is_taken_up(self) -> bool:
        """Whether the online metadata is about the newest of the other roles, and signed by today's keys."""
        meta = self._snapshot.signed.meta
        return (
            meta["targets.json"].version == self._targets.signed.version
            and meta[f"{DELTA_ROLE}.json"].version == self._delta.signed.version
            and is_signed(self._root, "snapshot", self._snapshot)
            and is_signed(self._root, "timestamp", self._timestamp)
        )

    def _renew_root(self) -> None:
        self._sign_root(self._root.signed.roles["root"])

    def _sign_root(self, old_role: Role) -> None:
        """A root is signed by the keys that its predecessor names, and by those that itself names."""
        signers = {
            signer.public_key.keyid: signer
            for role in (old_role, self._root.signed.roles["root"])
            for signer in self._signers(Job.ROOT, role)
        }
        self._sign(self._root, list(signers.values()), ROOT_LIFETIME)
        self._write("root", self._root)

    def _sign_targets(self) -> None:
        signers = self._signers(Job.TARGETS, self._root.signed.roles["targets"])
        self._sign(self._targets, signers, TARGETS_LIFETIME)
        self._write("targets", self._targets)

    def _sign_delta(self) -> None:
        self._sign(self._delta, self._signers(Job.DELTA, self._delta_role), DELTA_LIFETIME)
        self._write(DELTA_ROLE, self._delta)

    def _sign_online(self) -> None:
        """Snapshot and timestamp. The timestamp is written last: until then no client sees anything."""
        signers = self._signers(Job.SNAPSHOT, self._root.signed.roles["snapshot"])
        # Made anew but for the version: these two are read back whoever signed them (a rotation leaves them
        # with the old key's), and a field that somebody wrote into the folder must not be signed.
        meta = {
            "targets.json": self._meta_file("targets", self._targets),
            f"{DELTA_ROLE}.json": self._meta_file(DELTA_ROLE, self._delta),
        }
        self._snapshot = _anew(Snapshot(meta=meta), self._snapshot)
        self._sign(self._snapshot, signers, ONLINE_LIFETIME)
        self._write("snapshot", self._snapshot)
        newest = self._meta_file("snapshot", self._snapshot)
        self._timestamp = _anew(Timestamp(snapshot_meta=newest), self._timestamp)
        self._sign(self._timestamp, signers, ONLINE_LIFETIME)
        replace_durably(self._dir / "timestamp.json", self._timestamp.to_bytes(), mode=0o644)
        for name, metadata in (
            ("snapshot", self._snapshot),
            ("targets", self._targets),
            (DELTA_ROLE, self._delta),
        ):
            old = metadata.signed.version - KEPT_VERSIONS
            (self._dir / f"{old}.{name}.json").unlink(missing_ok=True)

    @property
    def _delta_role(self) -> DelegatedRole:
        delegations = self._targets.signed.delegations
        if delegations is None or not delegations.roles or DELTA_ROLE not in delegations.roles:
            raise ConfigurationError("this repository delegates no deltas")
        return delegations.roles[DELTA_ROLE]

    def _has(self, job: Job, role: Role) -> bool:
        return self._keys.has(job, role.keyids, at_least=role.threshold)

    def _signers(self, job: Job, role: Role) -> list[CryptoSigner]:
        signers = self._keys.signers(job, role.keyids)
        if len(signers) < role.threshold:
            raise self._missing(job, role, here=len(signers))
        return signers

    def _missing(self, job: Job, role: Role, *, here: int | None = None) -> ConfigurationError:
        if here is None:
            here = len(self._keys.signers(job, role.keyids))
        return self._keys.missing(job, here=here, needed=role.threshold)

    def _sign(self, metadata: Metadata[T], signers: Sequence[CryptoSigner], lifetime: timedelta) -> None:
        metadata.signed.version += 1
        metadata.signed.expires = self._clock().replace(microsecond=0) + lifetime
        metadata.signatures.clear()
        for signer in signers:
            metadata.sign(signer, append=True)

    def _write(self, role: str, metadata: Metadata[T]) -> None:
        replace_durably(self._dir / f"{metadata.signed.version}.{role}.json", metadata.to_bytes(), mode=0o644)

    def _meta_file(self, role: str, metadata: Metadata[T]) -> MetaFile:
        version = metadata.signed.version
        content = (self._dir / f"{version}.{role}.json").read_bytes()
        return MetaFile(
            version=version, length=len(content), hashes={"sha256": hashlib.sha256(content).hexdigest()}
        )


def _anew(signed: T, before: Metadata[T]) -> Metadata[T]:
    signed.version = before.signed.version
    return Metadata(signed)


def _unsigned(signed: T) -> Metadata[T]:
    # Signing raises the version first, so the first signed version is 1.
    signed.version = 0
    return Metadata(signed)
