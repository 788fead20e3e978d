"""Publishes a base: all that is listed, in a new epoch, with its near segments and what it is made of."""

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from tuf.api.metadata import TargetFile

from iii_client.errors import PublishError
from iii_client.filters import pack_bundle, parse_bundle
from iii_client.model import CategoryMapping, Coverage, HashValue, ListKind, NearInfo, ReleaseId
from iii_client.publisher.build import sections_of, test_picture_entries
from iii_client.publisher.near import PublishedSegment
from iii_client.publisher.near_ledger import NearLedger
from iii_client.publisher.present import Workshop, present_release, signed_segments
from iii_client.publisher.reports import Description, PublishReport
from iii_client.publisher.sorting import SortedHashes, is_in
from iii_client.test_picture import TEST_LIST_NAME
from iii_client.updates.signed_base import SignedBase, base_path
from iii_client.updates.signed_coverage import MAX_COVERAGE
from iii_client.updates.signed_near import SignedSegment

logger = logging.getLogger(__name__)


def publish_base(
    work: Workshop,
    hashes: SortedHashes,
    *,
    withdrawn: Iterable[HashValue] | None,
    description: Description,
    also_described: bool = False,
) -> PublishReport:
    """Publish these hashes as a base, or nothing when the present base is just that.

    Args:
        work: the repository, under its lock.
        hashes: settled, see `ExactRecord`.
        withdrawn: hashes that are listed no more; None asks about all that stand in near segments.
        description: what the lists are about.
        also_described: whether a base of the same hashes is worth a new one when it says other things about
            its lists. Every client would fetch it.

    Raises:
        ConfigurationError: a key is missing.
        PublishError: it would disclose the list.
        OSError: the folder cannot be written.
    """
    waiting = work.near.gather(hashes)
    segments = work.near.segments()
    exact = work.near.without_held(hashes.exact)
    work.near.exact.remember(exact)
    sections = sections_of(exact)
    said = _Said(
        near=signed_segments(segments),
        withdrawn=work.near.withdrawn(withdrawn, listed=hashes),
        coverage=coverage_of(hashes, work.near, description),
        mappings=description.mappings,
    )
    present = present_release(work.roles)
    if present and not present.deltas:
        base = said.with_bundle(pack_bundle(present.base.release, sections))
        if not also_described:
            base = replace(base, coverage=present.base.coverage, mappings=present.base.mappings)
        if base == present.base:
            if work.roles.can_sign_online:
                work.roles.renew()
            return PublishReport(release=present.release, changed=False, near=said.infos, waiting=waiting)
    release = ReleaseId(epoch=present.release.epoch + 1 if present else 1, sequence=0)
    content = pack_bundle(release, sections)
    base = said.with_bundle(content, published_at=work.clock().replace(microsecond=0))
    targets = [_copy(work, *pair) for pair in zip(segments, said.near, strict=True)]
    targets.append(work.files.write(base_path(release.epoch), content, custom=base.to_custom()))
    work.roles.publish({target.path: target for target in targets})
    # The previous epoch stays for clients in the middle of a download.
    work.files.forget_before(release.epoch - 1)
    logger.info("published release %s with %d near segments", release, len(segments))
    return PublishReport(
        release=release,
        changed=True,
        near=said.infos,
        waiting=waiting,
        visible=work.roles.can_sign_online,
    )


def coverage_of(hashes: SortedHashes, near: NearLedger, description: Description) -> tuple[Coverage, ...]:
    """What a release of these hashes is made of, by list, source and algorithm.

    Raises:
        PublishError: more rows than a release may have.
    """
    if len(hashes.parts) > MAX_COVERAGE:
        raise PublishError(
            f"{len(hashes.parts)} combinations of list, source and algorithm, a release describes "
            f"{MAX_COVERAGE} at most",
            hint="Give the hashes of small lists one list name.",
        )
    coverage = []
    for part in hashes.parts:
        # What was once matched exactly still is, whatever its quality is now.
        for_near = part.near[is_in(part.near, hashes.near[part.algorithm])] if len(part.near) else part.near
        found = near.count_found(part.algorithm, for_near)
        if part.list_name == TEST_LIST_NAME and len(for_near) > found:
            # In no real segment, where it would wait for ever: everybody has that picture.
            continue
        kind = description.kinds.get(part.list_name, ListKind.OTHER)
        coverage.append(
            Coverage(
                list_name=part.list_name,
                kind=ListKind.TEST if part.list_name == TEST_LIST_NAME else kind,
                source=part.source,
                algorithm=part.algorithm,
                hashes=len(part.values),
                near=found,
                waiting=len(for_near) - found,
            )
        )
    return tuple(coverage)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What a base says beside its bundle."""

    near: tuple[SignedSegment, ...]
    withdrawn: tuple[bytes, ...]
    coverage: tuple[Coverage, ...]
    mappings: tuple[CategoryMapping, ...]

    @property
    def infos(self) -> tuple[NearInfo, ...]:
        return tuple(segment.info for segment in self.near)

    def with_bundle(self, content: bytes, *, published_at: datetime | None = None) -> SignedBase:
        bundle = parse_bundle(content)
        return SignedBase(
            release=bundle.release,
            sections=tuple(section.info for section in bundle.sections),
            sha256=hashlib.sha256(content).hexdigest(),
            canaries=tuple(e.hash for e in test_picture_entries() if e.hash.algorithm.is_digest),
            near=tuple(segment.target for segment in self.near),
            withdrawn=self.withdrawn,
            published_at=published_at,
            coverage=self.coverage,
            mappings=self.mappings,
        )


def _copy(work: Workshop, segment: PublishedSegment, signed: SignedSegment) -> TargetFile:
    return work.files.copy(signed.target.path, segment.path, sha256=signed.sha256, custom=signed.to_custom())
