"""The installed filter: files under `<state>/filter/`, and the pointer that says which one is current.

    lock             held while anything here is changed
    metadata/        what TUF has seen (the rollback defence) and whose pinned root it hangs on
    downloads/       a file on its way, resumable
    releases/        <epoch>.<sequence>-<sha256, 16 digits>.bundle: exact sections, never rewritten; and
                     .json beside it: the pointer as it was when that release was installed
    near/            <convention>-<n>-<sha256, 16 digits>.near: near segments, shared by releases
    current          the pointer, JSON, replaced atomically

A near segment is immutable and larger than the rest, so it is kept by its digest, fetched once, and removed
when no release on disk has it. Directories are 0700 and files 0600: whoever holds the filter can test any
picture against it. Readers never lock. They look at the pointer, which costs a `stat`, and map other files
when it has changed; at every moment, also after a crash, `current` names complete files that were verified.
"""

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
from iii_client.model import NearInfo, Release, ReleaseId
from iii_client.updates.durable import exclusive_lock, install_durably, replace_durably
from iii_client.updates.fields import moment, number, rows, rows_if_any, sha256, text
from iii_client.updates.signed_base import (
    MAX_CANARIES,
    MAX_SECTIONS,
    canary_from_json,
    canary_to_json,
    section_from_json,
    section_to_json,
)
from iii_client.updates.signed_coverage import (
    coverage_from,
    coverage_to_json,
    mapping_to_json,
    mappings_from,
)
from iii_client.updates.signed_near import (
    MAX_NEAR_SEGMENTS,
    near_from_json,
    near_to_json,
    withdrawn_from,
    withdrawn_to_json,
)

#: Another process's update may take its whole deadline.
LOCK_TIMEOUT_S = 660.0

#: Previous releases that stay on disk, for readers that still map them by name and for a rollback.
KEPT_RELEASES = 2

#: 8,192 withdrawn hashes take 0.6 MB of it, coverage and mappings at most as much.
MAX_POINTER_BYTES = 2 << 20
POINTER_VERSION = 1

