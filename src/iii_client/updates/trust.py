"""Trust: which release the repository's keys vouch for now. A thin shell over TUF's client.

One refresh is one `TrustedRepository`, made while the store's lock is held: TUF's constructor races with
itself between processes, and it refreshes once in its life. It always starts from the pinned root, never
from what happens to be cached. TUF checks signatures, thresholds, versions, expiry, lengths and hashes;
this file names what it refuses, and adds the signing time and the clock that is wrong.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, TargetFile, Targets, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.ngclient import Updater as TufUpdater
from tuf.ngclient import UpdaterConfig

from iii_client.errors import (
    ConfigurationError,
    GateError,
    NoFilterError,
    SignatureError,
    StaleMetadataError,
)
from iii_client.filters import Clock
from iii_client.model import ReleaseId
from iii_client.updates.durable import sync_tree
from iii_client.updates.fetcher import RepositoryFetcher
from iii_client.updates.fields import is_sha256
from iii_client.updates.naming import CLOCK_TOLERANCE, hours, named_errors
from iii_client.updates.schedule import MAX_WAIT_S
from iii_client.updates.signed_base import SignedBase, base_path, newest_base
from iii_client.updates.signed_delta import MAX_DELTAS, SignedDelta, delta_path, delta_sequences
from iii_client.updates.signed_near import NearTarget, SignedSegment

#: Lifetime of snapshot and timestamp: expiry minus this is the signing time, which ages the filter.
ONLINE_LIFETIME = timedelta(days=7)

#: Lifetime of what the offline targets key signs: expiry minus this is when it signed.
TARGETS_LIFETIME = timedelta(days=120)

#: The one role that may sign deltas, delegated by the offline targets role.
DELTA_ROLE = "delta"

MAX_ROOT_BYTES = 512_000

_STAYS = "The filter in use stays."


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedFile:
    """A file that the repository vouches for.

    Attributes:
        url: where its bytes are.
        sha256: of all of them, hexadecimal.
        target: length and hash as signed.
    """

    url: str
    sha256: str
    target: TargetFile

    @property
    def size_bytes(self) -> int:
        """Its length."""
        return int(self.target.length)

    def verify(self, file: BinaryIO) -> None:
        """Check a file's length and hash against what was signed.

        Raises:
            LengthOrHashError: they differ.
        """
        with named_errors(None):
            self.target.verify_length_and_hashes(file)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedSegment:
    """A near segment: what the offline key says about it, and its file."""

    signed: SignedSegment
    file: TrustedFile


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedDelta:
    """A delta: what the online key says about it, and its file."""

    signed: SignedDelta
    file: TrustedFile


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedBase:
    """The newest base that the repository vouches for, and what stands on it.

    Attributes:
        signed: what the offline key says about it.
        file: the bundle of its exact sections.
        segments: its near segments, in the order in which it names them.
        deltas: of its epoch, in order: the one at index n leads to sequence n + 1.
        published_at: when its offline key signed it; later than that when it does not say.
        signed_at, expires_at: of the timestamp, which says that nothing newer exists.
    """

    signed: SignedBase
    file: TrustedFile
    segments: tuple[TrustedSegment, ...]
    deltas: tuple[TrustedDelta, ...]
    published_at: datetime
    signed_at: datetime
    expires_at: datetime

    @property
    def delta_sizes(self) -> tuple[int, ...]:
        """Bytes of each delta, as the online key says."""
        return tuple(delta.file.size_bytes for delta in self.deltas)


class TrustedRepository:
    """A repository whose metadata was refreshed and verified from the pinned root. Make it under the lock.

    Args:
        url: base address; `metadata/` and `targets/` lie under it.
        root: bytes of the pinned root.
        metadata_dir: persistent folder of the metadata seen so far, which is the rollback defence.
        fetcher: brings the bytes.
        clock: for a time that cannot be true.

    Raises:
        TrustError, StaleMetadataError, TransportError, ServiceError: what TUF or the network refused.
        ConfigurationError: the pinned root is no root.
    """

    def __init__(
        self, url: str, *, root: bytes, metadata_dir: Path, fetcher: RepositoryFetcher, clock: Clock
    ) -> None:
        self._url = url
        self._metadata_dir = metadata_dir
        self._fetcher = fetcher
        parse_root(root)
        with named_errors(fetcher):
            self._tuf = TufUpdater(
                str(metadata_dir),
                f"{url}/metadata/",
                fetcher=fetcher,
                config=UpdaterConfig(root_max_length=MAX_ROOT_BYTES),
                bootstrap=root,
            )
            self._tuf.refresh()
        # TUF syncs nothing, and after a crash the rollback defence would begin anew.
        sync_tree(metadata_dir)
        # Public doors of TUF's client show targets only; what it just verified lies in its folder.
        timestamp = Metadata[Timestamp].from_file(str(metadata_dir / "timestamp.json"))
        self.expires_at = timestamp.signed.expires
        self.signed_at = self.expires_at - ONLINE_LIFETIME
        self.minimum_wait_s = _minimum_wait_s(timestamp.signed)
        ahead = self.signed_at - clock()
        if ahead > CLOCK_TOLERANCE:
            raise StaleMetadataError(
                f"the metadata was signed {hours(ahead)} in the future: this machine's clock is behind",
                hint=f"Set this machine's clock (NTP), then update again. {_STAYS}",
            )

    def base(self) -> TrustedBase:
        """The newest base, with the near segments that it names and the deltas of its epoch.

        Raises:
            NoFilterError: nothing is published yet.
            SignatureError: nobody vouches for a part of it.
            GateError: its signed description is nonsense, or a delta is missing between two others.
            StaleMetadataError, TransportError, ServiceError: of the deltas' own metadata.
        """
        targets = Metadata[Targets].from_file(str(self._metadata_dir / "targets.json"))
        epoch = newest_base(targets.signed.targets)
        if not epoch:
            raise NoFilterError(
                "the repository has published no filter yet", hint="Ask the publisher of the filter."
            )
        path = base_path(epoch)
        target = self._target(path)
        signed = SignedBase.from_custom(target.unrecognized_fields.get("custom"))
        named = (signed.release, signed.sha256)
        if named != (ReleaseId(epoch=epoch, sequence=0), target.hashes.get("sha256")):
            raise GateError("the signed description contradicts its target", hint=_STAYS)
        return TrustedBase(
            signed=signed,
            file=self._file(path, target, signed.sha256),
            segments=tuple(map(self._segment, signed.near)),
            deltas=self._deltas(epoch, targets.signed),
            published_at=signed.published_at or targets.signed.expires - TARGETS_LIFETIME,
            signed_at=self.signed_at,
            expires_at=self.expires_at,
        )

    def _segment(self, named: NearTarget) -> TrustedSegment:
        """The segment that a base names, described by its own target: three statements that must agree."""
        target = self._target(named.path)
        signed = SignedSegment.from_custom(target.unrecognized_fields.get("custom"))
        offered = NearTarget(
            path=named.path, sha256=target.hashes.get("sha256", ""), size_bytes=int(target.length)
        )
        if not named == signed.target == offered:
            raise GateError("a near segment is not the one that the release names", hint=_STAYS)
        return TrustedSegment(signed=signed, file=self._file(named.path, target, named.sha256))

    def _deltas(self, epoch: int, targets: Targets) -> tuple[TrustedDelta, ...]:
        """The deltas of an epoch, without a gap from 1 on. Bases are never looked for here: a delta role that
        claims one is not listened to."""
        delegations = targets.delegations
        if delegations is None or DELTA_ROLE not in (delegations.roles or {}):
            return ()
        with named_errors(self._fetcher):
            # Whatever it finds: asking makes TUF fetch and verify the role's metadata.
            self._tuf.get_targetinfo(delta_path(ReleaseId(epoch=epoch, sequence=1)))
        sync_tree(self._metadata_dir)
        delta = Metadata[Targets].from_file(str(self._metadata_dir / f"{DELTA_ROLE}.json"))
        sequences = delta_sequences(delta.signed.targets, epoch)
        if sequences != list(range(1, len(sequences) + 1)):
            raise GateError("the repository leaves out a delta between two others", hint=_STAYS)
        if len(sequences) > MAX_DELTAS:
            raise GateError(
                f"{len(sequences)} deltas in one epoch, at most {MAX_DELTAS} are allowed", hint=_STAYS
            )
        return tuple(self._delta(ReleaseId(epoch=epoch, sequence=sequence)) for sequence in sequences)

    def _delta(self, release: ReleaseId) -> TrustedDelta:
        path = delta_path(release)
        target = self._target(path)
        signed = SignedDelta.from_custom(target.unrecognized_fields.get("custom"))
        digest = target.hashes.get("sha256", "")
        # The online key signed it, TUF takes any text for a digest, and this one becomes a file's name.
        if signed.release != release or not is_sha256(digest):
            raise GateError("the signed description of a delta contradicts its target", hint=_STAYS)
        return TrustedDelta(signed=signed, file=self._file(path, target, digest))

    def _target(self, path: str) -> TargetFile:
        with named_errors(None):
            target = self._tuf.get_targetinfo(path)
        # None would mean "nobody vouches for it", which is no way of saying "up to date".
        if target is None:
            raise SignatureError("no trusted role vouches for a part of the newest release", hint=_STAYS)
        return target

    def _file(self, path: str, target: TargetFile, sha256: str) -> TrustedFile:
        folder, _, name = path.rpartition("/")
        return TrustedFile(url=f"{self._url}/targets/{folder}/{sha256}.{name}", sha256=sha256, target=target)


def parse_root(root: bytes) -> Metadata[Root]:
    """Read a pinned root.

    Raises:
        ConfigurationError: the bytes are no TUF root.
    """
    try:
        metadata = Metadata[Root].from_bytes(root)
    except (RepositoryError, DeserializationError):
        metadata = None
    if metadata is None or not isinstance(metadata.signed, Root):
        raise ConfigurationError(
            "the pinned trust root is no TUF root",
            hint="III_FILTER_ROOT must name the root.json that the publisher of the filter gave out.",
        )
    return metadata


def _minimum_wait_s(timestamp: Timestamp) -> float:
    """How long the repository asks to be left alone; 0 when it does not say, or not in whole seconds."""
    value = timestamp.unrecognized_fields.get("minimum_wait_s", 0)
    # Bounded before it is a float, which has no room for a number of 400 digits.
    return float(min(value, MAX_WAIT_S)) if type(value) is int and value > 0 else 0.0
