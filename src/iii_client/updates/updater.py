"""Update: bring the installed filter up to date, or keep it and say why not.

    lock → pinned root → TUF refresh → newest base → near segments that are not here → its bundle → install

Every file is downloaded, verified, and judged by gates that trust no signature (`gates.py`), before it is
moved to where it is used. Whatever fails, the filter in use stays in use.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from iii_client.config import FilterConfig
from iii_client.errors import (
    ConfigurationError,
    FilterError,
    FilterFormatError,
    GateError,
    LengthOrHashError,
    NoFilterError,
)
from iii_client.filters import Clock, utc_now
from iii_client.model import NO_RELEASE, Release, ReleaseId
from iii_client.updates.fetcher import DEADLINE_S, RepositoryFetcher
from iii_client.updates.gates import check_bundle, check_order, check_segment, check_sizes, check_together
from iii_client.updates.pinning import bind_pinned_root, check_pinned_root
from iii_client.updates.store import FilterStore
from iii_client.updates.trust import MAX_ROOT_BYTES, TrustedBase, TrustedFile, TrustedRepository, named_errors

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateReport:
    """What an update did.

    Attributes:
        release: installed now.
        previous: installed before, `NO_RELEASE` when there was none.
        changed: whether other bytes are installed than before.
        bytes_fetched: of all answers, metadata included.
        clock_skew_s: this machine's clock minus the server's, by its `Date`; None when it sent none.
    """

    release: ReleaseId
    previous: ReleaseId
    changed: bool
    bytes_fetched: int
    clock_skew_s: float | None = None


class Updater:
    """Updates the filter of one state directory. Any number of processes may call it; one works at a time.

    Args:
        config: where the repository is, its pinned root, credentials, least epoch.
        state_dir: the state directory; the filter lies in `filter/` below it.
        clock: the present time.
        deadline_s: for one whole update, in seconds.
    """

    def __init__(
        self,
        config: FilterConfig,
        state_dir: Path,
        *,
        clock: Clock = utc_now,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._config = config
        self._clock = clock
        self._deadline_s = deadline_s
        self.store = FilterStore(state_dir)

    def update(self) -> UpdateReport:
        """Install the newest base that the repository's keys vouch for.

        Raises:
            ConfigurationError: address or pinned root is missing or wrong.
            TrustError: something is not what was signed, or implausible although signed.
            StaleMetadataError: the metadata is expired, or a clock is wrong.
            TransportError, ServiceError: the repository could not be reached, or refused.
            FilterError: another update is running, nothing is published, or the disk refused.
        """
        if not self._config.url:
            raise ConfigurationError(
                "no filter repository is set",
                hint="Set III_FILTER_URL to the address that the publisher of the filter gave you.",
            )
        root = _read_root(self._config.root)
        try:
            with self.store.lock():
                return self._update(root)
        except OSError as error:
            raise FilterError(
                f"the filter cannot be stored: {error.strerror or type(error).__name__}",
                hint="Check the permissions and the free space of III_STATE_DIR. The filter in use stays.",
            ) from error

    def _update(self, root: bytes) -> UpdateReport:
        check_pinned_root(self.store.metadata_dir, root)
        fetcher = RepositoryFetcher(self._config, clock=self._clock, deadline_s=self._deadline_s)
        repository = TrustedRepository(
            self._config.url,
            root=root,
            metadata_dir=self.store.metadata_dir,
            fetcher=fetcher,
            clock=self._clock,
        )
        # Only now: a wrong root that was never answered for must not bind the directory.
        bind_pinned_root(self.store.metadata_dir, root)
        base = repository.base()
        installed = self._installed()
        release = _as_release(base)
        check_order(release, installed, min_epoch=self._config.min_epoch)
        check_sizes(release)
        changed = installed is None or installed.id != release.id or not self._is_intact()
        if changed:
            self._forget_downloads(base)
            self._fetch_segments(base, fetcher)
            file = self._download(base.file, fetcher)
            with _removed_if_refused(file):
                check_bundle(file, base.signed)
                check_together([self.store.near_file(segment) for segment in release.near])
            self.store.install(file, release)
            logger.info("installed filter release %s", release.id)
        else:
            self.store.confirm(release)
        return UpdateReport(
            release=release.id,
            previous=installed.id if installed else NO_RELEASE,
            changed=changed,
            bytes_fetched=fetcher.bytes_fetched,
            clock_skew_s=fetcher.clock_skew_s,
        )

    def _installed(self) -> Release | None:
        try:
            return self.store.installed()
        except NoFilterError:
            return None
        except FilterFormatError as error:
            logger.warning("%s; it is installed anew", error)
            return None

    def _is_intact(self) -> bool:
        try:
            self.store.verify()
        except (NoFilterError, LengthOrHashError) as error:
            logger.warning("%s; it is downloaded anew", error)
            return False
        return True

    def _fetch_segments(self, base: TrustedBase, fetcher: RepositoryFetcher) -> None:
        """Bring the near segments that are not here. Each is immutable: it is fetched and judged once, and
        stays where it is if the rest of this update fails."""
        for segment in base.segments:
            info = segment.signed.info
            if info.practice:
                logger.warning("%s is a practice segment of %d hashes, for tests only", info.name, info.count)
            if self.store.has_near(info):
                continue
            file = self._download(segment.file, fetcher)
            with _removed_if_refused(file):
                check_segment(file, segment.signed)
            self.store.install_near(file, info)
            logger.info("installed near segment %s, %d bytes", info.name, info.size_bytes)

    def _forget_downloads(self, base: TrustedBase) -> None:
        """Remove what interrupted downloads of other releases left."""
        wanted = {self._part(file) for file in (base.file, *(segment.file for segment in base.segments))}
        for path in self.store.downloads_dir.iterdir():
            if path not in wanted:
                path.unlink(missing_ok=True)

    def _part(self, file: TrustedFile) -> Path:
        return self.store.downloads_dir / f"{file.sha256}.part"

    def _download(self, file: TrustedFile, fetcher: RepositoryFetcher) -> Path:
        """The verified file. What an interrupted download of the same file left is not asked again."""
        part = self._part(file)
        kept = part.stat().st_size if part.exists() else 0
        while True:
            try:
                _fetch(file, fetcher, part, offset=kept if kept <= file.size_bytes else 0)
            except LengthOrHashError:
                part.unlink(missing_ok=True)
                if not kept:
                    raise
                # What was kept may have been wrong: only a whole download can accuse anybody.
                kept = 0
            else:
                return part


def _fetch(trusted: TrustedFile, fetcher: RepositoryFetcher, part: Path, *, offset: int) -> None:
    """Complete `part` from `offset` on, and verify all of it."""
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        if offset < trusted.size_bytes:
            with (
                named_errors(fetcher),
                fetcher.open(trusted.url, max_bytes=trusted.size_bytes, offset=offset) as (start, chunks),
            ):
                file.seek(start)
                file.truncate()
                for chunk in chunks:
                    file.write(chunk)
        trusted.verify(file)


@contextmanager
def _removed_if_refused(file: Path) -> Iterator[None]:
    try:
        yield
    except GateError:
        file.unlink(missing_ok=True)
        raise


def _read_root(path: str) -> bytes:
    if not path:
        raise ConfigurationError(
            "no trust root is pinned",
            hint="Set III_FILTER_ROOT to the root.json that the publisher of the filter gave you, on another "
            "way than the filter itself.",
        )
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_ROOT_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            f"the pinned trust root cannot be read: {error.strerror}", hint="Check III_FILTER_ROOT."
        ) from None
    if len(content) > MAX_ROOT_BYTES:
        raise ConfigurationError(
            f"the pinned trust root is larger than {MAX_ROOT_BYTES} bytes", hint="Check III_FILTER_ROOT."
        )
    return content


def _as_release(base: TrustedBase) -> Release:
    return Release(
        id=base.signed.release,
        sections=base.signed.sections,
        size_bytes=base.file.size_bytes,
        sha256=base.signed.sha256,
        signed_at=base.signed_at,
        expires_at=base.expires_at,
        near=tuple(segment.signed.info for segment in base.segments),
        withdrawn=base.signed.withdrawn,
        canaries=base.signed.canaries,
        coverage=base.signed.coverage,
        mappings=base.signed.mappings,
    )
