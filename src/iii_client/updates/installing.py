"""Fetch, judge, install: from what a repository vouches for to the release in use.

    near segments that are not here → base, or the installed bundle, and the deltas after it → gates → install

Every file is downloaded, verified, and judged by gates that trust no signature (`gates.py`, `growth.py`,
`negatives.py`), before it is moved to where it is used. Whatever is refused, the filter in use stays in use.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from iii_client.errors import AuthenticationError, GateError, HeldReleaseError
from iii_client.filters import Clock, ExactSections, open_bundle
from iii_client.filters.bundle import BloomHeader
from iii_client.filters.delta import Delta
from iii_client.model import NO_RELEASE, Fingerprint, Release, ReleaseId
from iii_client.updates.assembling import assemble, read_delta
from iii_client.updates.downloads import Downloads
from iii_client.updates.gates import check_bundle, check_segment, check_superset, check_together
from iii_client.updates.growth import DAY, Allowance, recent
from iii_client.updates.holding import HeldBecause, Hold
from iii_client.updates.negatives import check_negatives
from iii_client.updates.proof import proof_of
from iii_client.updates.store import FilterStore
from iii_client.updates.trust import TrustedBase

logger = logging.getLogger(__name__)


class Installer:
    """Installs releases of one epoch. Use it under the store's lock.

    Args:
        store: where to.
        base: what the repository vouches for.
        downloads: brings the files.
        negatives: this host's recent negatives.
        clock: the present time.
    """

    def __init__(
        self,
        store: FilterStore,
        base: TrustedBase,
        downloads: Downloads,
        *,
        negatives: Sequence[Fingerprint],
        clock: Clock,
    ) -> None:
        self._store = store
        self._base = base
        self._downloads = downloads
        self._negatives = negatives
        self._clock = clock

    def bring(self, before: Release | None, *, stops: Sequence[int]) -> None:
        """Fetch, judge and install each of these sequences, ascending.

        Args:
            before: the release in use.
            stops: the last one is the newest.

        Raises:
            TrustError, TransportError, ServiceError, OSError: the last release that was installed stays.
        """
        base, downloads = self._base, self._downloads
        downloads.forget_all_but(
            [base.file, *(segment.file for segment in base.segments), *(delta.file for delta in base.deltas)]
        )
        try:
            self._fetch_segments()
            for sequence in stops:
                before = self._install(release_of(base, sequence), before)
        except HeldReleaseError:
            # What came is kept: a human may let it pass.
            downloads.scratch.unlink(missing_ok=True)
            raise
        except GateError:
            downloads.forget_all_but(())
            raise
        downloads.forget_all_but(())

    def _install(self, release: Release, before: Release | None) -> Release:
        """Make one release of the epoch the current one, if the gates let it pass."""
        now = self._clock()
        # A damaged file is no measure of anything: then everything is made from the base.
        installed = self._store.bundle_file(before) if before and self._store.has_bundle(before) else None
        allowance = self._allowance(release, before)
        file = self._assembled(release, before, installed, allowance)
        bundle, exact = check_bundle(file, self._base.signed, release.id)
        check_together([self._store.near_file(segment) for segment in release.near])
        release = replace(release, sections=tuple(section.info for section in bundle.sections))
        if installed and before and before.id.epoch == release.id.epoch:
            check_superset(installed, file)
        self._judge_negatives(release, exact, installed, now)
        self._store.reached("bundle judged")
        self._store.install(
            file, release, growth=allowance.rows, checked_at=now, proof=proof_of(self._store.metadata_dir)
        )
        self._end_hold(release)
        logger.info("installed filter release %s", release.id)
        return release

    def _assembled(
        self, release: Release, before: Release | None, installed: Path | None, allowance: Allowance
    ) -> Path:
        """The verified bundle of a release."""
        known = before.id.sequence if before and before.id.epoch == release.id.epoch else 0
        if installed and before and before.id.epoch == release.id.epoch:
            start, deltas = installed, self._deltas(known + 1, release.id.sequence, allowance)
        else:
            start = self._downloads.fetch(self._base.file)
            self._store.reached("base downloaded")
            if not release.id.sequence:
                return start
            # The deltas of a damaged file may be other ones now, and count like those of a fresh start.
            again = self._allowance(release, None)
            deltas = [
                *self._deltas(1, known, again),
                *self._deltas(known + 1, release.id.sequence, allowance),
            ]
        self._store.reached("deltas downloaded")
        assemble(start, deltas, self._downloads.scratch, release=release.id, sha256=release.sha256)
        self._store.reached("deltas applied")
        return self._downloads.scratch

    def _deltas(self, first: int, last: int, allowance: Allowance) -> list[Delta]:
        """The verified deltas of these sequences, fetched as long as they are allowed."""
        deltas = []
        for sequence in range(first, last + 1):
            trusted = self._base.deltas[sequence - 1]
            deltas.append(read_delta(self._downloads.fetch(trusted.file), trusted.signed))
            allowance.spend({section.name: len(section.positions) for section in deltas[-1].sections})
        return deltas

    def _allowance(self, release: Release, before: Release | None) -> Allowance:
        """What deltas may add to what is here, beside what they added within the day."""
        now = self._clock()
        same_epoch = before is not None and before.id.epoch == release.id.epoch
        if before and same_epoch:
            # Not by the timestamp alone: an online key sets its expiry, and with it how old it looks.
            since, more = max(before.signed_at, self._store.checked_at() or before.signed_at), 0.0
        else:
            # A fresh client takes the whole epoch at once, and its first day as one more.
            since, more = self._base.published_at, 1.0
        return Allowance(
            earlier=recent(self._store.growth(), now=now) if same_epoch else (),
            sizes={s.name: (s.size_bytes - BloomHeader.SIZE_BYTES) * 8 for s in self._base.signed.sections},
            days=(now - since) / DAY + more,
            release=release.id,
            now=now,
        )

    def _judge_negatives(
        self, release: Release, exact: ExactSections, installed: Path | None, now: datetime
    ) -> None:
        hold = self._store.holds.read()
        if hold and hold.lets_pass(release.id, release.sha256):
            logger.warning("release %s was accepted by hand", release.id)
            return
        try:
            check_negatives(
                self._negatives,
                installed=open_bundle(installed)[1] if installed else None,
                offered=exact,
                release=release.id,
            )
        except HeldReleaseError:
            self._store.holds.hold(release.id, release.sha256, HeldBecause.NEGATIVES, now=now)
            raise

    def _end_hold(self, release: Release) -> None:
        hold = self._store.holds.read()
        if hold and release.id >= hold.release:
            self._store.holds.forget()

    def _fetch_segments(self) -> None:
        """Bring the near segments that are not here. Each is immutable: it is fetched and judged once, and
        stays where it is if the rest of this update fails."""
        for segment in self._base.segments:
            info = segment.signed.info
            if info.practice:
                logger.warning("%s is a practice segment of %d hashes, for tests only", info.name, info.count)
            if self._store.has_near(info):
                continue
            try:
                file = self._downloads.fetch(segment.file)
            except AuthenticationError as error:
                # The metadata came with the same login, so it is hardly a wrong one: it opens less.
                raise AuthenticationError(
                    "the repository refused access to the near segments",
                    hint="If this login opens exact sections alone, set III_FILTER_NEAR=false: identical "
                    "files are found then, no near copies. Else ask the publisher whether it was revoked. "
                    "The filter in use stays.",
                ) from error
            check_segment(file, segment.signed)
            self._store.reached("segment judged")
            self._store.install_near(file, info)
            logger.info("installed near segment %s, %d bytes", info.name, info.size_bytes)


def release_of(base: TrustedBase, sequence: int) -> Release:
    """A release of the base's epoch; its sections still count what the base holds."""
    deltas = base.deltas[:sequence]
    return Release(
        id=ReleaseId(epoch=base.signed.release.epoch, sequence=sequence),
        sections=base.signed.sections,
        size_bytes=base.file.size_bytes,
        sha256=deltas[-1].signed.result_sha256 if deltas else base.signed.sha256,
        signed_at=base.signed_at,
        expires_at=base.expires_at,
        near=tuple(segment.signed.info for segment in base.segments),
        withdrawn=base.signed.withdrawn,
        canaries=base.signed.canaries,
        coverage=base.signed.coverage,
        mappings=base.signed.mappings,
    )


def stops(hold: Hold | None, before: Release | None, offered: ReleaseId) -> list[int]:
    """The sequences to install. An accepted release is installed by itself, so that what came after it is
    judged by the gates without it."""
    sequences = [offered.sequence]
    if hold and hold.accepted_at and hold.release.epoch == offered.epoch:
        known = before.id if before else NO_RELEASE
        if known < hold.release < offered:
            sequences.insert(0, hold.release.sequence)
    return sequences
