"""Update: bring the installed filter up to date, or keep it and say why not.

    lock → pinned root → TUF refresh → newest base and its deltas → fetch, judge, install (`installing.py`)

Whatever fails, the filter in use stays in use, and when to try again is noted for all processes of the host.
"""

import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from iii_client.config import FilterConfig
from iii_client.errors import (
    ConfigurationError,
    FilterFormatError,
    HeldReleaseError,
    IIIError,
    LengthOrHashError,
    NoFilterError,
    RateLimitedError,
    TrustError,
    UpdateRunningError,
)
from iii_client.filters import Clock, utc_now
from iii_client.model import NO_RELEASE, Release, ReleaseId
from iii_client.updates.downloads import Downloads, Progress
from iii_client.updates.durable import named_disk_errors
from iii_client.updates.fetcher import DEADLINE_S, RepositoryFetcher
from iii_client.updates.gates import check_order, check_sizes
from iii_client.updates.holding import check_hold
from iii_client.updates.installing import Installer, release_of, stops
from iii_client.updates.negatives import RecentNegatives
from iii_client.updates.pinning import bind_pinned_root, check_pinned_root
from iii_client.updates.proof import proof_of
from iii_client.updates.schedule import Random, after_failure, after_success, read_schedule, write_schedule
from iii_client.updates.store import LOCK_TIMEOUT_S, FilterStore, Reached
from iii_client.updates.trust import MAX_ROOT_BYTES, TrustedRepository

#: Told the kind of an alarm, and one sentence for a person.
Alarm = Callable[[str, str], None]

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
        random: for the jitter of the schedule.
        alarm: told a kind and a sentence when a human has to look: `release_held` or `filter_refused`.
        progress: told of every piece that is downloaded: bytes of the file here, and its size.
        reached: told each of `store.CRASH_POINTS`.
    """

    def __init__(
        self,
        config: FilterConfig,
        state_dir: Path,
        *,
        clock: Clock = utc_now,
        deadline_s: float = DEADLINE_S,
        random: Random = random.random,
        alarm: Alarm = lambda _kind, _detail: None,
        progress: Progress = lambda _done, _total: None,
        reached: Reached = lambda _: None,
    ) -> None:
        self._alarm = alarm
        self._progress = progress
        self._config = config
        self._clock = clock
        self._deadline_s = deadline_s
        self._random = random
        self._negatives = RecentNegatives(state_dir)
        self.store = FilterStore(state_dir, reached=reached)

    def update(self) -> UpdateReport:
        """Install the newest release that the repository's keys vouch for, now.

        Raises:
            ConfigurationError: address or pinned root is missing or wrong.
            TrustError: something is not what was signed, or implausible although signed; `HeldReleaseError`
                when a human has to decide.
            StaleMetadataError: the metadata is expired, or a clock is wrong.
            TransportError, ServiceError: the repository could not be reached, or refused.
            FilterError: another update is running, nothing is published, or the disk refused.
        """
        root = self._pinned_root()
        with self._locked(LOCK_TIMEOUT_S):
            return self._noted_update(root)

    def update_if_due(self) -> UpdateReport | None:
        """The same when it is due, for timers and for any number of workers: one of them does it.

        Returns:
            None when it is not due, or another process is at it.

        Raises:
            As `update`.
        """
        if not self.is_due():
            return None
        root = self._pinned_root()
        try:
            with self._locked(0.0):
                # Another process may have done it meanwhile.
                return self._noted_update(root) if self.is_due() else None
        except UpdateRunningError:
            return None

    def is_due(self) -> bool:
        """Whether the last success, failure or wait is long enough ago."""
        schedule = read_schedule(self.store.schedule_path)
        return schedule is None or schedule.is_due(self._clock())

    def _pinned_root(self) -> bytes:
        if not self._config.url:
            raise ConfigurationError(
                "no filter repository is set",
                hint="Set III_FILTER_URL to the address that the publisher of the filter gave you.",
            )
        return read_root(self._config.root)

    @contextmanager
    def _locked(self, timeout_s: float) -> Iterator[None]:
        with named_disk_errors("the filter", "III_STATE_DIR"), self.store.lock(timeout_s=timeout_s):
            yield

    def _noted_update(self, root: bytes) -> UpdateReport:
        """Update, and note for all processes when to try again."""
        path, now = self.store.schedule_path, self._clock()
        try:
            report, minimum_wait_s = self._update(root)
        except ConfigurationError:
            # Nobody was asked; once it is set right, nothing should wait.
            raise
        except (IIIError, OSError) as error:
            retry_after_s = error.retry_after_s if isinstance(error, RateLimitedError) else 0.0
            schedule = after_failure(
                read_schedule(path), now, random=self._random, retry_after_s=retry_after_s
            )
            write_schedule(path, schedule)
            if isinstance(error, TrustError):
                kind = "release_held" if isinstance(error, HeldReleaseError) else "filter_refused"
                self._alarm(kind, f"{error}. {error.hint}")
            raise
        write_schedule(path, after_success(now, random=self._random, minimum_wait_s=minimum_wait_s))
        return report

    def _update(self, root: bytes) -> tuple[UpdateReport, float]:
        """The report, and how long the repository asks to be left alone."""
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
        if not self._config.near:
            base = replace(base, segments=())
        self.store.reached("metadata refreshed")
        before = self._installed()
        offered = release_of(base, len(base.deltas))
        check_order(
            offered,
            before,
            min_epoch=self._config.min_epoch,
            digests=[release_of(base, sequence).sha256 for sequence in range(len(base.deltas) + 1)],
        )
        check_sizes(offered, deltas=base.delta_sizes)
        hold = self.store.holds.read()
        check_hold(hold, offered.id)
        changed = (
            before is None or (before.id, before.near) != (offered.id, offered.near) or not self._is_intact()
        )
        downloads = Downloads(self.store.downloads_dir, fetcher, progress=self._progress)
        if changed:
            installer = Installer(
                self.store, base, downloads, negatives=self._negatives.load(), clock=self._clock
            )
            installer.bring(before, stops=stops(hold, before, offered.id))
        elif before:
            # What an update left that was killed when it had just installed.
            downloads.forget_all_but(())
            self.store.confirm(
                replace(offered, sections=before.sections),
                checked_at=self._clock(),
                proof=proof_of(self.store.metadata_dir),
            )
        report = UpdateReport(
            release=offered.id,
            previous=before.id if before else NO_RELEASE,
            changed=changed,
            bytes_fetched=fetcher.bytes_fetched,
            clock_skew_s=fetcher.clock_skew_s,
        )
        return report, repository.minimum_wait_s

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


def read_root(path: str) -> bytes:
    """The bytes of the pinned root.

    Raises:
        ConfigurationError: it is not set, cannot be read, or is too long.
    """
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
