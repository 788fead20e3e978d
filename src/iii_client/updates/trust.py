"""Trust: which base the repository's keys vouch for now. A thin shell over TUF's client.

One refresh is one `TrustedRepository`, made while the store's lock is held: TUF's constructor races with
itself between processes, and it refreshes once in its life. It always starts from the pinned root, never
from what happens to be cached. TUF checks signatures, thresholds, versions, expiry, lengths and hashes;
this file names what it refuses, and adds the signing time and the clock that is wrong.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Metadata, Root, TargetFile, Targets, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.ngclient import Updater as TufUpdater
from tuf.ngclient import UpdaterConfig

from iii_client.errors import (
    AuthenticationError,
    ConfigurationError,
    GateError,
    IIIError,
    LengthOrHashError,
    NoFilterError,
    RollbackError,
    ServiceError,
    SignatureError,
    StaleMetadataError,
    TrustError,
    WireFormatError,
)
from iii_client.filters import Clock
from iii_client.model import CLOCK_TOLERANCE_S
from iii_client.updates.durable import sync_tree
from iii_client.updates.fetcher import RepositoryFetcher
from iii_client.updates.signed_base import SignedBase, base_path, newest_base
from iii_client.updates.signed_near import NearTarget, SignedSegment

#: Lifetime of snapshot and timestamp: expiry minus this is the signing time, which ages the filter.
ONLINE_LIFETIME = timedelta(days=7)

#: Largest clock difference that is put down to bad luck.
CLOCK_TOLERANCE = timedelta(seconds=CLOCK_TOLERANCE_S)

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
class TrustedBase:
    """The base that the repository vouches for.

    Attributes:
        signed: what the offline key says about it.
        file: the bundle of its exact sections.
        segments: its near segments, in the order in which it names them.
        signed_at, expires_at: of the timestamp, which says that nothing newer exists.
    """

    signed: SignedBase
    file: TrustedFile
    segments: tuple[TrustedSegment, ...]
    signed_at: datetime
    expires_at: datetime


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
        ahead = self.signed_at - clock()
        if ahead > CLOCK_TOLERANCE:
            raise StaleMetadataError(
                f"the metadata was signed {_hours(ahead)} in the future: this machine's clock is behind",
                hint=f"Set this machine's clock (NTP), then update again. {_STAYS}",
            )

    def base(self) -> TrustedBase:
        """The newest base, with the near segments that it names.

        Raises:
            NoFilterError: nothing is published yet.
            SignatureError: nobody vouches for a part of it.
            GateError: its signed description is nonsense.
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
        if signed.release.epoch != epoch or target.hashes.get("sha256") != signed.sha256:
            raise GateError("the signed description contradicts its target", hint=_STAYS)
        return TrustedBase(
            signed=signed,
            file=self._file(path, target, signed.sha256),
            segments=tuple(map(self._segment, signed.near)),
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


@contextmanager
def named_errors(fetcher: RepositoryFetcher | None) -> Iterator[None]:
    """Every error of TUF under a name of ours, with what to do."""
    try:
        yield
    except (RepositoryError, DownloadError, DeserializationError) as error:
        raise _name(error, fetcher) from error


def _name(error: Exception, fetcher: RepositoryFetcher | None) -> IIIError:
    match error:
        case UnsignedMetadataError():
            return SignatureError(
                "the repository's metadata is not signed by the pinned root's keys",
                hint="Check that III_FILTER_ROOT and III_FILTER_URL belong together. If they do, somebody "
                f"tampers with the connection: tell the publisher. {_STAYS}",
            )
        case BadVersionNumberError():
            return RollbackError(
                "the repository offers older metadata than was already seen",
                hint=f"A mirror may lag, or somebody replays old files: tell the publisher. {_STAYS}",
            )
        case ExpiredMetadataError():
            return _stale(fetcher)
        case LengthOrHashMismatchError():
            return LengthOrHashError(
                "the bytes are not the signed bytes",
                hint=f"Somebody or something changes files on the way: tell the publisher. {_STAYS}",
            )
        case DownloadHTTPError(status_code=403):
            return AuthenticationError(
                "the repository refused access (403)",
                hint="Check III_FILTER_USERNAME and III_FILTER_PASSWORD, and whether access was revoked.",
            )
        case DownloadHTTPError():
            return ServiceError(
                "a file of the filter repository is missing (404)",
                hint="Check III_FILTER_URL: `metadata/timestamp.json` must lie under it.",
            )
        case DownloadError():
            return ServiceError(f"the download failed ({type(error).__name__})", hint=_STAYS)
        case _ if isinstance(error, DeserializationError) or isinstance(
            error.__cause__, DeserializationError
        ):
            return WireFormatError(
                "the answer is not TUF metadata",
                hint="Check III_FILTER_URL; a proxy or login page may answer in the repository's place.",
            )
        case _:
            return TrustError(
                f"the repository's metadata is inconsistent ({type(error).__name__})", hint=_STAYS
            )


def _stale(fetcher: RepositoryFetcher | None) -> StaleMetadataError:
    skew = timedelta(seconds=(fetcher.clock_skew_s if fetcher else None) or 0.0)
    if abs(skew) > CLOCK_TOLERANCE:
        where = "ahead of" if skew > timedelta(0) else "behind"
        return StaleMetadataError(
            f"the metadata is expired by this machine's clock, which is {_hours(abs(skew))} {where} the "
            "server's",
            hint=f"Set this machine's clock (NTP), then update again. {_STAYS}",
        )
    return StaleMetadataError(
        "the repository's metadata is expired",
        hint="The publisher does not re-sign, or somebody holds newer files back: tell the publisher. "
        f"{_STAYS}",
    )


def _hours(span: timedelta) -> str:
    return f"{span.total_seconds() / 3600:.1f} h"
