"""The installed filter: files under `<state>/filter/`, and the pointer that says which one is current.

    lock             held while anything here is changed
    metadata/        what TUF has seen (the rollback defence) and whose pinned root it hangs on
    downloads/       a file on its way, resumable
    releases/        <epoch>.<sequence>-<sha256, 16 digits>.bundle: exact sections, never rewritten; and
                     .json beside it: the pointer as it was when that release was installed; .proof: what
                     was signed about it
    near/            <convention>-<n>-<sha256, 16 digits>.near: near segments, shared by releases
    current          the pointer, JSON, replaced atomically

A near segment is immutable and larger than the rest, so it is kept by its digest, fetched once, and removed
when no release on disk has it. Directories are 0700 and files 0600: whoever holds the filter can test any
picture against it. Readers never lock. They look at the pointer, which costs a `stat`, and map other files
when it has changed; at every moment, also after a crash, `current` names complete files that were verified.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from iii_client.errors import FilterFormatError, LengthOrHashError, NoFilterError
from iii_client.filters import (
    DEFAULT_ORIENTATIONS,
    Clock,
    FilterSnapshot,
    Orientation,
    open_snapshot,
    utc_now,
)
from iii_client.model import NO_RELEASE, NearInfo, Release, ReleaseId
from iii_client.updates.durable import exclusive_lock, install_durably, replace_durably
from iii_client.updates.growth import Growth
from iii_client.updates.holding import Holds
from iii_client.updates.pointer import (
    MAX_POINTER_BYTES,
    Installed,
    file_name,
    parse_pointer,
    pointer_to_bytes,
)

#: Another process's update may take its whole deadline.
LOCK_TIMEOUT_S = 660.0

#: Epochs before the current one whose newest release stays on disk for a rollback; and the release before the
#: current one stays, whatever its epoch.
KEPT_EPOCHS = 2

#: The steps of an installation, in their order. A crash at any of them leaves a complete release in use.
CRASH_POINTS = (
    "locked",
    "metadata refreshed",
    "segment judged",
    "segment installed",
    "base downloaded",
    "deltas downloaded",
    "deltas applied",
    "bundle judged",
    "bundle installed",
    "bundle described",
    "pointer replaced",
    "older releases removed",
)

#: Told the name of each step when it is done.
Reached = Callable[[str], None]

_UPDATE_HINT = "Run: iii-client filter update"
_READ_BYTES = 1 << 20

logger = logging.getLogger(__name__)


class FilterStore:
    """The filter's files of one state directory. Nothing is created before something is written.

    Args:
        state_dir: the state directory; the filter lies in `filter/` below it.
        reached: told each of `CRASH_POINTS`; tests kill the process there.
    """

    def __init__(self, state_dir: Path, *, reached: Reached = lambda _: None) -> None:
        self._dir = state_dir / "filter"
        self.reached = reached
        self.holds = Holds(self._dir)

    @property
    def metadata_dir(self) -> Path:
        """Where TUF keeps what it has seen."""
        return self._dir / "metadata"

    @property
    def downloads_dir(self) -> Path:
        """Where a file grows until it is verified; on the same file system as the releases."""
        return self._dir / "downloads"

    @property
    def schedule_path(self) -> Path:
        """Where all processes of the host keep when to update next."""
        return self._dir / "schedule"

    @contextmanager
    def lock(self, *, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
        """Hold while changing anything, one process at a time; makes the directories.

        Raises:
            UpdateRunningError: another process did not let go in time.
            OSError: the directories cannot be written.
        """
        for directory in (
            self._dir.parent,
            self._dir,
            self.metadata_dir,
            self.downloads_dir,
            self._releases,
            self._near,
        ):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with exclusive_lock(self._dir / "lock", timeout_s=timeout_s):
            self._sweep()
            self.reached("locked")
            yield

    def installed(self) -> Release:
        """The current release, as the pointer says; does not open it.

        Raises:
            NoFilterError: none is installed.
            FilterFormatError: the pointer is damaged.
        """
        return self._pointer().release

    def growth(self) -> tuple[Growth, ...]:
        """What deltas added lately, as the pointer says.

        Raises:
            NoFilterError, FilterFormatError: as `installed`.
        """
        return self._pointer().growth

    def checked_at(self) -> datetime | None:
        """When an update last found that the current release is the newest; None when that is not known.

        Raises:
            NoFilterError, FilterFormatError: as `installed`.
        """
        return self._pointer().checked_at

    def snapshot(
        self, clock: Clock = utc_now, *, orientations: tuple[Orientation, ...] = DEFAULT_ORIENTATIONS
    ) -> FilterSnapshot:
        """Map the current release.

        Args:
            clock: tells how old it is.
            orientations: views that each picture is asked as in the near segments.

        Raises:
            NoFilterError: none is installed.
            FilterFormatError: the pointer or a file is damaged.
        """
        # A file may be superseded and removed between reading the pointer and opening it.
        for attempt in (1, 2, 3):
            pointer = self._pointer()
            release = pointer.release
            try:
                return open_snapshot(
                    self._releases / pointer.file_name,
                    release=release,
                    near=[self.near_file(segment) for segment in release.near],
                    orientations=orientations,
                    clock=clock,
                )
            except FileNotFoundError:
                logger.debug("a file of the current release is gone, attempt %d", attempt)
            except OSError as error:
                raise NoFilterError(
                    f"the installed filter cannot be read: {error.strerror}",
                    hint="Check the permissions and the disk of III_STATE_DIR.",
                ) from error
        raise NoFilterError("a file of the installed filter is missing", hint=_UPDATE_HINT)

    def verify(self) -> Release:
        """Check the installed bytes against the digests of the pointer; reads all files. That the pointer
        says what was signed is for `proof.check_proof`.

        Raises:
            NoFilterError: none is installed, or a file is missing.
            LengthOrHashError: the bytes are not the signed ones.
        """
        return self._verified(self._pointer().release)

    def near_file(self, segment: NearInfo) -> Path:
        """Where a near segment lies, or will lie."""
        return self._near / f"{segment.algorithm}-{segment.number}-{segment.sha256[:16]}.near"

    def has_near(self, segment: NearInfo) -> bool:
        """Whether a near segment lies here, byte for byte; reads all of it."""
        try:
            return _has_digest(self.near_file(segment), segment.size_bytes, segment.sha256)
        except OSError:
            return False

    def install_near(self, temporary: Path, segment: NearInfo) -> None:
        """Put a verified near segment where releases find it. Call under the lock.

        Raises:
            OSError: it could not be written.
        """
        temporary.chmod(0o600)
        install_durably(temporary, self.near_file(segment))
        self.reached("segment installed")

    def install(
        self,
        temporary: Path,
        release: Release,
        *,
        growth: Iterable[Growth] = (),
        checked_at: datetime | None = None,
        proof: bytes = b"",
    ) -> None:
        """Make a verified bundle, and the near segments that lie here, the current release. Call under the
        lock.

        Args:
            temporary: the bundle; it is moved.
            release: what it is.
            growth: what deltas added within the last day.
            checked_at: the present time.
            proof: what was signed about it, see `proof.py`.

        Raises:
            OSError: it could not be written; the release in use stays.
        """
        name, pointer = file_name(release), pointer_to_bytes(release, growth, checked_at=checked_at)
        before = self._current_name()
        temporary.chmod(0o600)
        install_durably(temporary, self._releases / name)
        self.reached("bundle installed")
        replace_durably(self._described(name), pointer)
        if proof:
            replace_durably(self.proof_file(release), proof)
        self.reached("bundle described")
        replace_durably(self._current, pointer)
        self.reached("pointer replaced")
        self._prune(current=name, before=before)
        self.reached("older releases removed")

    def confirm(self, release: Release, *, checked_at: datetime, proof: bytes = b"") -> None:
        """Note newer signing times of the release that is installed already. Call under the lock."""
        file = self.proof_file(release)
        # Rarely another one: a role is signed for a new term, or its key was replaced.
        if proof and not (file.exists() and file.read_bytes() == proof):
            replace_durably(file, proof)
        replace_durably(self._current, pointer_to_bytes(release, self.growth(), checked_at=checked_at))

    def bundle_file(self, release: Release) -> Path:
        """Where the bundle of a release lies, or would lie. Never write to it: readers have it mapped."""
        return self._releases / file_name(release)

    def proof_file(self, release: Release) -> Path:
        """Where the proof of a release lies, or would lie."""
        return self.bundle_file(release).with_suffix(".proof")

    def has_bundle(self, release: Release) -> bool:
        """Whether the bundle of a release lies here, byte for byte; reads all of it."""
        try:
            return _has_digest(self.bundle_file(release), release.size_bytes, release.sha256)
        except OSError:
            return False

    def older(self) -> list[Release]:
        """The releases on disk that can be rolled back to: before the current one, newest first.

        Raises:
            NoFilterError, FilterFormatError: as `installed`.
        """
        current = self.installed().id
        found = [release for path in self._bundles() if (release := self._described_release(path.name))]
        return sorted((r for r in found if r.id < current), key=lambda r: r.id, reverse=True)

    def roll_back(self, release: Release) -> None:
        """Make an older release of `older` the current one, after reading all of it. Call under the lock.

        Raises:
            NoFilterError: a file of it is missing.
            LengthOrHashError: its bytes are not the signed ones; the release in use stays.
            OSError: the pointer could not be written.
        """
        self._verified(release)
        replace_durably(self._current, pointer_to_bytes(release))
        self.reached("pointer replaced")

    def stamp(self) -> tuple[int, int, int]:
        """Changes whenever the pointer does; costs one `stat`. Zeros when there is no pointer."""
        try:
            status = self._current.stat()
        except OSError:
            return (0, 0, 0)
        return (status.st_ino, status.st_mtime_ns, status.st_size)

    def _pointer(self) -> Installed:
        try:
            with self._current.open("rb") as file:
                content = file.read(MAX_POINTER_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError):
            raise NoFilterError("no filter is installed", hint=_UPDATE_HINT) from None
        except OSError as error:
            raise NoFilterError(
                f"the installed filter cannot be read: {error.strerror}",
                hint="Check the permissions and the disk of III_STATE_DIR.",
            ) from error
        try:
            return parse_pointer(content)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise FilterFormatError(
                f"the pointer to the installed filter is damaged ({type(error).__name__})", hint=_UPDATE_HINT
            ) from None

    def _verified(self, release: Release) -> Release:
        files = [(self._releases / file_name(release), release.size_bytes, release.sha256)]
        files += [(self.near_file(segment), segment.size_bytes, segment.sha256) for segment in release.near]
        for path, size_bytes, digest in files:
            try:
                is_signed = _has_digest(path, size_bytes, digest)
            except OSError as error:
                raise NoFilterError(
                    f"the installed filter cannot be read: {error.strerror}", hint=_UPDATE_HINT
                ) from error
            if not is_signed:
                raise LengthOrHashError("the installed filter is not the signed one", hint=_UPDATE_HINT)
        return release

    def _prune(self, *, current: str, before: str | None) -> None:
        """Remove releases that nobody rolls back to, and near segments that none of the others has.

        A reader that maps a removed file keeps its bytes.
        """
        newest: dict[int, str] = {}
        epoch = _release_of(current).epoch
        for path in sorted(self._bundles(), key=lambda path: _release_of(path.name)):
            if _release_of(path.name).epoch < epoch:
                newest[_release_of(path.name).epoch] = path.name
        kept = {current, before, *(newest[e] for e in sorted(newest, reverse=True)[:KEPT_EPOCHS])}
        for path in self._bundles():
            if path.name not in kept:
                path.unlink(missing_ok=True)
                self._described(path.name).unlink(missing_ok=True)
                path.with_suffix(".proof").unlink(missing_ok=True)
        left = [self._described_release(path.name) for path in self._bundles()]
        needed = {self.near_file(segment) for release in left if release for segment in release.near}
        for path in self._near.iterdir():
            if path not in needed:
                path.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove what a killed process left half written; nothing else ever has such a name."""
        for directory in (self._dir, self._releases, self._near):
            for path in directory.glob(".*.new"):
                path.unlink(missing_ok=True)

    def _bundles(self) -> list[Path]:
        return list(self._releases.glob("*.bundle"))

    def _current_name(self) -> str | None:
        try:
            return self._pointer().file_name
        except (NoFilterError, FilterFormatError):
            return None

    def _described_release(self, name: str) -> Release | None:
        """A release on disk as it was described; None when its description is lost: then it is not whole."""
        try:
            described = parse_pointer(self._described(name).read_bytes())
        except (OSError, KeyError, TypeError, ValueError, RecursionError):
            return None
        return described.release if described.file_name == name else None

    def _described(self, name: str) -> Path:
        return (self._releases / name).with_suffix(".json")

    @property
    def _releases(self) -> Path:
        return self._dir / "releases"

    @property
    def _near(self) -> Path:
        return self._dir / "near"

    @property
    def _current(self) -> Path:
        return self._dir / "current"


def _release_of(name: str) -> ReleaseId:
    """Which release a bundle is, by its name; the oldest when the name is none of ours."""
    try:
        return ReleaseId.parse(name.partition("-")[0])
    except ValueError:
        return NO_RELEASE


def _has_digest(path: Path, size_bytes: int, digest: str) -> bool:
    """Whether a file is exactly this long and has this SHA-256; reads at most a piece too much."""
    hasher = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while size <= size_bytes and (chunk := file.read(_READ_BYTES)):
            size += len(chunk)
            hasher.update(chunk)
    return size == size_bytes and hasher.hexdigest() == digest
