"""The TUF roles of a repository: loaded from its metadata folder, signed, and written back.

    root                  2 of 3 offline keys   18 months   renewed when 45 days are left
    targets               1 of 2 offline keys   120 days    renewed when 45 days are left; signs bases
    delta                 own online key        14 days     delegated `delta/*/*`, nothing else
    snapshot, timestamp   own online key        7 days      signed anew every hour

The clocks are such that a small organisation can keep them over a holiday. A client reads the signing
time off the timestamp (its expiry minus 7 days), so a filter that is not re-signed is seen to age.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

from tuf.api.exceptions import RepositoryError
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
from iii_client.publisher.keys import DELTA_KEY, ROOT_KEYS, SNAPSHOT_KEY, TARGETS_KEYS, KeyStore
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
        for role, names in (
            ("root", ROOT_KEYS),
            ("targets", TARGETS_KEYS),
            ("snapshot", (SNAPSHOT_KEY,)),
            ("timestamp", (SNAPSHOT_KEY,)),
        ):
            for signer in keys.signers(*names):
                root.add_key(signer.public_key, role)
        root.roles["root"].threshold = ROOT_THRESHOLD
        (delta_key,) = (signer.public_key for signer in keys.signers(DELTA_KEY))
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
        roles._sign_root()
        roles._sign_targets()
        roles._sign_delta()
        roles._sign_online()
        return roles

    @classmethod
    def load(cls, metadata_dir: Path, keys: KeyStore, clock: Clock) -> "Roles":
        """Read the present roles.

        Raises:
            ConfigurationError: a file is missing or malformed.
        """
        timestamp = _read(metadata_dir / "timestamp.json", Timestamp)
        version = timestamp.signed.snapshot_meta.version
        snapshot = _read(metadata_dir / f"{version}.snapshot.json", Snapshot)
        meta = snapshot.signed.meta
        newest_root = max(int(path.name.partition(".")[0]) for path in metadata_dir.glob("[0-9]*.root.json"))
        return cls(
            metadata_dir,
            keys,
            clock,
            root=_read(metadata_dir / f"{newest_root}.root.json", Root),
            targets=_read(metadata_dir / f"{meta['targets.json'].version}.targets.json", Targets),
            delta=_read(metadata_dir / f"{meta[f'{DELTA_ROLE}.json'].version}.{DELTA_ROLE}.json", Targets),
            snapshot=snapshot,
            timestamp=timestamp,
        )

    @property
    def targets(self) -> Mapping[str, TargetFile]:
        """The files that the offline key vouches for."""
        return self._targets.signed.targets

    def publish(self, targets: Mapping[str, TargetFile]) -> None:
        """Sign these files, instead of the present ones, with the offline targets key."""
        self._targets.signed.targets = dict(targets)
        self._sign_targets()
        self._sign_online()

    def renew(self) -> None:
        """Sign anew whatever is due; nothing when nothing is. Offline roles only where their keys are."""
        renewed = [
            self._renew("root", self._root, OFFLINE_MARGIN, ROOT_KEYS, self._sign_root),
            self._renew("targets", self._targets, OFFLINE_MARGIN, TARGETS_KEYS[:1], self._sign_targets),
            self._renew("delta", self._delta, DELTA_MARGIN, (DELTA_KEY,), self._sign_delta),
        ]
        signed_at = self._timestamp.signed.expires - ONLINE_LIFETIME
        if any(renewed) or self._clock() - signed_at >= RESIGN_AFTER:
            self._sign_online()

    def _renew(
        self,
        name: str,
        metadata: Metadata[T],
        margin: timedelta,
        keys: tuple[str, ...],
        sign: Callable[[], None],
    ) -> bool:
        if metadata.signed.expires - self._clock() > margin:
            return False
        if not self._keys.has(*keys):
            logger.warning("%s expires on %s and its keys are not here", name, metadata.signed.expires.date())
            return False
        sign()
        return True

    def _sign_root(self) -> None:
        self._sign(self._root, self._root.signed.roles["root"], ROOT_KEYS, ROOT_LIFETIME)
        self._write("root", self._root)

    def _sign_targets(self) -> None:
        role = self._root.signed.roles["targets"]
        self._sign(self._targets, role, TARGETS_KEYS[:1], TARGETS_LIFETIME)
        self._write("targets", self._targets)

    def _sign_delta(self) -> None:
        delegations = self._targets.signed.delegations
        if delegations is None or not delegations.roles or DELTA_ROLE not in delegations.roles:
            raise ConfigurationError("this repository delegates no deltas")
        self._sign(self._delta, delegations.roles[DELTA_ROLE], (DELTA_KEY,), DELTA_LIFETIME)
        self._write(DELTA_ROLE, self._delta)

    def _sign_online(self) -> None:
        """Snapshot and timestamp. The timestamp is written last: until then no client sees anything."""
        roles = self._root.signed.roles
        self._snapshot.signed.meta = {
            "targets.json": self._meta_file("targets", self._targets),
            f"{DELTA_ROLE}.json": self._meta_file(DELTA_ROLE, self._delta),
        }
        self._sign(self._snapshot, roles["snapshot"], (SNAPSHOT_KEY,), ONLINE_LIFETIME)
        self._write("snapshot", self._snapshot)
        self._timestamp.signed.snapshot_meta = self._meta_file("snapshot", self._snapshot)
        self._sign(self._timestamp, roles["timestamp"], (SNAPSHOT_KEY,), ONLINE_LIFETIME)
        replace_durably(self._dir / "timestamp.json", self._timestamp.to_bytes(), mode=0o644)
        for name, metadata in (("snapshot", self._snapshot), ("targets", self._targets)):
            old = metadata.signed.version - KEPT_VERSIONS
            (self._dir / f"{old}.{name}.json").unlink(missing_ok=True)

    def _sign(self, metadata: Metadata[T], role: Role, keys: tuple[str, ...], lifetime: timedelta) -> None:
        signers = self._keys.signers(*keys)
        if any(signer.public_key.keyid not in role.keyids for signer in signers):
            raise ConfigurationError(
                f"a key that should sign {metadata.signed.type} is not one of this repository's",
                hint="The folder of keys belongs to another repository.",
            )
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


def _unsigned(signed: T) -> Metadata[T]:
    # Signing raises the version first, so the first signed version is 1.
    signed.version = 0
    return Metadata(signed)


def _read(path: Path, kind: type[T]) -> Metadata[T]:
    try:
        metadata = Metadata[T].from_bytes(path.read_bytes())
    except (OSError, RepositoryError) as error:
        raise ConfigurationError(
            f"the repository's {kind.type} metadata cannot be read ({type(error).__name__})",
            hint="Restore the repository's folder from a backup.",
        ) from error
    if not isinstance(metadata.signed, kind):
        raise ConfigurationError(f"the repository's {kind.type} metadata is of another role")
    return metadata