_UPDATE_HINT = "Run: iii-client filter update"
_READ_BYTES = 1 << 20

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What the pointer says: the release and the name of its file."""

    release: Release
    file_name: str


class FilterStore:
    """The filter's files of one state directory. Nothing is created before something is written."""

    def __init__(self, state_dir: Path) -> None:
        self._dir = state_dir / "filter"

    @property
    def metadata_dir(self) -> Path:
        """Where TUF keeps what it has seen."""
        return self._dir / "metadata"

    @property
    def downloads_dir(self) -> Path:
        """Where a file grows until it is verified; on the same file system as the releases."""
        return self._dir / "downloads"

    @contextmanager
    def lock(self, *, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
        """Hold while changing anything, one process at a time; makes the directories.

        Raises:
            FilterError: another process did not let go in time.
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
            yield

    def installed(self) -> Release:
        """The current release, as the pointer says; does not open it.

        Raises:
            NoFilterError: none is installed.
            FilterFormatError: the pointer is damaged.
        """
        return self._pointer().release

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
        """Check the installed bytes against the signed digests; reads all files.

        Raises:
            NoFilterError: none is installed, or a file is missing.
            LengthOrHashError: the bytes are not the signed ones.
        """
        pointer = self._pointer()
        release = pointer.release
        files = [(self._releases / pointer.file_name, release.size_bytes, release.sha256)]
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

    def install(self, temporary: Path, release: Release) -> None:
        """Make a verified bundle, and the near segments that lie here, the current release. Call under the
        lock.

        Raises:
            OSError: it could not be written; the release in use stays.
        """
        name = _file_name(release)
        temporary.chmod(0o600)
        install_durably(temporary, self._releases / name)
        replace_durably(self._described(name), _pointer_to_bytes(release))
        replace_durably(self._current, _pointer_to_bytes(release))
        self._prune(keep=name)

    def confirm(self, release: Release) -> None:
        """Note newer signing times of the release that is installed already. Call under the lock."""
        replace_durably(self._current, _pointer_to_bytes(release))

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
            return _parse_pointer(content)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise FilterFormatError(
                f"the pointer to the installed filter is damaged ({type(error).__name__})", hint=_UPDATE_HINT
            ) from None

    def _prune(self, *, keep: str) -> None:
        """Remove all but the newest releases, and near segments that none of them has.

        A reader that maps a removed file keeps its bytes.
        """
        bundles = [path for path in self._releases.glob("*.bundle") if path.name != keep]
        bundles.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for path in bundles[KEPT_RELEASES:]:
            path.unlink(missing_ok=True)
            self._described(path.name).unlink(missing_ok=True)
        needed = {
            self.near_file(segment)
            for name in (keep, *(path.name for path in bundles[:KEPT_RELEASES]))
            for segment in self._near_of(name)
        }
        for path in self._near.iterdir():
            if path not in needed:
                path.unlink(missing_ok=True)

    def _near_of(self, name: str) -> tuple[NearInfo, ...]:
        """The near segments of a release on disk; none when its description is lost: then it is not whole."""
        try:
            return _parse_pointer(self._described(name).read_bytes()).release.near
        except (OSError, KeyError, TypeError, ValueError, RecursionError):
            return ()

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


class LiveFilter:
    """Always the current release (a `protocols.FilterSource`): remaps by itself after an update.

    Asking costs a `stat`. Thread-safe; one is enough for a process, and it survives a fork. When a new
    pointer or file turns out to be damaged, the release in use stays in use and the fault is logged: it
    still finds everything that it lists, and its age is seen.

    Args:
        store: where releases are installed.
        orientations: views that each picture is asked as in the near segments.
        clock: tells how old a release is.
    """

    def __init__(
        self,
        store: FilterStore,
        *,
        orientations: tuple[Orientation, ...] = DEFAULT_ORIENTATIONS,
        clock: Clock = utc_now,
    ) -> None:
        self._store = store
        self._orientations = orientations
        self._clock = clock
        self._state: tuple[tuple[int, int, int], FilterSnapshot] | None = None

    def current(self) -> FilterSnapshot:
        """The newest installed release.

        Raises:
            NoFilterError: none is installed.
            FilterFormatError: it is damaged and there is none before it.
        """
        # Without a lock: one held by another thread during a fork would stay locked in the child. Threads
        # that race here open one snapshot too many, which is dropped; whatever stamp stays is the true one
        # or differs from the next, which opens again.
        state = self._state
        stamp = self._store.stamp()
        if state is not None and state[0] == stamp:
            return state[1]
        try:
            # The stamp is older than what is read: a change in between is seen at the next call.
            snapshot = self._store.snapshot(self._clock, orientations=self._orientations)
        except (NoFilterError, FilterFormatError) as error:
            if state is None:
                raise
            logger.warning(
                "the installed filter cannot be opened, release %s stays in use: %s", state[1].release, error
            )
            snapshot = state[1]
        self._state = (stamp, snapshot)
        return snapshot


def _pointer_to_bytes(release: Release) -> bytes:
    pointer = {
        "version": POINTER_VERSION,
        "release": str(release.id),
        "file": _file_name(release),
        "sha256": release.sha256,
        "size_bytes": release.size_bytes,
        "signed_at": release.signed_at.isoformat(),
        "expires_at": release.expires_at.isoformat(),
        "sections": [section_to_json(section) for section in release.sections],
    }
    if release.near:
        pointer["near"] = [near_to_json(segment) for segment in release.near]
    if release.withdrawn:
        pointer["withdrawn"] = withdrawn_to_json(release.withdrawn)
    if release.canaries:
        pointer["canaries"] = [canary_to_json(canary) for canary in release.canaries]
    if release.coverage:
        pointer["coverage"] = [coverage_to_json(row) for row in release.coverage]
    if release.mappings:
        pointer["mappings"] = [mapping_to_json(mapping) for mapping in release.mappings]
    return json.dumps(pointer, indent=1).encode()


def _parse_pointer(content: bytes) -> Installed:
    if len(content) > MAX_POINTER_BYTES:
        raise ValueError("too long")
    tree = json.loads(content)
    if number(tree, "version", 1) != POINTER_VERSION:
        raise ValueError("another version")
    release = Release(
        id=ReleaseId.parse(text(tree, "release")),
        sections=tuple(section_from_json(row) for row in rows(tree, "sections", MAX_SECTIONS)),
        size_bytes=number(tree, "size_bytes", 1),
        sha256=sha256(tree, "sha256"),
        signed_at=moment(tree, "signed_at"),
        expires_at=moment(tree, "expires_at"),
        near=tuple(near_from_json(row) for row in rows_if_any(tree, "near", MAX_NEAR_SEGMENTS)),
        withdrawn=withdrawn_from(tree, "withdrawn"),
        # An older library wrote none: its filter is not probed until the next update adds them.
        canaries=tuple(canary_from_json(row) for row in rows_if_any(tree, "canaries", MAX_CANARIES)),
        coverage=coverage_from(tree, "coverage"),
        mappings=mappings_from(tree, "mappings"),
    )
    if text(tree, "file") != _file_name(release):
        raise ValueError("the name of another file")
    return Installed(release=release, file_name=_file_name(release))


def _file_name(release: Release) -> str:
    return f"{release.id}-{release.sha256[:16]}.bundle"


def _has_digest(path: Path, size_bytes: int, digest: str) -> bool:
    """Whether a file is exactly this long and has this SHA-256; reads at most a piece too much."""
    hasher = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while size <= size_bytes and (chunk := file.read(_READ_BYTES)):
            size += len(chunk)
            hasher.update(chunk)
    return size == size_bytes and hasher.hexdigest() == digest
