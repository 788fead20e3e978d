"""A private mirror: one host fetches, many read. A verified copy of the repository, as static files.

    DIRECTORY/public/    metadata/ and targets/, for any web server: what III_FILTER_URL of the others names
    DIRECTORY/private/   what TUF has seen, downloads on their way, the lock: not to be served

The mirror is trusted by nobody: each host verifies all signatures from its own pinned root and applies its
own gates, as if it had asked the publisher. It can only be late, which shows as a stale filter. Files are
complete before metadata names them, and the timestamp comes last: a host sees the old state or the new one.
"""

import json
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from iii_client.config import FilterConfig
from iii_client.errors import ConfigurationError, LengthOrHashError
from iii_client.filters import Clock, utc_now
from iii_client.model import ReleaseId
from iii_client.updates.downloads import Downloads, Progress
from iii_client.updates.durable import exclusive_lock, install_durably, named_disk_errors, replace_durably
from iii_client.updates.fetcher import DEADLINE_S, RepositoryFetcher
from iii_client.updates.fields import number
from iii_client.updates.gates import check_sizes
from iii_client.updates.installing import release_of
from iii_client.updates.pinning import bind_pinned_root, check_pinned_root
from iii_client.updates.trust import DELTA_ROLE, TrustedBase, TrustedFile, TrustedRepository

LOCK_TIMEOUT_S = 660.0

#: Superseded versions of metadata stay for hosts in the middle of a refresh: two days of hourly ones.
KEPT_VERSIONS = 48

#: Readable for a web server's group; the filter is to be treated as the list is.
_FILE_MODE = 0o640
_DIRECTORY_MODE = 0o750

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorReport:
    """What mirroring did.

    Attributes:
        release: the newest one that the mirror has.
        files_fetched: files of targets that were new.
        bytes_fetched: of all answers, metadata included.
    """

    release: ReleaseId
    files_fetched: int
    bytes_fetched: int


def mirror(
    config: FilterConfig,
    root: bytes,
    directory: Path,
    *,
    clock: Clock = utc_now,
    deadline_s: float = DEADLINE_S,
    progress: Progress = lambda _done, _total: None,
) -> MirrorReport:
    """Bring a mirror up to date.

    Args:
        config: where the repository is, credentials.
        root: bytes of the pinned root; the mirror serves it and the later ones.
        directory: the mirror.
        clock: the present time.
        deadline_s: for all of it, in seconds; what came by then is kept.
        progress: told of every piece that is downloaded: bytes of the file here, and its size.

    Raises:
        ConfigurationError: the pinned root is none, or the directory mirrors another repository.
        TrustError, StaleMetadataError, TransportError, ServiceError: as `Updater.update`.
        FilterError: another process mirrors into it, or the disk refused.
    """
    public, private = directory / "public", directory / "private"
    with named_disk_errors("the mirror", "the mirror's directory"):
        private.mkdir(mode=0o700, parents=True, exist_ok=True)
        with exclusive_lock(private / "lock", timeout_s=LOCK_TIMEOUT_S):
            return _mirror(
                config, root, public, private, clock=clock, deadline_s=deadline_s, progress=progress
            )


def _mirror(
    config: FilterConfig,
    root: bytes,
    public: Path,
    private: Path,
    *,
    clock: Clock,
    deadline_s: float,
    progress: Progress,
) -> MirrorReport:
    seen, downloads_dir = private / "metadata", private / "downloads"
    for folder in (seen, downloads_dir):
        folder.mkdir(mode=0o700, exist_ok=True)
    if not config.url:
        raise ConfigurationError(
            "no filter repository is set",
            hint="Set III_FILTER_URL to the publisher's address; only the other hosts name the mirror.",
        )
    check_pinned_root(seen, root)
    fetcher = RepositoryFetcher(config, clock=clock, deadline_s=deadline_s)
    repository = TrustedRepository(config.url, root=root, metadata_dir=seen, fetcher=fetcher, clock=clock)
    bind_pinned_root(seen, root)
    base = repository.base()
    if not config.near:
        # Hosts that read this mirror must not ask for them either.
        base = replace(base, segments=())
    release = release_of(base, len(base.deltas))
    check_sizes(release, deltas=base.delta_sizes)
    downloads = Downloads(downloads_dir, fetcher, progress=progress)
    files = list(_files_of(base))
    downloads.forget_all_but(files)
    fetched = 0
    for file in files:
        place = public / "targets" / file.url.removeprefix(f"{config.url}/targets/")
        if not _is_here(file, place):
            part = downloads.fetch(file)
            _make_folder(place.parent)
            part.chmod(_FILE_MODE)
            install_durably(part, place)
            fetched += 1
    _publish_metadata(seen, public / "metadata")
    _forget_others(public / "targets", {file.url.removeprefix(f"{config.url}/targets/") for file in files})
    logger.info("mirrored release %s, %d new files", release.id, fetched)
    return MirrorReport(release=release.id, files_fetched=fetched, bytes_fetched=fetcher.bytes_fetched)


def _is_here(file: TrustedFile, place: Path) -> bool:
    """Whether a file is served as signed. Reads all of it: nobody else would see that the disk damaged it."""
    try:
        with place.open("rb") as content:
            file.verify(content)
    except FileNotFoundError:
        return False
    except LengthOrHashError:
        logger.warning("a file of the mirror is damaged and fetched anew")
        return False
    return True


def _files_of(base: TrustedBase) -> Iterator[TrustedFile]:
    yield base.file
    yield from (segment.file for segment in base.segments)
    yield from (delta.file for delta in base.deltas)


def _publish_metadata(seen: Path, metadata: Path) -> None:
    """Roots, targets, deltas, snapshot, and the timestamp last: until then no host sees any of it."""
    _make_folder(metadata)
    newest: dict[str, int] = {}
    history = sorted((seen / "root_history").glob("*.root.json"))
    others = [
        path for role in ("targets", DELTA_ROLE, "snapshot") if (path := seen / f"{role}.json").exists()
    ]
    for path, role in (*((path, "root") for path in history), *((path, path.stem) for path in others)):
        content = path.read_bytes()
        # TUF has just verified it; only the version is read here.
        version = number(json.loads(content)["signed"], "version", 1)
        place = metadata / f"{version}.{role}.json"
        # By content: keys that were replaced may have signed another one under the same number.
        if not (place.exists() and place.read_bytes() == content):
            replace_durably(place, content, mode=_FILE_MODE)
        newest[role] = version
    replace_durably(metadata / "timestamp.json", (seen / "timestamp.json").read_bytes(), mode=_FILE_MODE)
    for path in metadata.glob("*.*.json"):
        text, role, _ = path.name.split(".", 2)
        # Every root stays: a host walks the whole chain from the one that it pins.
        kept = range(newest.get(role, 0) - KEPT_VERSIONS + 1, newest.get(role, 0) + 1)
        if role in newest and role != "root" and text.isdecimal() and int(text) not in kept:
            path.unlink(missing_ok=True)


def _forget_others(targets: Path, wanted: Iterable[str]) -> None:
    """Remove what the newest release does not name; a host in the middle of a download tries again."""
    kept = {targets / name for name in wanted}
    for folder, _, names in os.walk(targets):
        for name in names:
            path = Path(folder) / name
            if path not in kept:
                path.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    """With the mode on each new level: `parents` would make the upper ones as the umask likes."""
    if not folder.exists():
        _make_folder(folder.parent)
        folder.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)
